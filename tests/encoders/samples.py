"""Generated photos and texts."""

import io

import numpy as np
from PIL import Image, ImageDraw

WORDS = ["brass", "lamp", "oak", "table", "radio", "blue", "bicycle", "снус", "café", "手表", "size", "42"]


def draw_photo(seed: int, side: int = 160) -> Image.Image:
    """A photo of a few shapes over a gradient; every seed another one."""
    random = np.random.default_rng(seed)
    ramp = np.linspace(0, 255, side)
    pixels = np.stack([ramp[None] * random.random() + ramp[:, None] * random.random() / 2] * 3, axis=-1)
    image = Image.fromarray(np.uint8(np.clip(pixels + random.integers(0, 60, 3), 0, 255)))
    pen = ImageDraw.Draw(image)
    for _ in range(8):
        x, y, w, h = random.integers(0, side, 4).tolist()
        colour = tuple(random.integers(0, 256, 3).tolist())
        [pen.rectangle, pen.ellipse][int(random.integers(2))](
            (x, y, x + w // 2 + 4, y + h // 2 + 4), fill=colour
        )
    return image


def photo_bytes(seed: int, side: int = 160) -> bytes:
    file = io.BytesIO()
    draw_photo(seed, side).save(file, "JPEG", quality=90)
    return file.getvalue()


def write_text(seed: int) -> str:
    random = np.random.default_rng(seed)
    return " ".join(random.choice(WORDS, int(random.integers(1, 40))).tolist())
