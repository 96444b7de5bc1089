"""Drawn photos for the generated market: simple shapes on varied backgrounds, never twice alike."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

_SIDE = 160
Pen = ImageDraw.ImageDraw
Colour = tuple[int, int, int]


def draw(what: str, random: np.random.Generator) -> Image.Image:
    """A picture of a thing in `DRAWINGS`, RGB, at a random place, size, colour, turn and light."""
    ground = random.integers(120, 250, 3)
    grain = (
        random.normal(0, 10, (_SIDE, _SIDE, 1))
        + np.linspace(0, random.uniform(-60, 60), _SIDE)[:, None, None]
    )
    image = Image.fromarray(np.clip(ground + grain, 0, 255).astype(np.uint8))
    thing = Image.new("RGBA", (_SIDE, _SIDE), (0, 0, 0, 0))
    DRAWINGS[what](ImageDraw.Draw(thing), _colour(random))
    scale = random.uniform(0.6, 1.0)
    size = int(scale * _SIDE)
    thing = thing.rotate(random.uniform(-25, 25), Image.Resampling.BICUBIC).resize((size, size))
    room = _SIDE - size + 1
    image.paste(thing, (int(random.integers(0, room)), int(random.integers(0, room))), thing)
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0, 1)))


def _colour(random: np.random.Generator) -> Colour:
    red, green, blue = random.integers(10, 200, 3).tolist()
    return red, green, blue


def _bottle(pen: Pen, colour: Colour) -> None:
    pen.rounded_rectangle((55, 60, 105, 150), 10, fill=(90, 55, 20))
    pen.rectangle((72, 15, 88, 65), fill=(90, 55, 20))
    pen.rectangle((72, 10, 88, 24), fill=colour)
    pen.rectangle((57, 85, 103, 125), fill=(240, 230, 200))


def _round_bottle(pen: Pen, colour: Colour) -> None:
    pen.ellipse((40, 60, 120, 150), fill=(200, 190, 90))
    pen.rectangle((73, 20, 87, 70), fill=(200, 190, 90))
    pen.ellipse((60, 85, 100, 125), fill=colour)


def _empty_bottle(pen: Pen, colour: Colour) -> None:
    pen.rounded_rectangle((55, 60, 105, 150), 10, outline=colour, width=3)
    pen.rectangle((72, 15, 88, 62), outline=colour, width=3)


def _dagger(pen: Pen, colour: Colour) -> None:
    pen.polygon([(80, 5), (92, 100), (68, 100)], fill=(190, 195, 205), outline=(60, 60, 60))
    pen.rectangle((50, 100, 110, 110), fill=(40, 40, 40))
    pen.rectangle((72, 110, 88, 152), fill=colour)


def _toy_dagger(pen: Pen, colour: Colour) -> None:
    pen.rounded_rectangle((66, 10, 94, 102), 14, fill=(250, 180, 40))
    pen.rectangle((50, 100, 110, 110), fill=(230, 40, 120))
    pen.rounded_rectangle((70, 110, 90, 152), 8, fill=colour)


def _pills(pen: Pen, colour: Colour) -> None:
    pen.rectangle((25, 45, 135, 115), fill=(200, 205, 215), outline=(120, 120, 130))
    for x in range(5):
        for y in range(2):
            pen.ellipse(
                (32 + 21 * x, 54 + 30 * y, 48 + 21 * x, 76 + 30 * y), fill=(250, 250, 250), outline=colour
            )


def _sweets(pen: Pen, colour: Colour) -> None:
    for x, y in ((40, 50), (90, 40), (65, 85), (110, 95), (35, 110)):
        pen.ellipse((x, y, x + 26, y + 26), fill=colour, outline=(255, 255, 255))


def _leaf(pen: Pen, _: Colour) -> None:
    for angle in (-70, -40, 0, 40, 70):
        turn = np.deg2rad(angle - 90)
        tip = (80 + 70 * np.cos(turn), 110 + 85 * np.sin(turn))
        side = np.deg2rad(angle)
        wide = (10 * np.cos(side), 10 * np.sin(side))
        middle = ((80 + tip[0]) / 2, (110 + tip[1]) / 2)
        pen.polygon(
            [
                (80, 110),
                (middle[0] - wide[0], middle[1] - wide[1]),
                tip,
                (middle[0] + wide[0], middle[1] + wide[1]),
            ],
            fill=(40, 130, 50),
        )
    pen.line((80, 110, 80, 155), fill=(40, 100, 40), width=4)


def _fern(pen: Pen, colour: Colour) -> None:
    pen.polygon([(55, 115), (105, 115), (97, 155), (63, 155)], fill=colour)
    for x in range(-50, 60, 12):
        pen.arc((80 + min(x, 0), 40, 80 + max(x, 0) + 4, 160), 180, 360, fill=(60, 140, 60), width=4)


def _cigarettes(pen: Pen, colour: Colour) -> None:
    pen.rectangle((45, 60, 115, 150), fill=colour)
    pen.rectangle((45, 95, 115, 112), fill=(255, 255, 255))
    for x in range(4):
        pen.rectangle((52 + 15 * x, 30, 62 + 15 * x, 60), fill=(245, 245, 240))
        pen.rectangle((52 + 15 * x, 30, 62 + 15 * x, 42), fill=(210, 140, 70))


def _vape(pen: Pen, colour: Colour) -> None:
    pen.rounded_rectangle((58, 40, 102, 152), 18, fill=colour)
    pen.rectangle((70, 15, 90, 42), fill=(30, 30, 30))
    pen.ellipse((72, 120, 88, 136), fill=(230, 240, 255))


def _lamp(pen: Pen, colour: Colour) -> None:
    pen.polygon([(60, 20), (100, 20), (125, 80), (35, 80)], fill=(250, 220, 130))
    pen.rectangle((76, 80, 84, 140), fill=colour)
    pen.ellipse((50, 135, 110, 155), fill=colour)


def _bicycle(pen: Pen, colour: Colour) -> None:
    pen.ellipse((10, 80, 70, 140), outline=(30, 30, 30), width=5)
    pen.ellipse((90, 80, 150, 140), outline=(30, 30, 30), width=5)
    pen.line([(40, 110), (65, 60), (110, 60), (120, 110), (75, 110), (65, 60)], fill=colour, width=5)


def _table_top(pen: Pen, colour: Colour) -> None:
    pen.rectangle((15, 60, 145, 75), fill=colour)
    for x in (22, 130):
        pen.rectangle((x, 75, x + 9, 145), fill=colour)


def _ball(pen: Pen, colour: Colour) -> None:
    pen.ellipse((35, 35, 125, 125), fill=colour)
    pen.arc((20, 35, 100, 125), 300, 60, fill=(255, 255, 255), width=5)
    pen.arc((60, 35, 140, 125), 120, 240, fill=(255, 255, 255), width=5)


DRAWINGS: dict[str, Callable[[Pen, Colour], None]] = {
    "bottle": _bottle,
    "round bottle": _round_bottle,
    "empty bottle": _empty_bottle,
    "dagger": _dagger,
    "toy dagger": _toy_dagger,
    "pills": _pills,
    "sweets": _sweets,
    "leaf": _leaf,
    "fern": _fern,
    "cigarettes": _cigarettes,
    "vape": _vape,
    "lamp": _lamp,
    "bicycle": _bicycle,
    "table": _table_top,
    "ball": _ball,
}
