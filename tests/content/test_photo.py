import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from stallwart.content.photo import PhotoError, PhotoTooLargeError, decode_photo, photo_size

BYTES, PIXELS = 20_000_000, 60_000_000


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decode(photo: bytes, **options: int) -> np.ndarray:
    return decode_photo(photo, BYTES, PIXELS, **options)


def noise(width: int = 64, height: int = 48) -> Image.Image:
    return Image.fromarray(np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds almost nothing: a decompression bomb's first bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_every_kind_decodes_to_rgb_of_its_size_and_twice_alike(kind: str) -> None:
    photo = encoded(noise(), kind)
    assert photo_size(photo, BYTES, PIXELS) == (64, 48)
    pixels = decode(photo)
    assert pixels.shape == (48, 64, 3)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, decode(photo))


@pytest.mark.parametrize("side", [20_000, 100_000])
def test_a_bomb_is_refused_by_its_header(side: int) -> None:
    with pytest.raises(PhotoTooLargeError, match="pixels"):
        decode(png_header(side, side))


def test_a_large_photo_passes_within_and_is_refused_over_the_bound() -> None:
    photo = encoded(Image.new("RGB", (10_000, 5_000), "red"), "JPEG", quality=50)
    assert decode(photo).shape[0] < 5_000  # at a reduced size
    assert min(decode(photo).shape[:2]) >= 224
    with pytest.raises(PhotoTooLargeError, match="over the limit"):
        decode_photo(photo, BYTES, 49_000_000)
    with pytest.raises(PhotoTooLargeError, match="bytes"):
        decode_photo(photo, 1_000, PIXELS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_truncated_photo_is_refused(kind: str, share: float) -> None:
    photo = encoded(noise(), kind)
    with pytest.raises(PhotoError):
        decode(photo[: int(share * len(photo))])


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xd8\xff", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.4", b"x" * 999]
)
def test_what_is_no_photo_is_refused(content: bytes) -> None:
    with pytest.raises(PhotoError):
        decode(content)


def test_formats_outside_the_list_are_refused() -> None:
    with pytest.raises(PhotoError, match="no photo that can be read"):
        decode(encoded(noise(), "TIFF"))


def test_a_polyglot_is_only_its_photo() -> None:
    photo = encoded(noise(), "JPEG")
    assert np.array_equal(decode(photo + b"PK\x03\x04<script>" * 100), decode(photo))


def test_one_pixel_decodes() -> None:
    assert decode(encoded(Image.new("RGB", (1, 1), (9, 8, 7)))).tolist() == [[[9, 8, 7]]]
    assert decode(encoded(Image.new("RGB", (1, 1)), "JPEG")).shape == (1, 1, 3)


def test_cmyk_keeps_its_colour() -> None:
    pixels = decode(encoded(Image.new("RGB", (16, 16), (250, 10, 10)).convert("CMYK"), "JPEG", quality=95))
    assert abs(pixels.astype(int) - [250, 10, 10]).max() < 25


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    pixels = decode(encoded(Image.fromarray(ramp)))
    assert pixels[0, 0, 0] == 0
    assert pixels[-1, -1, 0] == 255
    assert abs(int(pixels[8, 0, 0]) - 128) < 3


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_the_first_frame_of_an_animation_counts(kind: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue")]
    photo = encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    assert decode(photo)[5, 5].tolist() == [255, 0, 0]


def test_a_turned_photo_stands_upright() -> None:
    image = Image.new("RGB", (60, 30), "white")
    image.paste("black", (0, 0, 30, 30))  # left half black
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    pixels = decode(encoded(image, "JPEG", exif=exif, quality=95))
    assert pixels.shape == (60, 30, 3)
    assert pixels[10].mean() < 30
    assert pixels[-10].mean() > 220


def test_broken_exif_does_no_harm() -> None:
    photo = encoded(noise(), "JPEG", exif=b"Exif\x00\x00MM\x00*garbage")
    assert decode(photo).shape == (48, 64, 3)


def test_transparency_of_a_palette_lies_on_white() -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    image.putpixel((0, 0), 1)
    pixels = decode(encoded(image, "PNG", transparency=0))
    assert pixels[4, 4].tolist() == [255, 255, 255]
    assert pixels[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("mode", ["L", "1", "LA", "RGBA", "P"])
@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_every_mode_becomes_rgb(mode: str, kind: str) -> None:
    assert decode(encoded(noise().convert(mode), kind)).shape == (48, 64, 3)


def test_grey_jpeg_has_three_equal_channels() -> None:
    pixels = decode(encoded(noise().convert("L"), "JPEG"))
    assert np.array_equal(pixels[..., 0], pixels[..., 2])


def test_flipped_bytes_never_raise_anything_else() -> None:
    random = np.random.default_rng(3)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        whole = encoded(noise(), kind)
        for _ in range(60):
            broken = bytearray(whole)
            for place in random.integers(0, len(broken), 8):
                broken[place] = random.integers(0, 256)
            with contextlib.suppress(PhotoError):
                assert decode(bytes(broken)).ndim == 3
