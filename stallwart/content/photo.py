"""Encoded photo bytes -> RGB pixels, bounded before anything is decoded.

Knows nothing of listings and encoders. JPEG goes through simplejpeg, which can decode at a reduced size;
everything else, and every JPEG that it refuses, goes through Pillow.
"""

import io
import warnings

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps

# Decoders that are fuzzed and common (JPEG includes files of several); the rest of Pillow's forty formats
# only widen the attack surface.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")

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
    `min_side`. Transparency is laid over white.

    Raises:
        PhotoError: see `photo_size`; also where the bytes end early or do not decode.
    """
    with _opened(photo, max_bytes, max_pixels) as image:
        plain = image.format == "JPEG" and image.mode == "RGB" and _orientation(image) == 1
        if plain:
            try:
                pixels: Pixels = simplejpeg.decode_jpeg(
                    photo, min_height=min_side, min_width=min_side, strict=True
                )
                return pixels
            except ValueError:
                pass  # Pillow reads some files that libjpeg-turbo's strict mode refuses, and says why if not
        try:
            if image.format == "JPEG":
                image.draft(None, (2 * min_side, 2 * min_side))
            image.seek(0)
            image.load()
            return np.array(_as_rgb(ImageOps.exif_transpose(image)), dtype=np.uint8)
        except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as err:
            raise PhotoError(f"does not decode ({type(err).__name__})") from None


def _opened(photo: bytes, max_bytes: int, max_pixels: int) -> Image.Image:
    if not photo:
        raise PhotoError("is empty")
    if len(photo) > max_bytes:
        raise PhotoTooLargeError(f"has {len(photo):,} bytes, over the limit of {max_bytes:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bombs, whose bound comes next, and of broken EXIF
            image = Image.open(io.BytesIO(photo), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise PhotoTooLargeError(f"has more than {max_pixels:,} pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError) as err:
        raise PhotoError(f"is no photo that can be read ({type(err).__name__})") from None
    width, height = image.size
    if width * height > max_pixels:
        image.close()
        raise PhotoTooLargeError(f"has {width} x {height} pixels, over the limit of {max_pixels:,}")
    return image


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except (ValueError, TypeError, SyntaxError, OSError):
        return 1


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16 and 32 bit grey: scale, never clip
        values = np.asarray(image, dtype=np.float32)
        top = 65535.0 if image.mode.startswith("I;16") or values.max(initial=0.0) > 255 else 255.0
        return Image.fromarray(np.uint8(np.clip(values / top, 0, 1) * 255)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
