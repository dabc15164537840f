"""Draws the demo's animals' heads with Pillow.

Everything is drawn at twice the final size and then reduced, which smooths the edges. All
randomness comes from the `random.Random` that the caller passes.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]

OVERSAMPLING = 2
_INK: Colour = (45, 38, 42)
_WHITE: Colour = (252, 250, 246)
_PINK: Colour = (240, 150, 160)

# Each animal has its own coats: a few minutes of training on a CPU, from random weights, are not
# enough to tell heads apart by shape alone.
_CAT_COATS: Sequence[Colour] = (
    (232, 140, 52), (240, 168, 84), (214, 120, 48), (246, 190, 110), (224, 152, 40),
)  # fmt: skip
_DOG_COATS: Sequence[Colour] = (
    (120, 76, 50), (96, 62, 48), (138, 92, 62), (84, 58, 52), (110, 84, 70),
)  # fmt: skip
_RABBIT_COATS: Sequence[Colour] = (
    (232, 230, 236), (204, 206, 216), (178, 184, 200), (244, 240, 238), (160, 166, 184),
)  # fmt: skip
_FROG_SKINS: Sequence[Colour] = (
    (96, 176, 72), (70, 150, 84), (140, 194, 60), (70, 166, 120), (116, 160, 60), (84, 190, 96),
)  # fmt: skip


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with `share` (0..1) of `b`."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


@dataclass(frozen=True)
class _Pen:
    """Draws in units of the head's radius, x to the right and y down, (0, 0) in its middle."""

    draw: ImageDraw.ImageDraw
    middle: float
    radius: float

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return self.middle + x * self.radius, self.middle + y * self.radius

    def _width(self, width: float) -> int:
        return max(1, round(width * self.radius))

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        self.draw.ellipse([self._at(x - rx, y - ry), self._at(x + rx, y + ry)], fill)

    def polygon(self, points: Sequence[tuple[float, float]], fill: Colour) -> None:
        self.draw.polygon([self._at(*point) for point in points], fill)

    def line(self, points: Sequence[tuple[float, float]], fill: Colour, width: float) -> None:
        self.draw.line([self._at(*point) for point in points], fill, self._width(width), "curve")

    def arc(
        self, x: float, y: float, rx: float, ry: float, start: float, end: float, width: float
    ) -> None:
        box = [self._at(x - rx, y - ry), self._at(x + rx, y + ry)]
        self.draw.arc(box, start, end, _INK, self._width(width))


@dataclass(frozen=True)
class _Mood:
    """What varies between heads besides size and colour."""

    turn: float  # the face looks left (-0.2) or right (0.2), in radii
    ear: float  # how far the ears swing, -0.15..0.15
    eyes_closed: bool
    patch: bool  # a marking that differs between animals
    tongue: bool


def _eyes(pen: _Pen, mood: _Mood, y: float, apart: float, size: float, iris: Colour) -> None:
    for side in (-1, 1):
        x = side * apart + mood.turn
        if mood.eyes_closed:
            pen.arc(x, y, size, size, 190, 350, 0.07)
            continue
        pen.ellipse(x, y, size, size * 1.1, iris)
        pen.ellipse(x + mood.turn * 0.3, y, size * 0.6, size * 0.75, _INK)
        pen.ellipse(x + mood.turn * 0.3 + size * 0.2, y - size * 0.3, size * 0.22, size * 0.22,
                    _WHITE)  # fmt: skip


def _smile(pen: _Pen, mood: _Mood, y: float, width: float) -> None:
    """Two arcs that meet under the nose."""
    for side in (-1, 1):
        pen.arc(mood.turn + side * width, y, width, width * 0.8, 10, 170, 0.06)


def _draw_cat(pen: _Pen, coat: Colour, mood: _Mood, rng: random.Random) -> None:
    dark = _mix(coat, _INK, 0.35)
    for side in (-1, 1):
        tip = side * (0.85 + side * mood.ear)
        pen.polygon([(side * 0.95, -0.2), (tip, -1.35), (side * 0.12, -0.75)], coat)
        pen.polygon([(side * 0.8, -0.45), (tip * 0.96, -1.1), (side * 0.38, -0.72)], _PINK)
    pen.ellipse(0, 0, 1.05, 0.88, coat)
    if mood.patch:
        for x in (-0.25, 0.0, 0.25):
            pen.line([(x + mood.turn, -0.85), (x * 0.8 + mood.turn, -0.45)], dark, 0.1)
        for side in (-1, 1):
            pen.line([(side * 1.0, 0.1), (side * 0.75, 0.15)], dark, 0.09)
    iris = rng.choice([(150, 200, 90), (240, 200, 80), (120, 180, 220)])
    _eyes(pen, mood, -0.08, 0.43, 0.2, iris)
    pen.ellipse(mood.turn - 0.17, 0.4, 0.24, 0.19, _mix(coat, _WHITE, 0.6))
    pen.ellipse(mood.turn + 0.17, 0.4, 0.24, 0.19, _mix(coat, _WHITE, 0.6))
    pen.polygon([(mood.turn - 0.13, 0.2), (mood.turn + 0.13, 0.2), (mood.turn, 0.34)], _PINK)
    _smile(pen, mood, 0.4, 0.15)
    whisker = _mix(coat, _WHITE if sum(coat) < 400 else _INK, 0.7)
    for side in (-1, 1):
        for slope in (-0.08, 0.06, 0.2):
            start = (mood.turn + side * 0.4, 0.38 + slope * 0.4)
            pen.line([start, (side * 1.08, 0.3 + slope * 1.3)], whisker, 0.035)


def _draw_dog(pen: _Pen, coat: Colour, mood: _Mood, rng: random.Random) -> None:
    dark = _mix(coat, _INK, 0.45)
    pale = _mix(coat, _WHITE, 0.55)
    pen.ellipse(0, 0, 0.85, 1.0, coat)
    if mood.patch:
        pen.ellipse(mood.turn + 0.35, -0.22, 0.3, 0.36, _mix(dark, coat, 0.3))
    else:
        pen.polygon([(mood.turn - 0.1, -0.95), (mood.turn + 0.1, -0.95),
                     (mood.turn + 0.2, 0.2), (mood.turn - 0.2, 0.2)], pale)  # fmt: skip
    for side in (-1, 1):
        swing = mood.ear * side
        pen.ellipse(side * (0.9 + swing), 0.0, 0.27, 0.72, dark)
        pen.polygon([(side * 0.4, -0.9), (side * (1.02 + swing), -0.5),
                     (side * (0.7 + swing), 0.0)], dark)  # fmt: skip
    _eyes(pen, mood, -0.2, 0.35, 0.15, rng.choice([(120, 80, 50), (90, 60, 45), _WHITE]))
    pen.ellipse(mood.turn, 0.45, 0.52, 0.42, pale)
    if mood.tongue:
        pen.ellipse(mood.turn + 0.06, 0.82, 0.17, 0.28, (228, 100, 115))
        pen.line([(mood.turn + 0.06, 0.68), (mood.turn + 0.06, 0.95)], (190, 70, 90), 0.04)
    pen.ellipse(mood.turn, 0.22, 0.25, 0.17, _INK)
    pen.ellipse(mood.turn - 0.07, 0.16, 0.07, 0.04, _mix(_INK, _WHITE, 0.6))
    pen.line([(mood.turn, 0.38), (mood.turn, 0.56)], _INK, 0.05)
    _smile(pen, mood, 0.52, 0.19)


def _draw_rabbit(pen: _Pen, coat: Colour, mood: _Mood, rng: random.Random) -> None:
    pale = _mix(coat, _WHITE, 0.6)
    for side in (-1, 1):
        lean = mood.ear + side * 0.12
        base, tip = side * 0.36, side * 0.36 + lean * 1.4
        middle = (base + tip) / 2
        bent = mood.patch and side == 1
        top = -1.35 if bent else -1.85
        for grow, colour in ((1.0, coat), (0.55, _PINK)):
            pen.ellipse(middle, -0.95, 0.27 * grow, 0.6 * grow, colour)
            pen.ellipse(tip, top + 0.42, 0.25 * grow, 0.45 * grow, colour)
        if bent:
            pen.ellipse(tip + 0.28, top + 0.3, 0.42, 0.22, _mix(coat, _INK, 0.15))
    pen.ellipse(0, 0.15, 0.84, 0.82, coat)
    for side in (-1, 1):
        pen.ellipse(side * 0.48, 0.45, 0.34, 0.3, pale)
        pen.ellipse(mood.turn + side * 0.55, 0.32, 0.15, 0.1, _mix(coat, _PINK, 0.7))
    _eyes(pen, mood, 0.0, 0.4, 0.16, rng.choice([(110, 60, 60), (90, 110, 150), (60, 50, 55)]))
    pen.ellipse(mood.turn, 0.3, 0.12, 0.08, _PINK)
    _smile(pen, mood, 0.42, 0.14)
    for side in (-1, 1):
        pen.ellipse(mood.turn + side * 0.075, 0.66, 0.075, 0.14, _WHITE)
    pen.line([(mood.turn, 0.56), (mood.turn, 0.78)], (200, 190, 190), 0.025)


def _draw_frog(pen: _Pen, coat: Colour, mood: _Mood, rng: random.Random) -> None:
    dark = _mix(coat, _INK, 0.3)
    for side in (-1, 1):
        pen.ellipse(side * 0.55 + mood.turn * 0.5, -0.55, 0.38, 0.38, coat)
    pen.ellipse(0, 0.1, 1.2, 0.75, coat)
    pen.ellipse(0, 0.42, 0.95, 0.4, _mix(coat, (250, 245, 190), 0.55))
    if mood.patch:
        for x, y, size in ((-0.75, -0.15, 0.12), (0.1, -0.35, 0.14), (0.8, -0.1, 0.1)):
            pen.ellipse(x, y, size * 1.2, size, dark)
    iris = rng.choice([(250, 220, 100), (250, 250, 240), (240, 170, 90)])
    raised = _Mood(mood.turn * 0.5, mood.ear, mood.eyes_closed, mood.patch, mood.tongue)
    _eyes(pen, raised, -0.57, 0.55, 0.26, iris)
    pen.arc(mood.turn, 0.0, 0.8, 0.5, 15, 165, 0.07)
    if mood.tongue:
        pen.ellipse(mood.turn + 0.3, 0.5, 0.16, 0.2, (228, 90, 110))
    for side in (-1, 1):
        pen.ellipse(mood.turn + side * 0.12, 0.08, 0.05, 0.04, dark)
        pen.ellipse(mood.turn + side * 0.85, 0.3, 0.14, 0.09, _mix(coat, _PINK, 0.6))


_DRAWERS: dict[str, tuple[Callable[..., None], Sequence[Colour]]] = {
    "cat": (_draw_cat, _CAT_COATS),
    "dog": (_draw_dog, _DOG_COATS),
    "frog": (_draw_frog, _FROG_SKINS),
    "rabbit": (_draw_rabbit, _RABBIT_COATS),
}
CLASSES: tuple[str, ...] = tuple(_DRAWERS)


def draw_head(name: str, radius: float, tilt: float, rng: random.Random) -> Image.Image:
    """Draws one head, cut out tightly.

    Args:
      name: one of `CLASSES`.
      radius: of the face, in oversampled pixels; ears come on top.
      tilt: rotation in degrees, counter-clockwise.
      rng: decides on colour and mood.

    Returns:
      An RGBA picture, as small as the head allows, transparent around it.
    """
    drawer, colours = _DRAWERS[name]
    base = rng.choice(colours)
    coat = _mix(base, rng.choice([_INK, _WHITE]), rng.uniform(0.0, 0.15))
    mood = _Mood(
        turn=rng.uniform(-0.18, 0.18),
        ear=rng.uniform(-0.15, 0.15),
        eyes_closed=rng.random() < 0.15,
        patch=rng.random() < 0.4,
        tongue=rng.random() < 0.5,
    )
    side = round(radius * 4.2)
    # Transparent, but of the coat's colour: rotating mixes no dark rim into the edge.
    layer = Image.new("RGBA", (side, side), (*coat, 0))
    drawer(_Pen(ImageDraw.Draw(layer), side / 2, radius), coat, mood, rng)
    layer = layer.crop(layer.getchannel("A").getbbox())
    layer = layer.rotate(tilt, Image.Resampling.BILINEAR, expand=True, fillcolor=(*coat, 0))
    opaque = layer.getchannel("A").point(lambda alpha: 255 if alpha > 127 else 0)
    return layer.crop(opaque.getbbox())
