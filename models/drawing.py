"""Draws detections on pictures: a box and a readable tag each, one colour per class."""

import colorsys
import functools
import os
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.font_manager import findSystemFonts
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont

# The golden angle, in turns: hues that follow each other by it stay far apart, however many.
_HUE_STEP = 0.381966
# Pillow's own font has no accents, no Greek and no Cyrillic; this one comes with matplotlib.
_FONT = os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
# Beside a name: its score, and what a cut name ends with.
_ADDED = "0123456789% …"


def class_color(class_id: int) -> tuple[int, int, int]:
    """The colour of a class, RGB 0..255: bright, and the same in every picture."""
    hue = (0.02 + class_id * _HUE_STEP) % 1.0
    # Every third class is a bit darker, which tells neighbours in hue apart.
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, (1.0, 0.85, 0.7)[class_id % 3])
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_detections(
    image: Image.Image | np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[str],
    scores: Sequence[float] | None = None,
    class_ids: Sequence[int] | None = None,
) -> Image.Image:
    """Draws boxes with their labels on a copy of a picture.

    Args:
      image: a PIL image, or uint8 [H, W, 3] RGB.
      boxes: [n, 4] float, (ymin, xmin, ymax, xmax), normalised; parts outside are cut off.
      labels: the class name of each box; one that is too long for the picture is cut. Chinese,
        Japanese or Korean names need a font that has them to be installed, or are empty boxes.
      scores: 0..1 of each box, drawn as percent; None for ground truth.
      class_ids: index of each box's class, which picks its colour. None: colours by the place of
        the name among the names drawn.

    Returns:
      A new RGB image of the same size. The most certain box is on top.
    """
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image = image.convert("RGB")
    boxes = np.clip(np.asarray(boxes, np.float64).reshape(-1, 4), 0, 1)
    if class_ids is None:
        names = sorted(set(labels))
        class_ids = [names.index(label) for label in labels]
    draw = ImageDraw.Draw(image)
    short_side = min(image.size)
    line = max(2, round(short_side / 200))
    font_path = _font_with(frozenset("".join(labels) + _ADDED))
    font = ImageFont.truetype(font_path, max(10, round(short_side / 28)))
    order = range(len(boxes)) if scores is None else np.argsort(np.asarray(scores), kind="stable")
    corners = boxes * (np.array([image.height, image.width] * 2) - 1)
    for index in order:
        _draw_box(draw, corners[index], class_color(int(class_ids[index])), line)
    for index in order:  # after all boxes, so that no line crosses a name
        score = "" if scores is None else f" {scores[index]:.0%}"
        text = _fitted(labels[index], score, font, image.width - 2 * (line + 1))
        color = class_color(int(class_ids[index]))
        _draw_tag(draw, image.width, corners[index], text, color, line + 1, font)
    return image


@functools.cache
def _font_with(characters: frozenset[str]) -> str:
    """The file of a font with these characters, or with most of them if none has all."""

    def missing(path):
        try:
            return len({*map(ord, characters)} - FT2Font(path).get_charmap().keys())
        except (OSError, RuntimeError):  # a font that FreeType can't read
            return len(characters)

    return min((_FONT, *sorted(findSystemFonts())), key=missing) if missing(_FONT) else _FONT


def _draw_box(draw, corners, color, line):
    top, left, bottom, right = corners
    # A thin rim of the other lightness keeps the box visible on a background of its own colour.
    draw.rectangle(
        [left - 1, top - 1, right + 1, bottom + 1], outline=_contrasting(color), width=line + 2
    )
    draw.rectangle([left, top, right, bottom], outline=color, width=line)


def _fitted(name: str, score: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Name and score in so many pixels: of a long name, the beginning."""
    text, length = name + score, len(name)
    while length > 1 and font.getlength(text) > width:
        length -= 1
        text = f"{name[:length]}…{score}"
    return text


def _draw_tag(draw, image_width, corners, text, color, margin, font):
    top, left, _, _ = corners
    text_left, text_top, text_right, text_bottom = font.getbbox(text)
    width, height = text_right - text_left + 2 * margin, text_bottom - text_top + 2 * margin
    # Above the box where there is room, else inside; always within the picture.
    top = top - height if top >= height else top
    left = max(0, min(left, image_width - width))
    draw.rectangle([left, top, left + width, top + height], fill=color)
    place = (left + margin - text_left, top + margin - text_top)
    draw.text(place, text, fill=_contrasting(color), font=font)


def _contrasting(color):
    """Black on bright colours, white on dark ones."""
    red, green, blue = color
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)
