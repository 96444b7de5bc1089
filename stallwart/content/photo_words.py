"""A photo's bytes -> the words that stand on it (the extra `ocr`).

RapidOCR's models come inside its wheel: PP-OCR finds lines of text and reads them, on onnxruntime. It reads
Latin and Chinese letters; a line that it is not sure of is left out. One thread: whoever reads many photos
runs beside what must answer in time.
"""

from typing import Any

from stallwart.content.photo import PhotoError, decode_photo
from stallwart.core.errors import ConfigError
from stallwart.core.settings import Settings

LEAST_SURE = 0.6
"""Confidence in [0, 1] below which a line is left out."""
_SIDE = 960  # pixels of the shorter side that a large photo is decoded to
_LEAST_LETTERS = 3  # of all lines together; fewer are specks and logos
_ALONE = {f"EngineConfig.onnxruntime.{name}_op_num_threads": 1 for name in ("intra", "inter")}


class PhotoReader:
    """Reads the words in photos, one photo at a time.

    Args:
        limits: bounds on a photo's bytes and pixels.

    Raises:
        ConfigError: the extra is not installed.
    """

    def __init__(self, limits: Settings):
        try:
            from rapidocr import RapidOCR
        except ImportError as err:
            raise ConfigError(
                f"reading words in photos needs {err.name}; pip install 'stallwart[ocr]'"
            ) from None
        self._limits = limits
        self._engine = RapidOCR(params={"Global.log_level": "error", "Global.use_cls": False, **_ALONE})

    def read(self, photo: bytes) -> str:
        """The words from top to bottom, lines joined by spaces; "" where there are none.

        Raises:
            PhotoError: the photo does not decode, or is over a bound.
        """
        limits = self._limits
        pixels = decode_photo(photo, limits.max_photo_bytes, limits.max_photo_pixels, _SIDE)
        try:
            found: Any = self._engine(pixels[:, :, ::-1])  # it takes blue, green, red
        except Exception as err:  # noqa: BLE001 - OpenCV and onnxruntime raise a dozen unrelated types
            raise PhotoError(f"cannot be read ({type(err).__name__})") from None
        lines = [
            text
            for text, sure in zip(found.txts or (), found.scores or (), strict=True)
            if sure >= LEAST_SURE
        ]
        words = " ".join(" ".join(lines).split())
        return words if sum(map(str.isalnum, words)) >= _LEAST_LETTERS else ""
