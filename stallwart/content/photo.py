"""Encoded photo bytes -> RGB pixels, bounded before anything is decoded.

Knows nothing of listings and encoders. JPEG goes through simplejpeg, which can decode at a reduced size;
everything else, and every JPEG that it refuses, goes through Pillow.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

# Decoders that are fuzzed and common (JPEG includes files of several); the rest of Pillow's forty formats
# only widen the attack surface.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")

_AVERAGED_PIXELS = 12_000_000  # above it, a decoded frame is averaged band by band
_BAND_PIXELS = 1_000_000
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Pixels = NDArray[np.uint8]


class PhotoError(ValueError):
    """A photo cannot be used; the message says why in a few words, without its content."""


class PhotoTooLargeError(PhotoError):
    """A photo is over the bound on bytes or on pixels."""


def photo_size(photo: bytes, max_bytes: int, max_pixels: int) -> tuple[int, int]:
    """(width, height) in pixels from the header, after checking every bound.

    Raises:
        PhotoTooLargeError: over `max_bytes` or over `max_pixels`.
        PhotoError: no photo, or of a format that is not read.
    """
    with _opened(photo, max_bytes, max_pixels) as image:
        return image.size


def decode_photo(photo: bytes, max_bytes: int, max_pixels: int, min_side: int = 224) -> Pixels:
    """RGB pixels of the first frame, uint8 (height, width, 3), upright by its EXIF orientation.

    A large JPEG is decoded at the smallest of its reduced sizes whose shorter side is still at least
    `min_side`; any other photo of more than 12 megapixels is averaged to a size that is, once its frame is
    decoded, so that no conversion multiplies its memory. Transparency is laid over white. Colour profiles
    are not applied. Later frames are never decoded.

    Raises:
        PhotoError: see `photo_size`; also where the bytes end early or do not decode.
    """
    with _opened(photo, max_bytes, max_pixels) as image, _quiet():
        orientation = _orientation(image)
        if image.format == "JPEG" and image.mode == "RGB" and orientation == 1:
            try:
                pixels: Pixels = simplejpeg.decode_jpeg(
                    photo, min_height=min_side, min_width=min_side, strict=True
                )
                return pixels
            except ValueError:
                pass  # Pillow reads some files that libjpeg-turbo's strict mode refuses, and says why if not
        try:
            if image.format in ("JPEG", "MPO"):
                image.draft(None, (2 * min_side, 2 * min_side))
            image.seek(0)
            image.load()
            return np.array(_upright(_reduced(image, min_side), orientation), dtype=np.uint8)
        except Exception as err:  # noqa: BLE001 - bytes are hostile, and Pillow raises whatever they lead to
            raise PhotoError(f"does not decode ({type(err).__name__})") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings: of bombs, whose bound is ours, of broken EXIF and palettes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _opened(photo: bytes, max_bytes: int, max_pixels: int) -> Image.Image:
    if not photo:
        raise PhotoError("is empty")
    if len(photo) > max_bytes:
        raise PhotoTooLargeError(f"has {len(photo):,} bytes, over the limit of {max_bytes:,}")
    try:
        with _quiet():
            image = Image.open(io.BytesIO(photo), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise PhotoTooLargeError(f"has more than {max_pixels:,} pixels") from None
    except Exception as err:  # noqa: BLE001 - see decode_photo
        raise PhotoError(f"is no photo that can be read ({type(err).__name__})") from None
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise PhotoTooLargeError(f"has {width} x {height} pixels, over the limit of {max_pixels:,}")
    return image


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # noqa: BLE001 - broken EXIF is common and no reason to refuse a photo
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _reduced(image: Image.Image, min_side: int) -> Image.Image:
    """The decoded frame as RGB, averaged where it is large."""
    width, height = image.size
    factor = min(width, height) // min_side
    if width * height <= _AVERAGED_PIXELS or factor < 2:
        return _as_rgb(image)
    top = _white(image)
    rows = factor * max(1, _BAND_PIXELS // width // factor)
    whole = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for start in range(0, height, rows):
        band = image.crop((0, start, width, min(start + rows, height)))
        whole.paste(_as_rgb(band, top).reduce(factor), (0, start // factor))
    return whole


def _white(image: Image.Image) -> float:
    """What counts as white in a grey photo of 16 or 32 bits."""
    if image.mode.startswith("I;16") or image.mode not in ("I", "F"):
        return 65535.0
    darkest_and_brightest: tuple[float, float] = image.getextrema()  # type: ignore[assignment]
    return 65535.0 if darkest_and_brightest[1] > 255 else 255.0


def _as_rgb(image: Image.Image, top: float | None = None) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16 and 32 bit grey: scale, never clip
        values = np.asarray(image, dtype=np.float32) / (top or _white(image))
        return Image.fromarray(np.uint8(np.clip(values, 0, 1) * 255)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
