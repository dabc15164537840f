"""The demo's data set: drawn animals' heads in Pascal VOC layout.

Picture i depends on the seed and i alone.
"""

import json
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from pipeline.demo.drawing import CLASSES, OVERSAMPLING, draw_head
from pipeline.demo.scenery import draw_background, draw_in_front
from pipeline.errors import UserError

# Incremented whenever the same seed draws other pictures, so that old folders are replaced.
GENERATOR_VERSION = 1
SETTINGS_FILE = "demo_data.json"
_SEED = 1

_SIZES = ((320, 240), (304, 240), (288, 256))
_EMPTY_SHARE = 0.06
_HIDDEN_SHARE = 0.08
_MAX_OVERLAP = 0.1  # of the smaller box
_MIN_VISIBLE = 0.75  # of a head at the picture's edge


@dataclass(frozen=True)
class DemoObject:
    """A head in a picture: its class, and its visible extent in pixels."""

    name: str
    box: tuple[int, int, int, int]  # (xmin, ymin, xmax, ymax), 0 <= min < max <= image side


def _intersection(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> int:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0, width) * max(0, height)


def _area(box: tuple[int, int, int, int]) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def draw_picture(seed: int, index: int) -> tuple[Image.Image, list[DemoObject]]:
    """Draws picture `index` of the data set with this seed.

    Returns:
      The RGB picture and the heads in it, from back to front; about one picture in 16 has none.
    """
    rng = random.Random(f"{seed}/{index}")
    width, height = rng.choice(_SIZES)
    frame = (0, 0, width * OVERSAMPLING, height * OVERSAMPLING)
    picture = draw_background(frame[2:], rng)
    count = 0 if rng.random() < _EMPTY_SHARE else rng.choice([1, 1, 1, 2, 2, 3])
    placed: list[tuple[str, tuple[int, int, int, int]]] = []
    largest = 0.34 if count == 1 else 0.27
    for _ in range(count):
        name = rng.choice(CLASSES)
        radius = rng.uniform(0.19, largest) * min(frame[2:])
        head = draw_head(name, radius, rng.gauss(0, 7), rng)
        if rng.random() < 0.5:
            head = head.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        # A crowded picture gets fewer heads rather than overlapping ones.
        for _ in range(20):
            left = rng.randint(round(-0.1 * head.width), frame[2] - round(0.9 * head.width))
            top = rng.randint(round(-0.1 * head.height), frame[3] - round(0.9 * head.height))
            whole = (left, top, left + head.width, top + head.height)
            box = (max(whole[0], 0), max(whole[1], 0), min(whole[2], frame[2]),
                   min(whole[3], frame[3]))  # fmt: skip
            free = all(
                _intersection(box, other) <= _MAX_OVERLAP * min(_area(box), _area(other))
                for _, other in placed
            )
            if free and _area(box) >= _MIN_VISIBLE * _area(whole):
                picture.paste(head, (left, top), head)
                placed.append((name, box))
                break
        else:
            continue
        if rng.random() < _HIDDEN_SHARE:
            draw_in_front(picture, box, rng)
    objects = [
        DemoObject(name, tuple(round(edge / OVERSAMPLING) for edge in box)) for name, box in placed
    ]
    return picture.reduce(OVERSAMPLING), objects


def _annotation(filename: str, size: tuple[int, int], objects: list[DemoObject]) -> bytes:
    """Returns the Pascal VOC XML of a picture."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = filename
    size_node = ElementTree.SubElement(root, "size")
    for tag, value in zip(("width", "height", "depth"), (*size, 3), strict=True):
        ElementTree.SubElement(size_node, tag).text = str(value)
    for drawn in objects:
        node = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(node, "name").text = drawn.name
        box_node = ElementTree.SubElement(node, "bndbox")
        for tag, edge in zip(("xmin", "ymin", "xmax", "ymax"), drawn.box, strict=True):
            ElementTree.SubElement(box_node, tag).text = str(edge)
    ElementTree.indent(root)
    return ElementTree.tostring(root)


def _recorded_settings(folder: Path) -> dict | None:
    try:
        return json.loads((folder / SETTINGS_FILE).read_text())
    except (OSError, ValueError):
        return None


def write_demo_data(folder: str | Path, num_images: int = 800) -> Path:
    """Writes the demo data set, unless the folder already contains it.

    The layout is Pascal VOC's: `images/*.jpg`, `annotations/xmls/*.xml`. The files are written to a
    folder beside the wanted one and then moved, so that no one sees a half-written data set.

    Args:
      folder: of the data set. A demo data set with other settings is replaced.
      num_images: at least 1.

    Returns:
      The folder, as a path.

    Raises:
      UserError: if the folder contains anything other than a demo data set.
    """
    folder = Path(folder)
    settings = {"version": GENERATOR_VERSION, "num_images": num_images, "seed": _SEED}
    if _recorded_settings(folder) == settings:
        return folder
    occupied = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if occupied and _recorded_settings(folder) is None:
        raise UserError(
            f"Expected an empty or a new folder for the demo data. Received: {folder}, which "
            "contains other files. Choose another folder, or move those files."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        made = Path(scratch) / "made"
        images, xmls = made / "images", made / "annotations" / "xmls"
        images.mkdir(parents=True)
        xmls.mkdir(parents=True)
        for index in range(num_images):
            name = f"demo_{index:05d}"
            picture, objects = draw_picture(_SEED, index)
            picture.save(images / f"{name}.jpg", quality=88)
            (xmls / f"{name}.xml").write_bytes(_annotation(f"{name}.jpg", picture.size, objects))
        (made / SETTINGS_FILE).write_text(json.dumps(settings) + "\n")
        if folder.exists():
            folder.rename(Path(scratch) / "old")
        made.rename(folder)
    return folder
