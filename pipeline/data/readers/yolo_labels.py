"""What one label file of YOLO's says. Pure Python."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pipeline.data.labelled_image import Box, Unusable
from pipeline.data.readers.labelling import Objects

# On one line, so that a list of numbers is none; in one way only, so that any file is told at once.
_LINE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*\d+(?:\.0*)?"
    rb"(?:[ \t]+-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?){4,}[ \t]*(?:\n|\r|$)"
)


def starts_with_label(head: bytes) -> bool:
    """Whether the beginning of a file is a line of YOLO's."""
    return bool(_LINE.match(head))


class Line(NamedTuple):
    """One object of a label file.

    Attributes:
      number: of the line, from 1.
      class_id: from 0.
      box: (xmin, ymin, xmax, ymax) in fractions of the picture.
      precision: how far each edge may be off by the rounding of the written digits, likewise.
    """

    number: int
    class_id: int
    box: tuple[float, float, float, float]
    precision: tuple[float, float, float, float]


def parse_labels(content: bytes, keypoints: bool = False) -> list[Line]:
    """Parses a label file.

    Args:
      content: a line is a class's number with center x, center y, width and height of a box, or
        with the corners x, y of a polygon, all in fractions of the picture.
      keypoints: whether keypoints follow the box.

    Raises:
      Unusable: names the first line that is neither.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unusable("not_utf8", "expected text in UTF-8, received other bytes") from None
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words:
            lines.append(_parse_line(number, words[:5] if keypoints else words))
    return lines


def _parse_line(number: int, words: list[str]) -> Line:
    try:
        class_id = float(words[0])
        values = [float(word) for word in words[1:]]
        if not class_id.is_integer():
            raise ValueError
    except ValueError:
        raise Unusable(
            "malformed_label", f"line {number}: expected numbers, received {' '.join(words)!r}"
        ) from None
    off = [_rounding(word) for word in words[1:]]
    if len(values) == 4:
        x, y, width, height = values
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        x_off, y_off = off[0] + off[2] / 2, off[1] + off[3] / 2
        precision = (x_off, y_off, x_off, y_off)
    elif len(values) >= 6 and len(values) % 2 == 0:
        xs, ys = values[::2], values[1::2]
        box = (min(xs), min(ys), max(xs), max(ys))
        precision = (max(off[::2]), max(off[1::2])) * 2
    else:
        raise Unusable(
            "malformed_label",
            f"line {number}: expected a class and 4 numbers, or a polygon of at least 3 corners, "
            f"received {len(values)} numbers after the class",
        )
    return Line(number, int(class_id), box, precision)


def _rounding(word: str) -> float:
    """Half a unit of the last digit that is written."""
    mantissa, _, exponent = word.lower().partition("e")
    digits = len(mantissa.partition(".")[2]) - (int(exponent) if exponent else 0)
    return 0.5 * 10.0 ** -min(max(digits, 0), 300)


def objects_of(lines: Iterable[Line], names: Mapping[int, str], width: int, height: int) -> Objects:
    """The objects of a picture.

    Args:
      lines: see `parse_labels`.
      names: of the classes by number.
      width: of the picture, in pixels.
      height: likewise.

    Raises:
      Unusable: a class without a name, or a box far outside of the picture.
    """
    boxes, classes = [], []
    for line in lines:
        if line.class_id not in names:
            raise Unusable(
                "no_class",
                f"line {line.number}: class {line.class_id} has no name; there are names for "
                f"{min(names, default=0)} to {max(names, default=0)}",
            )
        if max(map(abs, line.box)) > 2:  # also when it is infinite
            raise Unusable(
                "box_outside",
                f"line {line.number}: expected fractions of the picture, 0 to 1, received a box of "
                f"{' '.join(f'{edge:.6g}' for edge in line.box)}",
            )
        classes.append(names[line.class_id])
        boxes.append(_on_pixels(line, width, height))
    return Objects(boxes, classes)


def _on_pixels(line: Line, width: int, height: int) -> Box:
    """The box, with its edges on whole pixels where the written digits allow it.

    Boxes are drawn on pixels; this gives back what the writer's division and rounding lost.
    """
    sizes = (width, height, width, height)
    xmin, ymin, xmax, ymax = (
        round(edge * size) / size
        if math.isfinite(edge) and abs(edge * size - round(edge * size)) <= (off + 1e-12) * size
        else edge
        for edge, off, size in zip(line.box, line.precision, sizes, strict=True)
    )
    return ymin, xmin, ymax, xmax
