"""How well words in photos are read, and what that costs: python bench/photo_words.py [--photos 20]

Photos are generated: a scene of coloured shapes and noise, and on it three lines of words drawn in black on
white, in white on the scene, or turned by 8 degrees, in letters of a given size, as Pillow counts it (a
lower-case x is half as high). A word counts as read where it stands among the words that were read, in any
case.
"""

import argparse
import io
import re
import resource
import time

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from stallwart.content.photo_words import PhotoReader
from stallwart.core.settings import Settings

WORDS = re.findall(
    r"\w+",
    "genuine swiss watches factory price fast delivery write for details silver copper lamp table garden"
    " winter leather brown wooden chairs kitchen camera lens bicycle wheels carpet mirror painted vintage",
)
WAYS = ("on white", "on the scene", "turned")


def scene(random: np.random.Generator, side: tuple[int, int] = (640, 480)) -> Image.Image:
    image = Image.new("RGB", side, tuple(int(v) for v in random.integers(60, 160, size=3)))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top = int(random.integers(side[0])), int(random.integers(side[1]))
        size = int(random.integers(30, 200))
        colour = tuple(int(v) for v in random.integers(30, 190, size=3))
        draw.ellipse((left, top, left + size, top + size), colour)
    noise = random.normal(0, 8, size=(side[1], side[0], 3))
    return Image.fromarray(
        np.uint8(np.clip(np.asarray(image.filter(ImageFilter.GaussianBlur(2))) + noise, 0, 255))
    )


def written(random: np.random.Generator, size: int, way: str) -> tuple[bytes, list[str]]:
    image = scene(random)
    lines = [[str(one) for one in random.choice(WORDS, 4, replace=False)] for _ in range(3)]
    sheet = Image.new("RGBA", image.size, (0, 0, 0, 0))
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(lines):
        at = (40, 80 + int(2.2 * size * number))
        box = draw.textbbox(at, " ".join(line), font_size=size)
        if way != "on the scene":
            draw.rectangle((box[0] - 4, box[1] - 3, box[2] + 4, box[3] + 3), "white")
        draw.text(at, " ".join(line), "white" if way == "on the scene" else "black", font_size=size)
    if way == "turned":
        sheet = sheet.rotate(8, Image.Resampling.BICUBIC)
    image.paste(sheet, (0, 0), sheet)
    held = io.BytesIO()
    image.save(held, "JPEG", quality=85)
    return held.getvalue(), [word for line in lines for word in line]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=10, help="of each size and way")
    parser.add_argument("--sizes", type=int, nargs="+", default=(8, 10, 12, 16, 24))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    reader, random = PhotoReader(Settings()), np.random.default_rng(args.seed)
    reader.read(written(random, 16, WAYS[0])[0])
    costs: list[float] = []
    print(f"| letters, px | {' | '.join(WAYS)} |\n|{'---|' * (1 + len(WAYS))}")
    for size in args.sizes:
        cells = []
        for way in WAYS:
            right = total = 0
            for _ in range(args.photos):
                photo, words = written(random, size, way)
                began = time.process_time()
                read = set(re.findall(r"\w+", reader.read(photo).lower()))
                costs.append(time.process_time() - began)
                right, total = right + sum(word in read for word in words), total + len(words)
            cells.append(f"{right / total:.2f} ({right} of {total})")
        print(f"| {size} | {' | '.join(cells)} |", flush=True)
    empty = []
    for _ in range(args.photos):
        held = io.BytesIO()
        scene(random).save(held, "JPEG", quality=85)
        began = time.process_time()
        read = reader.read(held.getvalue())
        empty.append((time.process_time() - began, read))
    seconds = [one for one, _ in empty]
    said = sum(bool(read) for _, read in empty)
    spent = f"{np.mean(seconds):.2f} +- {np.std(seconds):.2f}, n {len(seconds)}"
    print(
        f"CPU seconds of a photo with 12 words: {np.mean(costs):.2f} +- {np.std(costs):.2f}, n {len(costs)}"
    )
    print(f"without words: {spent}; words seen in {said}")
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")


if __name__ == "__main__":
    main()
