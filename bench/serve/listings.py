"""Request bodies: a listing with a title, 60 words and, where wanted, one 800 x 600 JPEG."""

import base64
import io
import json
import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from bench.serve.client import PLACE

_WORDS = """
    brass lamp oak table rewired last year small dent shade vintage original box shipping pickup only smoke
    free home works well tested battery included charger cable screen cover size medium blue red green
    cotton wool leather strap watch glass frame wooden handle steel blade kitchen garden tool set
    of four new never used good condition see photos for details message me with any questions thanks
""".split()  # noqa: SIM905


def jpeg(seed: int) -> bytes:
    """An 800 x 600 JPEG of about the size that a phone's photo has after a marketplace shrank it."""
    dice = np.random.default_rng(seed)
    small = Image.fromarray(dice.integers(0, 255, (60, 80, 3), dtype=np.uint8).astype(np.uint8))
    large = small.resize((800, 600), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))
    noisy = np.clip(np.asarray(large, np.int16) + dice.integers(-3, 3, (600, 800, 1)), 0, 255)
    out = io.BytesIO()
    Image.fromarray(noisy.astype(np.uint8)).save(out, "JPEG", quality=85)
    return out.getvalue()


def listing(seed: int, photo: bool) -> dict:
    """One listing; PLACE in its id and words is made unique by the client."""
    dice = random.Random(seed)
    made = {
        "listing_id": f"L{PLACE.decode()}",
        "title": " ".join(dice.choices(_WORDS, k=6)),
        "description": f"{PLACE.decode()} {' '.join(dice.choices(_WORDS, k=60))}",
        "photos": [],
    }
    if photo:
        made["photos"] = [{"base64": base64.b64encode(jpeg(seed)).decode()}]
    return made


def write_bodies(path: Path, n: int, photo: bool, **options: str) -> Path:
    """A file of n request bodies, one a line."""
    lines = (json.dumps({"listing": listing(seed, photo), **options}) for seed in range(n))
    path.write_text("\n".join(lines))
    return path
