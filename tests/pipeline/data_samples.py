"""Small VOC folders and TFRecords to test with, sound ones and broken ones."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from pipeline import features
from pipeline.data.labelled_image import LabelledImage

BoxInPixels = tuple[str, float, float, float, float]  # name, xmin, ymin, xmax, ymax

CAT: BoxInPixels = ("cat", 4, 3, 20, 15)
DOG: BoxInPixels = ("dog", 10, 5, 32, 24)


def picture(
    seed: int = 0, mode: str = "RGB", image_format: str = "JPEG", size: tuple[int, int] = (32, 24)
) -> bytes:
    """Returns the file of a smooth little picture, another one for every seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    image = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, image_format)
    return buffer.getvalue()


def xml(
    filename: str | None,
    objects: Sequence[BoxInPixels],
    size: tuple[int, int] | None = (32, 24),
) -> str:
    """Returns a Pascal VOC annotation; None leaves out the element."""
    name = f"<filename>{filename}</filename>" if filename is not None else ""
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    nodes = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{xmin}</xmin><ymin>{ymin}</ymin>"
        f"<xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox></object>"
        for name, xmin, ymin, xmax, ymax in objects
    )
    return f"<annotation>{name}{stated}{nodes}</annotation>"


class VocFolder:
    """A VOC folder that grows by one image at a time."""

    def __init__(self, root: Path):
        self.root = root
        self.images = root / "images"
        self.xmls = root / "annotations" / "xmls"
        self.images.mkdir(parents=True)
        self.xmls.mkdir(parents=True)

    def add(
        self,
        stem: str,
        objects: Sequence[BoxInPixels] = (CAT,),
        encoded: bytes | None = None,
        suffix: str = ".jpg",
        **stated: object,
    ) -> None:
        """Adds a picture with its XML; `stated` goes to `xml`."""
        encoded = picture(sum(stem.encode())) if encoded is None else encoded
        (self.images / f"{stem}{suffix}").write_bytes(encoded)
        (self.xmls / f"{stem}.xml").write_text(xml(f"{stem}{suffix}", objects, **stated))

    def fill(self, count: int, prefix: str = "cat") -> "VocFolder":
        """Adds sound images, `prefix_0` and on."""
        for index in range(count):
            self.add(f"{prefix}_{index}", (CAT, DOG), picture(hash_free_seed(prefix) + index))
        return self


def hash_free_seed(text: str) -> int:
    """A seed that differs between texts and not between runs."""
    return sum(text.encode()) * 1000


def od_record(image: LabelledImage) -> dict[str, object]:
    """The values of a record as the Object Detection API's scripts write it."""
    ymin, xmin, ymax, xmax = zip(*image.boxes, strict=True) if image.boxes else ((),) * 4
    return {
        features.IMAGE_ENCODED: [image.encoded],
        features.IMAGE_FILENAME: [image.filename.encode()],
        features.SOURCE_ID: [image.filename.encode()],
        features.IMAGE_FORMAT: [b"jpeg"],
        features.IMAGE_HEIGHT: [image.height],
        features.IMAGE_WIDTH: [image.width],
        features.YMIN: list(ymin),
        features.XMIN: list(xmin),
        features.YMAX: list(ymax),
        features.XMAX: list(xmax),
        features.CLASS_TEXT: [name.encode() for name in image.names],
        "image/object/class/label": [1] * len(image.names),
    }


def serialize(values: dict[str, object]) -> bytes:
    """Returns a tf.Example with bytes, integer or float lists."""
    example = tf.train.Example()
    for key, items in values.items():
        feature = example.features.feature[key]
        if any(isinstance(item, bytes) for item in items):
            feature.bytes_list.value.extend(items)
        elif any(isinstance(item, int) for item in items):
            feature.int64_list.value.extend(items)
        else:
            feature.float_list.value.extend(items)
    return example.SerializeToString()


def write_records(path: Path, records: Sequence[bytes]) -> None:
    """Writes a TFRecord file."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


class Sample(NamedTuple):
    """One labelled picture to write in every format: boxes in whole pixels."""

    stem: str
    encoded: bytes
    objects: Sequence[BoxInPixels]
    side: str = ""
    size: tuple[int, int] = (32, 24)


CLASSES = ("bird", "cat", "dog")


def samples(count: int = 6, sides: Sequence[str] = ("",)) -> list[Sample]:
    """Pictures with no, one or two objects; the sides take turns, and share the names."""
    objects = ((CAT,), (CAT, DOG), (), (DOG,))
    return [
        Sample(f"image_{number // len(sides)}", picture(number), objects[number % 4], side)
        for number in range(count)
        for side in [sides[number % len(sides)]]
    ]


def write_voc(
    root: Path,
    images: Sequence[Sample],
    pictures: str = "{side}/images",
    labels: str = "{side}/annotations",
) -> Path:
    """Writes a Pascal VOC data set; `{side}` in a folder stands for the image's side."""
    for image in images:
        _write_picture(root, pictures, image)
        _write(root, labels, image, ".xml", xml(f"{image.stem}.jpg", image.objects, image.size))
    return root


def write_yolo(
    root: Path,
    images: Sequence[Sample],
    pictures: str = "{side}/images",
    labels: str = "{side}/labels",
    digits: int = 6,
    names: str = "classes.txt",
) -> Path:
    """Writes a YOLO data set: numbers with so many digits, no file for pictures without objects."""
    for image in images:
        _write_picture(root, pictures, image)
        width, height = image.size
        lines = ""
        for name, xmin, ymin, xmax, ymax in image.objects:
            box = (
                (xmin + xmax) / 2 / width,
                (ymin + ymax) / 2 / height,
                (xmax - xmin) / width,
                (ymax - ymin) / height,
            )
            lines += f"{CLASSES.index(name)} {' '.join(f'{value:.{digits}f}' for value in box)}\n"
        if lines:
            _write(root, labels, image, ".txt", lines)
    if names:
        (root / names).write_text("\n".join(CLASSES))
    return root


def coco(images: Sequence[Sample], file_name: str = "{stem}.jpg") -> dict:
    """A COCO document, with gaps between the ids of the categories."""
    ids = {image.stem: 100 + number for number, image in enumerate(images)}
    annotations = [
        (ids[image.stem], name, [xmin, ymin, xmax - xmin, ymax - ymin])
        for image in images
        for name, xmin, ymin, xmax, ymax in image.objects
    ]
    return {
        "images": [
            {
                "id": ids[image.stem],
                "file_name": file_name.format(stem=image.stem, side=image.side),
                "width": image.size[0],
                "height": image.size[1],
            }
            for image in images
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image_id,
                "category_id": 10 + 5 * CLASSES.index(name),
                "bbox": box,
                "iscrowd": 0,
            }
            for number, (image_id, name, box) in enumerate(annotations)
        ],
        "categories": [{"id": 10 + 5 * n, "name": name} for n, name in enumerate(CLASSES)],
    }


def write_coco(
    root: Path,
    images: Sequence[Sample],
    pictures: str = "{side}/images",
    labels: str = "annotations/instances_{side}.json",
) -> Path:
    """Writes a COCO data set: a JSON for each side."""
    for image in images:
        _write_picture(root, pictures, image)
    for side in {image.side for image in images}:
        path = root / labels.format(side=side).strip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(coco([image for image in images if image.side == side])))
    return root


def _write_picture(root: Path, folder: str, image: Sample) -> None:
    path = root / folder.format(side=image.side).strip("/") / f"{image.stem}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image.encoded)


def _write(root: Path, folder: str, image: Sample, suffix: str, text: str) -> None:
    path = root / folder.format(side=image.side).strip("/") / f"{image.stem}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
