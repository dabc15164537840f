"""Small VOC folders and TFRecords to test with, sound ones and broken ones."""

import io
from collections.abc import Sequence
from pathlib import Path

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
