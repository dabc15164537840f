"""The demo's backgrounds, and the things that may hide part of a head."""

import random
from collections.abc import Sequence

from PIL import Image, ImageDraw

from pipeline.demo.drawing import Colour

_PASTELS: Sequence[Colour] = (
    (250, 214, 190), (190, 220, 240), (222, 205, 240), (205, 235, 205), (250, 236, 180),
    (240, 200, 210), (200, 205, 215), (225, 215, 195), (120, 150, 170), (170, 120, 120),
)  # fmt: skip
_SKIES: Sequence[tuple[Colour, Colour]] = (
    ((130, 185, 235), (220, 238, 250)),
    ((250, 190, 140), (255, 236, 200)),
    ((30, 40, 80), (90, 90, 140)),
    ((170, 180, 190), (225, 228, 230)),
)
_GREENS: Sequence[Colour] = ((120, 175, 95), (90, 150, 100), (165, 185, 95), (200, 190, 130))
_BRIGHT: Sequence[Colour] = (
    (220, 80, 80), (245, 190, 60), (90, 130, 210), (190, 100, 180), (250, 250, 245), (80, 170, 160),
)  # fmt: skip


def _gradient(size: tuple[int, int], top: Colour, bottom: Colour) -> Image.Image:
    strip = Image.new("RGB", (1, 2))
    strip.putpixel((0, 0), top)
    strip.putpixel((0, 1), bottom)
    return strip.resize(size, Image.Resampling.BILINEAR)


def _flower(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, colour: Colour) -> None:
    draw.line([(x, y), (x, y + size * 3)], (70, 130, 70), max(1, round(size / 3)))
    for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        left, top = x + dx * size * 0.8, y + dy * size * 0.8
        draw.ellipse([left - size * 0.7, top - size * 0.7, left + size * 0.7, top + size * 0.7],
                     colour)  # fmt: skip
    draw.ellipse([x - size / 2, y - size / 2, x + size / 2, y + size / 2], (245, 215, 90))


def _meadow(size: tuple[int, int], rng: random.Random) -> Image.Image:
    width, height = size
    picture = _gradient(size, *rng.choice(_SKIES))
    draw = ImageDraw.Draw(picture)
    x, y, radius = rng.uniform(0, width), rng.uniform(0, height * 0.3), rng.uniform(20, 50)
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], (255, 244, 200))
    for _ in range(rng.randint(0, 3)):
        x, y = rng.uniform(0, width), rng.uniform(0, height * 0.35)
        for dx, radius in ((-28, 18), (0, 26), (28, 18)):
            draw.ellipse([x + dx - radius, y - radius, x + dx + radius, y + radius],
                         (248, 248, 250))  # fmt: skip
    horizon = rng.uniform(0.45, 0.75) * height
    for _ in range(2):
        middle, reach = rng.uniform(0, width), rng.uniform(0.7, 1.4) * width
        draw.ellipse([middle - reach, horizon, middle + reach, horizon + 2 * height],
                     rng.choice(_GREENS))  # fmt: skip
        horizon += rng.uniform(20, 70)
    for _ in range(rng.randint(0, 12)):
        _flower(draw, rng.uniform(0, width), rng.uniform(horizon, height), rng.uniform(5, 11),
                rng.choice(_BRIGHT))  # fmt: skip
    return picture


def _wallpaper(size: tuple[int, int], rng: random.Random) -> Image.Image:
    width, height = size
    paper, print_ = rng.sample(_PASTELS, 2)
    picture = Image.new("RGB", size, paper)
    draw = ImageDraw.Draw(picture)
    step = rng.randint(40, 100)
    pattern = rng.choice(["stripes", "dots", "checks"])
    for column, x in enumerate(range(0, width, step)):
        if pattern == "stripes":
            draw.rectangle([x, 0, x + step // 2, height], print_)
            continue
        for row, y in enumerate(range(0, height, step)):
            if pattern == "dots":
                left = x + (row % 2) * step // 2
                draw.ellipse([left, y, left + step // 3, y + step // 3], print_)
            elif (row + column) % 2:
                draw.rectangle([x, y, x + step, y + step], print_)
    if rng.random() < 0.6:
        floor = rng.uniform(0.65, 0.9) * height
        draw.rectangle([0, floor, width, height], rng.choice([(150, 105, 75), (110, 90, 85)]))
        draw.rectangle([0, floor - 8, width, floor], (240, 235, 225))
    return picture


def _confetti(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Round and pointed shapes that are not heads."""
    width, height = size
    picture = _gradient(size, rng.choice(_PASTELS), rng.choice(_PASTELS))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.randint(2, 7)):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(8, 40)
        colour = rng.choice((*_BRIGHT, *_PASTELS))
        shape = rng.choice(["disc", "polygon", "ring"])
        if shape == "polygon":
            draw.regular_polygon((x, y, radius), rng.randint(3, 6), rng.uniform(0, 90), colour)
        else:
            outline = {"fill": colour} if shape == "disc" else {"outline": colour, "width": 6}
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], **outline)
    return picture


def draw_background(size: tuple[int, int], rng: random.Random) -> Image.Image:
    """Returns an RGB picture of `size` (width, height) without heads."""
    return rng.choice([_meadow, _meadow, _wallpaper, _confetti])(size, rng)


def draw_in_front(picture: Image.Image, box: tuple[int, int, int, int], rng: random.Random) -> None:
    """Hides a corner of `box` (left, top, right, bottom) behind a ball or some grass."""
    left, top, right, bottom = box
    draw = ImageDraw.Draw(picture)
    width, height = right - left, bottom - top
    if rng.random() < 0.5:
        radius = 0.22 * min(width, height)
        x, y = rng.choice([left, right]), rng.uniform(top + height * 0.6, bottom)
        colour = rng.choice(_BRIGHT)
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], colour)
        draw.arc([x - radius * 0.6, y - radius, x + radius * 0.6, y + radius], 90, 270,
                 (250, 250, 250), max(2, round(radius / 6)))  # fmt: skip
    else:
        for _ in range(9):
            x = rng.uniform(left, right)
            tip = bottom - rng.uniform(0.1, 0.3) * height
            draw.polygon([(x - 7, bottom + 8), (x + rng.uniform(-12, 12), tip),
                          (x + 7, bottom + 8)], rng.choice(_GREENS))  # fmt: skip
