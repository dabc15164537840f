"""Small sound data sets of every format, to be broken."""

import random
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tests.pipeline.data_samples import (
    CLASSES,
    picture,
    samples,
    write_coco,
    write_voc,
    write_yolo,
)

_OBJECTS = [("cat", 4, 3, 20, 15), ("dog", 10, 5, 32, 24)]
_COUNT = 6  # records, of which the hash puts two on the evaluation side
_SIDES = (("",), ("train", "valid"), ("train", "val", "test"))


def voc(root: Path, rng: random.Random) -> None:
    images = samples(4, rng.choice(_SIDES))
    layouts = (("images", "annotations/xmls"), ("JPEGImages", "Annotations"), ("", ""))
    pictures, labels = rng.choice(layouts)
    write_voc(root, images, f"{{side}}/{pictures}", f"{{side}}/{labels}")
    if pictures == "JPEGImages" and rng.random() < 0.5:
        lists = root / "ImageSets" / "Main"
        lists.mkdir(parents=True)
        for name, ids in (("train", "image_0\nimage_1\n"), ("val", "image_2\n")):
            (lists / f"{name}.txt").write_text(ids)


def yolo(root: Path, rng: random.Random) -> None:
    images = samples(4, rng.choice(_SIDES))
    names = rng.choice(("classes.txt", "obj.names", ""))
    write_yolo(root, images, rng.choice(("{side}/images", "images/{side}")), "{side}/labels",
               names=names)  # fmt: skip
    if not names:
        sides = "".join(
            f"{side or 'train'}: {side}/images\n"
            for side in dict.fromkeys(image.side for image in images)
        )
        (root / "data.yaml").write_text(
            f"path: .\n{sides}nc: {len(CLASSES)}\nnames: {list(CLASSES)}\n"
        )


def coco(root: Path, rng: random.Random) -> None:
    write_coco(root, samples(4, rng.choice(_SIDES)), rng.choice(("{side}/images", "{side}")))


def tfrecord(root: Path, rng: random.Random) -> None:
    root.mkdir()
    options = tf.io.TFRecordOptions(compression_type=rng.choice(("", "GZIP")))
    suffix = ".gz" if options.compression_type else ""
    with tf.io.TFRecordWriter(str(root / f"pets.record{suffix}"), options) as writer:
        for index in range(_COUNT):
            writer.write(_record(index, rng).SerializeToString())


def _record(index: int, rng: random.Random) -> tf.train.Example:
    example = tf.train.Example()
    feature = example.features.feature
    feature["image/encoded"].bytes_list.value.append(picture(index))
    feature["image/filename"].bytes_list.value.append(f"pet_{index}.jpg".encode())
    feature["image/height"].int64_list.value.append(24)
    feature["image/width"].int64_list.value.append(32)
    for name, xmin, ymin, xmax, ymax in _OBJECTS:
        feature["image/object/class/text"].bytes_list.value.append(name.encode())
        for key, edge in zip(
            ("xmin", "ymin", "xmax", "ymax"),
            (xmin / 32, ymin / 24, xmax / 32, ymax / 24),
            strict=True,
        ):
            feature[f"image/object/bbox/{key}"].float_list.value.append(edge)
    _break_values(feature, rng)
    return example


def _break_values(feature, rng: random.Random) -> None:
    """Records can't be broken from outside, where a checksum would tell."""
    if rng.random() < 0.5:
        return
    key = rng.choice(sorted(feature))
    how = rng.randrange(4)
    if how == 0:
        del feature[key]
    elif how == 1:
        feature[key].int64_list.value[:] = [rng.choice((-1, 0, 2**62))] * rng.randrange(3)
    elif how == 2:
        feature[key].float_list.value[:] = [rng.choice((float("nan"), 1e38, -1.0, 0.5))] * 2
    else:
        feature[key].bytes_list.value[:] = [rng.choice((b"", b"\xff\xfe", b"a\nb", b"x" * 9999))]


FORMATS: dict[str, Callable[[Path, random.Random], None]] = {
    "voc": voc,
    "coco": coco,
    "yolo": yolo,
    "tfrecord": tfrecord,
}
