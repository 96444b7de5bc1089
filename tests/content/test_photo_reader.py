"""Words in photos, read by the real reader where the extra `ocr` is installed."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stallwart.content.photo import PhotoError
from stallwart.core.settings import Settings

pytest.importorskip("rapidocr", reason="the extra ocr is not installed: pip install 'stallwart[ocr]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def reader():
    from stallwart.content.photo_words import PhotoReader

    return PhotoReader(Settings())


def encoded(image, kind="JPEG"):
    held = io.BytesIO()
    image.save(held, kind)
    return held.getvalue()


def photo(*lines, size=24, side=(480, 320)):
    image = Image.new("RGB", side, "lightgrey")
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((20, 30 + 2 * size * number), line, "black", font_size=size)
    return image


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_words_on_a_photo_are_read_from_top_to_bottom(reader, kind):
    image = photo("genuine swiss watches", "write to us for prices")
    assert reader.read(encoded(image, kind)) == "genuine swiss watches write to us for prices"


def test_a_photo_without_words_has_none(reader):
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    assert reader.read(encoded(Image.fromarray(noise))) == ""
    assert reader.read(encoded(Image.new("RGB", (1, 1)))) == ""


def test_a_large_photo_is_read_and_one_that_does_not_decode_says_so(reader):
    large = photo("genuine swiss watches", size=120, side=(3000, 2000))
    assert "swiss" in reader.read(encoded(large))
    with pytest.raises(PhotoError):
        reader.read(b"no photo")
    with pytest.raises(PhotoError, match="pixels"):
        reader.read(encoded(Image.new("1", (20_000, 10_000)), "PNG"))
