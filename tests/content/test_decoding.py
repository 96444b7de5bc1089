"""What becomes of every kind of photo that a seller, or an attacker, may send; all are made here."""

import contextlib
import io
import struct
import subprocess
import sys
import time
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from stallwart.content.photo import PhotoError, PhotoTooLargeError, Pixels, decode_photo

BYTES, PIXELS = 20_000_000, 60_000_000
KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP"]
RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decode(photo: bytes, **options: int) -> Pixels:
    return decode_photo(photo, BYTES, PIXELS, **options)


def quarters(width: int = 64, height: int = 32) -> Image.Image:
    """Red, green, blue and white, so that every turn and flip shows."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(WHITE, (width // 2, height // 2, width, height))
    return image


def corners(pixels: Pixels) -> list[tuple[int, ...]]:
    """Colours near top left, top right, bottom left, bottom right, each channel rounded to 0 or 255."""
    height, width, _ = pixels.shape
    places = [(y, x) for y in (height // 4, -height // 4) for x in (width // 4, -width // 4)]
    return [tuple(255 * (int(value) > 127) for value in pixels[place]) for place in places]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, rows: bytes, colour: int = 2, depth: int = 8, extra: bytes = b"") -> bytes:
    """A PNG whose compressed rows are whatever they are."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def zeros(size: int) -> bytes:
    """That many zeros, compressed, without holding them."""
    packer, parts = zlib.compressobj(1), []
    for start in range(0, size, 1 << 20):
        parts.append(packer.compress(bytes(min(1 << 20, size - start))))
    return b"".join([*parts, packer.flush()])


# Bombs


def test_a_bomb_is_refused_by_its_header_at_once() -> None:
    bomb = png(50_000, 50_000, zlib.compress(bytes(10_000)))
    assert len(bomb) < 200
    started = time.monotonic()
    with pytest.raises(PhotoTooLargeError, match="pixels"):
        decode(bomb)
    assert time.monotonic() - started < 0.5


@pytest.mark.parametrize("kind", [*KINDS, "VP8X"])
def test_a_large_claim_in_any_header_is_refused(kind: str) -> None:
    small = encoded(Image.new("RGB", (16, 16)), "WEBP" if kind == "VP8X" else kind)
    claims = {
        "JPEG": small.replace(b"\x00\x10\x00\x10\x03", struct.pack(">HHB", 60_000, 60_000, 3), 1),
        "PNG": png(60_000, 60_000, b""),
        "WEBP": small[:26] + struct.pack("<HH", 16_383, 16_383) + small[30:],
        "GIF": small[:6] + struct.pack("<HH", 65_535, 65_535) + small[10:],
        "BMP": small[:18] + struct.pack("<ii", 60_000, 60_000) + small[26:],
        "VP8X": b"RIFF"
        + struct.pack("<I", 22)
        + b"WEBPVP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + b"\xff\x3e\0" * 2,
    }
    with pytest.raises(PhotoError):
        decode(claims[kind])
    if kind in ("JPEG", "PNG", "GIF", "BMP"):
        with pytest.raises(PhotoTooLargeError, match="pixels"):
            decode(claims[kind])


def test_text_that_unfolds_without_end_is_refused_or_left_alone() -> None:
    for kind in (b"zTXt", b"iCCP"):
        extra = chunk(kind, b"name\0\0" + zeros(100_000_000))
        photo = png(1, 1, zlib.compress(bytes(4)), extra=extra)
        with contextlib.suppress(PhotoError):
            assert decode(photo).tolist() == [[[0, 0, 0]]]


PEAK = """
import resource, sys
import numpy as np, simplejpeg
from stallwart.content.photo import decode_photo
photo = open(sys.argv[1], "rb").read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
shape = decode_photo(photo, 20_000_000, 60_000_000).shape
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, *shape)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "megabytes"), [("JPEG", 30), ("CMYK", 60), ("RGBA", 320), ("16 bit", 220), ("P", 150)]
)
def test_fifty_megapixels_decode_at_a_reduced_size_in_bounded_memory(
    kind: str, megabytes: int, tmp_path: pytest.TempPathFactory
) -> None:
    width, height = 10_000, 5_000
    if kind in ("JPEG", "CMYK"):
        photo = encoded(Image.new("RGB" if kind == "JPEG" else kind, (width, height)), "JPEG")
    else:
        colour, depth, bytes_each = {"RGBA": (6, 8, 4), "16 bit": (0, 16, 2), "P": (3, 8, 1)}[kind]
        palette = chunk(b"PLTE", bytes(6)) + chunk(b"tRNS", b"\x00\xff") if kind == "P" else b""
        photo = png(width, height, zeros((width * bytes_each + 1) * height), colour, depth, palette)
    path = tmp_path / "photo"
    path.write_bytes(photo)
    out = subprocess.run(
        [sys.executable, "-c", PEAK, path], capture_output=True, check=True, timeout=60
    ).stdout
    kilobytes, *shape = map(int, out.split())
    assert kilobytes < megabytes * 1024
    assert 224 <= min(shape[:2]) <= 700
    with pytest.raises(PhotoTooLargeError, match="over the limit"):
        decode_photo(photo, BYTES, 49_000_000)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "1", "I;16"])
def test_a_large_photo_is_averaged_to_what_it_shows(mode: str) -> None:
    small = (
        quarters(90, 60).convert("L").convert("RGB") if mode in ("L", "LA", "1", "I;16") else quarters(90, 60)
    )
    if mode == "I;16":
        levels = np.asarray(small.convert("L"), np.uint16) * 257
        large = Image.fromarray(np.repeat(np.repeat(levels, 50, 0), 50, 1))
    else:
        large = small.convert(mode, dither=Image.Dither.NONE).resize((4_503, 3_001), Image.Resampling.NEAREST)
    photo = encoded(large, "PNG", compress_level=1)
    pixels = decode(photo)
    assert 224 <= min(pixels.shape[:2]) < 260
    assert abs(pixels.shape[1] / pixels.shape[0] - 1.5) < 0.02
    whole = np.asarray(small.convert("1", dither=Image.Dither.NONE).convert("RGB") if mode == "1" else small)
    assert corners(pixels) == corners(whole)


# What is no photo, no whole photo, or more than a photo


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.95])
def test_a_truncated_photo_is_refused(kind: str, share: float) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    photo = encoded(Image.fromarray(noise), kind)
    with pytest.raises(PhotoError):
        decode(photo[: int(share * len(photo))])


@pytest.mark.parametrize(
    "tail", [b"PK\x03\x04" + bytes(99), b"<html><script>alert(1)</script></html>", b"\xff\xd8\xff\xd9"]
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_a_photo_is_ignored(kind: str, tail: bytes) -> None:
    photo = encoded(quarters(), kind)
    assert np.array_equal(decode(photo + tail), decode(photo))


@pytest.mark.parametrize(
    "photo",
    [
        b"",
        b"\0",
        b"GIF89a<script>alert(1)</script>" + bytes(99),
        b"GIF89a/*" + b"\xff" * 99,
        b"\xff\xd8\xff\xe0<html></html>",
        b"<svg xmlns='http://www.w3.org/2000/svg'><rect width='9' height='9'/></svg>",
        b"<?xml version='1.0'?><svg/>",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99),
        b"\0\0\0\x1cftypavif\0\0\0\0mif1avif" + bytes(99),
        b"%PDF-1.7\n1 0 obj\n" + bytes(99),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"PK\x03\x04" + bytes(99),
        encoded(quarters(), "TIFF"),
        encoded(quarters(), "ICO"),
        encoded(quarters(), "PPM"),
        encoded(quarters(), "JPEG2000"),
        encoded(quarters(), "PDF"),
    ],
)
def test_what_is_no_photo_that_is_read_is_refused_with_a_reason(photo: bytes) -> None:
    with pytest.raises(PhotoError, match=r"is empty|is no photo that can be read|does not decode"):
        decode(photo)


def test_the_bytes_say_what_a_photo_is_and_not_its_name() -> None:
    """Nothing but bytes is taken, so a wrong extension or content type cannot choose the decoder."""
    assert corners(decode(encoded(quarters(), "PNG"))) == [RED, GREEN, BLUE, WHITE]


# Kinds of pixels


@pytest.mark.parametrize("kind", KINDS)
def test_one_pixel_is_a_photo(kind: str) -> None:
    assert decode(encoded(Image.new("RGB", (1, 1), WHITE), kind)).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize(("width", "height"), [(1, 3_000), (3_000, 1), (60_000, 2)])
def test_a_thin_photo_decodes(width: int, height: int) -> None:
    assert decode(encoded(Image.new("RGB", (width, height)), "PNG")).shape == (height, width, 3)
    reduced = decode(encoded(Image.new("RGB", (width, height)), "JPEG"))  # of a long side only
    assert min(reduced.shape[:2]) == min(width, height)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"optimize": True}, {"quality": 5}]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_every_jpeg_keeps_its_colours(mode: str, options: dict[str, int]) -> None:
    image = quarters(256, 128)
    expected = [RED, GREEN, BLUE, WHITE]
    if mode == "L":
        image, expected = (
            image.convert("RGB", matrix=None).convert("L").convert("RGB"),
            [BLACK, WHITE, BLACK, WHITE],
        )
    assert corners(decode(encoded(image.convert(mode), "JPEG", **options))) == expected


def test_cmyk_is_read_inverted_where_adobe_says_so_and_plain_where_not() -> None:
    inverted = encoded(quarters(256, 128).convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in inverted
    assert corners(decode(inverted)) == [RED, GREEN, BLUE, WHITE]
    start = inverted.index(b"\xff\xee")
    plain = inverted[:start] + inverted[start + 2 + int.from_bytes(inverted[start + 2 : start + 4]) :]
    assert decode(plain).shape == (128, 256, 3)


def test_sixteen_bits_are_scaled_and_never_clipped() -> None:
    ramp = np.linspace(0, 65_535, 256).round().astype(">u2")
    grey = decode(png(256, 1, zlib.compress(b"\0" + ramp.tobytes()), colour=0, depth=16))
    assert abs(grey[0, :, 0].astype(int) - np.arange(256)).max() <= 1
    colour = np.repeat(ramp, 3)
    assert abs(
        decode(png(256, 1, zlib.compress(b"\0" + colour.tobytes()), colour=2, depth=16))[0].astype(int)
        - np.arange(256)[:, None]
    ).max() <= 1  # fmt: skip
    alpha = np.repeat(ramp, 4)
    alpha[3::4] = 65_535
    assert decode(png(256, 1, zlib.compress(b"\0" + alpha.tobytes()), colour=6, depth=16))[0, 128, 0] in (
        127,
        128,
    )


@pytest.mark.parametrize(("mode", "kind"), [("LA", "PNG"), ("RGBA", "PNG"), ("RGBA", "WEBP"), ("PA", "PNG")])
def test_transparency_lies_on_white(mode: str, kind: str) -> None:
    image = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 10, 10))
    image.paste((0, 0, 0, 128), (10, 5, 20, 10))
    image = image if mode == "PA" else image.convert(mode)
    pixels = decode(encoded(image, kind, lossless=True) if kind == "WEBP" else encoded(image, kind))
    assert pixels[2, 5].tolist() == [0, 0, 0]
    assert pixels[2, 15].tolist() == [255, 255, 255]
    assert abs(int(pixels[7, 15, 0]) - 127) <= 2


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_a_palette_may_be_transparent(transparency: int | bytes) -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((0, 0), 1)
    pixels = decode(encoded(image, "PNG", transparency=transparency))
    assert pixels[4, 4].tolist() == [255, 255, 255]
    assert pixels[0, 0].tolist() == [255, 0, 0]


def test_colour_profiles_change_nothing_and_may_be_broken() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind in ("JPEG", "PNG", "WEBP"):
        bare = decode(encoded(quarters(), kind))
        for icc in (profile, profile[:50], b"nonsense" * 9_000):
            assert np.array_equal(decode(encoded(quarters(), kind, icc_profile=icc)), bare)


# EXIF

TURNED = {
    1: [RED, GREEN, BLUE, WHITE],
    2: [GREEN, RED, WHITE, BLUE],
    3: [WHITE, BLUE, GREEN, RED],
    4: [BLUE, WHITE, RED, GREEN],
    5: [RED, BLUE, GREEN, WHITE],
    6: [BLUE, RED, WHITE, GREEN],
    7: [WHITE, GREEN, BLUE, RED],
    8: [GREEN, WHITE, RED, BLUE],
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [*TURNED, 0, 9, 60_000])
def test_every_orientation_stands_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(encoded(quarters(), kind, exif=exif))
    assert pixels.shape[:2] == ((64, 32) if orientation in (5, 6, 7, 8) else (32, 64))
    assert corners(pixels) == TURNED.get(orientation, TURNED[1])


@pytest.mark.parametrize(
    "exif",
    [b"", b"MM\0*", b"garbage", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40,
     b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04abcd",
     b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\xff\xff\xff\xff\0\6\0\0"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_costs_nothing_but_itself(kind: str, exif: bytes) -> None:
    pixels = decode(encoded(quarters(), kind, exif=b"Exif\0\0" + exif))
    assert pixels.shape == (32, 64, 3)
    assert corners(pixels) == TURNED[1]


# Frames


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_only_the_first_of_many_frames_is_decoded(kind: str) -> None:
    rng = np.random.default_rng(5)
    frames = [Image.fromarray(rng.integers(0, 256, (100, 100), dtype=np.uint8)) for _ in range(100)]
    options = {"save_all": True, "append_images": frames, "lossless": True} if kind == "WEBP" else {
        "save_all": True, "append_images": frames}  # fmt: skip
    photo = encoded(quarters(100, 100), kind, **options)
    single = encoded(quarters(100, 100), kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert np.array_equal(decode(photo), decode(single))

    def seconds(each: bytes) -> float:
        started = time.process_time()
        for _ in range(5):
            decode(each)
        return time.process_time() - started

    assert seconds(photo) < 20 * seconds(single) + 0.25  # a hundred frames would take a hundred times as long


def test_a_bomb_in_a_later_frame_is_never_reached() -> None:
    gif = encoded(quarters(), "GIF")
    later = b"\x2c" + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x08\x04\xff\xff\xff\xff\0"
    assert gif.endswith(b";")
    assert np.array_equal(decode(gif[:-1] + later + b";"), decode(gif))


def test_a_first_frame_beyond_its_canvas_counts_in_full() -> None:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x08\x04\xff\xff\xff\xff\0;"
    with pytest.raises(PhotoTooLargeError, match="pixels"):
        decode(b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0, 0, 0) + frame)


# Anything


SEEDS = [
    *(encoded(quarters(), kind) for kind in KINDS),
    encoded(
        quarters(),
        "JPEG",
        progressive=True,
        exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\3\0\0\0\1\0\6\0\0",
    ),
    encoded(quarters().convert("CMYK"), "JPEG"),
    encoded(quarters().convert("P"), "PNG", transparency=3),
    encoded(quarters(), "PNG", save_all=True, append_images=[quarters().rotate(90)]),
    encoded(quarters(), "WEBP", lossless=True, exif=b"Exif\0\0II*\0"),
    encoded(quarters(), "WEBP", save_all=True, append_images=[quarters().rotate(90)]),
    encoded(quarters(), "GIF", save_all=True, append_images=[quarters().rotate(90)]),
]

_EDITS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=4)), max_size=6)


@settings(max_examples=250, deadline=2_000)
@given(st.sampled_from(SEEDS), _EDITS, st.floats(0, 1), st.sampled_from(SEEDS), st.booleans())
def test_any_bytes_give_pixels_or_a_photo_error_and_no_warning(
    seed: bytes, edits: list[tuple[float, bytes]], cut: float, other: bytes, joined: bool
) -> None:
    photo = bytearray(seed)
    for place, new in edits:
        start = int(place * len(photo))
        photo[start : start + len(new)] = new
    if joined:
        photo = photo[: int(cut * len(photo))] + other[int(cut * len(other)) :]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with contextlib.suppress(PhotoError):
            pixels = decode_photo(bytes(photo), BYTES, 1_000_000)
            assert pixels.dtype == np.uint8
            assert pixels.ndim == 3
            assert pixels.shape[2] == 3
            assert 0 < pixels.size <= 3_000_000
