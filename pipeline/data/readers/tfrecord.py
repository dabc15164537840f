"""TFRecord files with the keys of the TensorFlow Object Detection API: finds and reads them."""

import functools
import gzip
import itertools
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import google_crc32c
import tensorflow as tf
from google.protobuf.message import DecodeError
from tfx.dsl.io import fileio

from models.labels import parse_label_map
from pipeline import features
from pipeline.data.census import BROKEN_FILE, EMPTY_FILE, Checked
from pipeline.data.checks import check_boxes, check_names, check_size, decoded_size
from pipeline.data.conversion import make_readable
from pipeline.data.input_patterns import is_special
from pipeline.data.labelled_image import (
    PICTURE_SUFFIXES,
    LabelledImage,
    Unusable,
    image_id_of,
)
from pipeline.data.orientation import annotated_size, set_upright
from pipeline.data.readers import Inputs
from pipeline.data.readers.tree import Tree, is_shown, side_of, walk
from pipeline.data.split import ALL_SIDES, sided_id
from pipeline.errors import UserError

# In a folder, files with one of these in their names are taken for TFRecord files.
_SHARD_NAMES = ("record", ".tfr")
# Not looked into.
_OTHER_SUFFIXES = (
    *(*PICTURE_SUFFIXES, ".txt", ".xml", ".json", ".yaml", ".yml", ".md", ".csv", ".pbtxt", ".mat"),
    *(".zip", ".tar", ".py", ".html", ".pdf", ".names", ".data"),
)
_MOST_UNKNOWN = 20
# Before every record: its length, and a checksum of these eight bytes. Behind it: its checksum.
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
# Deflate compresses by this factor at most.
_MOST_DEFLATED = 1032
_BROKEN = (OSError, EOFError, ValueError, struct.error, zlib.error, tf.errors.OpError)


TITLE = "TFRecord"
# The class of every box by its id in the label map; used where records have no names.
CLASS_LABEL = "image/object/class/label"


@dataclass(frozen=True)
class ShardItem:
    """One TFRecord file to read, relative to `base`.

    Attributes:
      base: absolute path or URL.
      shard: the file.
      side: "train", "eval", "test", or empty when nothing says.
      label_map: names by class id, of a .pbtxt beside it.
    """

    base: str
    shard: str
    side: str
    label_map: tuple[tuple[int, str], ...] = ()

    @property
    def picture(self) -> str:
        """None of its own."""
        return ""


def recognise(tree: Tree) -> list[str]:
    """Files that are named like TFRecord files; if there are none, those that begin like one."""
    labels = [path for path in tree.files if is_shown(path) and _in_annotations(tree, path)]
    named = [path for path in labels if is_named_like_shard(path)]
    if named:
        return named
    unknown = [path for path in labels if not path.lower().endswith(_OTHER_SUFFIXES)]
    return [path for path in unknown[:_MOST_UNKNOWN] if starts_like_shard(tree.head(path, 12))]


def _in_annotations(tree: Tree, path: str) -> bool:
    return not tree.annotations or path.startswith(f"{tree.annotations}/")


def is_named_like_shard(path: str) -> bool:
    """Whether the name is a TFRecord file's."""
    name = os.path.basename(path).lower()
    return any(part in name for part in _SHARD_NAMES) and not name.endswith(_OTHER_SUFFIXES)


def starts_like_shard(head: bytes) -> bool:
    """Whether the first bytes are a record's length with its checksum."""
    if len(head) < _HEADER.size:
        return False
    length, checksum = _HEADER.unpack(head[: _HEADER.size])
    return length > 0 and checksum == _masked_crc32c(head[:8])


def is_shard(path: str) -> bool:
    """Whether a local file is a TFRecord file, by its name or its first bytes."""
    if is_named_like_shard(path):
        return True
    if is_special(path) or not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return starts_like_shard(file.read(_HEADER.size))


def sources(tree: Tree, labels: list[str]) -> list[str]:
    """The label maps."""
    return tree.sources(".pbtxt") if labels else []


def find(
    tree: Tree, labels: list[str], class_from: str = "name", max_megapixels: float = math.inf
) -> Inputs:
    """Lists the TFRecord files of a folder, and the sides that names of folders or files say.

    Args:
      tree: the data set.
      labels: its TFRecord files.
      class_from: only "name".
      max_megapixels: see `read_shard`.

    Raises:
      UserError: when label maps beside one file contradict each other.
    """
    if class_from != "name":
        raise UserError(
            "Expected data.class_from=name for TFRecord files: their records hold the classes. "
            f"Received: {class_from}."
        )
    items = []
    for path in labels:
        side = next(filter(None, map(side_of, reversed(tree.relative(path).split("/")))), "")
        items.append(ShardItem(tree.base, path, side, _label_map(tree, path)))
    read = functools.partial(read_shard, max_megapixels=max_megapixels)
    return Inputs(items, read, frozenset(), [])


def _label_map(tree: Tree, shard: str) -> tuple[tuple[int, str], ...]:
    """Names by class id from the label map in the file's folder, or else anywhere."""
    maps = tree.sources(".pbtxt")
    folder = shard.rpartition("/")[0]
    found = {}
    for path in [path for path in maps if path.rpartition("/")[0] == folder] or maps:
        try:
            names = parse_label_map(tree.text(path, "a label map"))
        except ValueError as error:  # of thousands of digits
            raise UserError(
                f"Expected a label map. Received: {tree.full(path)}, with an id that is no number "
                f"to count by: {error}."
            ) from None
        if names:
            found[tuple(sorted(names.items()))] = path
    if len(found) > 1:
        one, other, *_ = found.values()
        raise UserError(
            f"Expected one label map for {tree.full(shard)}. Received: {one} and {other}, which "
            "differ. Remove one."
        )
    return next(iter(found), ())


def find_shards(base: str, patterns: Mapping[str, str], max_megapixels: float = math.inf) -> Inputs:
    """Lists TFRecord files.

    Args:
      base: root that the patterns are relative to.
      patterns: glob pattern by group: `examples`, or `train`, `eval` and perhaps `test`.
      max_megapixels: see `read_shard`.

    Raises:
      UserError: when a pattern matches no file.
    """
    items: list[ShardItem] = []
    for group, pattern in patterns.items():
        whole = os.path.join(base, pattern)
        shards = sorted(path for path in fileio.glob(whole) if not fileio.isdir(path))
        if not shards:
            raise UserError(f"Expected TFRecord files at {whole}. Received: none. Check the path.")
        side = group if group in ALL_SIDES else ""
        for path in shards:
            items.append(ShardItem(base, _under(base, path), side))
    folders = {os.path.dirname(item.shard) for item in items}
    trees = {folder: walk(base, folder, depth=1) for folder in folders}
    items = [
        replace(item, label_map=_label_map(trees[os.path.dirname(item.shard)], item.shard))
        for item in items
    ]
    read = functools.partial(read_shard, max_megapixels=max_megapixels)
    split = "split as you gave it"
    if "examples" in patterns:
        split = "split by a hash of the image ids"
    return Inputs(items, read, frozenset(), [], title=TITLE, split=split)


def _under(base: str, path: str) -> str:
    return path.removeprefix(base).lstrip("/")


def read_shard(
    item: ShardItem, max_megapixels: float = math.inf
) -> Iterator[tuple[Checked, LabelledImage | None]]:
    """Reads and checks all records of a TFRecord file with the Object Detection API's keys.

    Args:
      item: what to read.
      max_megapixels: larger pictures are unusable.

    Yields:
      For every record what is known about it, and the image if it is usable; then, if the file is
      truncated or not a TFRecord file, one of kind `BROKEN_FILE`; if it has no records, one of kind
      `EMPTY_FILE`.
    """
    records = _read_records(os.path.join(item.base, item.shard))
    for number in itertools.count():
        try:
            record = next(records, None)
        except _BROKEN as error:
            reason = f"not a TFRecord file, or broken after {number} records: {error}"
            yield Checked(file=item.shard, kind=BROKEN_FILE, reason=reason), None
            return
        if record is None:
            break
        yield _check_record(record, f"{item.shard}#{number}", item, max_megapixels)
    if not number:
        reason = "a TFRecord file without records"
        yield Checked(file=item.shard, kind=EMPTY_FILE, reason=reason), None


def _read_records(path: str) -> Iterator[bytes]:
    """Yields the records of a TFRecord file; raises one of `_BROKEN` where it is broken.

    TensorFlow's reader crashes on a length that no memory can hold, and takes a truncated gzip
    file, or one that ends within a record's header, for complete.
    """
    if is_special(path):
        raise ValueError("it is a pipe or a device")
    most = fileio.stat(path).length
    with fileio.open(path, "rb") as file:
        if path.endswith(".gz"):
            most *= _MOST_DEFLATED
            file = gzip.GzipFile(fileobj=file, mode="rb")
        while header := file.read(_HEADER.size):
            length, checksum = _HEADER.unpack(header)
            if checksum != _masked_crc32c(header[: -_FOOTER.size]):
                raise ValueError("the checksum of a record's length is wrong")
            if length > most:
                raise ValueError(f"a record of {length} bytes does not fit in the file")
            record = file.read(length)
            (checksum,) = _FOOTER.unpack(file.read(_FOOTER.size))
            if checksum != _masked_crc32c(record):
                raise ValueError("a record's checksum is wrong")
            yield record


def _masked_crc32c(content: bytes) -> int:
    """The form in which TFRecord files hold their checksums."""
    crc = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _check_record(
    record: bytes, file: str, item: ShardItem, max_megapixels: float
) -> tuple[Checked, LabelledImage | None]:
    image_id, side = "", item.side
    try:
        image_id, values = _parse_record(record)
        image = _label_record(image_id, values, item, max_megapixels)
    except Unusable as problem:
        checked = Checked(
            file=file,
            image_id=sided_id(side, image_id),
            side=side,
            kind=problem.kind,
            reason=problem.reason,
        )
        return checked, None
    return Checked.usable(file, file, side, image), image


def _text(value: bytes, key: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Unusable("not_utf8", f"expected UTF-8 in {key}, received {value!r}") from None


def _parse_record(record: bytes) -> tuple[str, Callable[[str, str], list]]:
    """Returns a record's image id and an accessor of its values by feature and kind."""
    try:
        feature = tf.train.Example.FromString(record).features.feature
    except DecodeError:
        raise Unusable("malformed_record", "expected a tf.Example, received other bytes") from None

    def values(key: str, kind: str) -> list:
        return list(getattr(feature[key], kind).value) if key in feature else []

    keys = (features.SOURCE_ID, features.IMAGE_FILENAME)
    named = ((value, key) for key in keys for value in values(key, "bytes_list"))
    name = next((_text(value, key) for value, key in named if value), None)
    if name is None:
        raise Unusable(
            "missing_id", f"neither {features.SOURCE_ID} nor {features.IMAGE_FILENAME} has a value"
        )
    return image_id_of(name), values


def _label_record(
    image_id: str, values: Callable[[str, str], list], item: ShardItem, max_megapixels: float
) -> LabelledImage:
    pictures = values(features.IMAGE_ENCODED, "bytes_list")
    if len(pictures) != 1:
        raise Unusable(
            "missing_image", f"expected one value in {features.IMAGE_ENCODED}, got {len(pictures)}"
        )
    encoded, file_sha256 = make_readable(pictures[0], max_megapixels)
    image_format, width, height = decoded_size(encoded, max_megapixels)
    stated = values(features.IMAGE_WIDTH, "int64_list") + values(
        features.IMAGE_HEIGHT, "int64_list"
    )
    size = tuple(stated) if len(stated) == 2 else None
    width, height = annotated_size(size, (width, height), encoded)
    check_size(size, (width, height))
    edges = [values(key, "float_list") for key in features.BOX]
    if len({len(edge) for edge in edges}) != 1:
        raise Unusable(
            "malformed_record",
            "the four lists of box edges have different lengths: "
            f"{dict(zip(features.BOX, map(len, edges), strict=True))}",
        )
    names = [_text(name, features.CLASS_TEXT) for name in values(features.CLASS_TEXT, "bytes_list")]
    if not any(names) and edges[0]:
        names = _names_by_id(values(CLASS_LABEL, "int64_list"), dict(item.label_map)) or names
    filename = values(features.IMAGE_FILENAME, "bytes_list")
    boxes, clipped = check_boxes(list(zip(*edges, strict=True)), width, height)
    stored = LabelledImage(
        image_id=sided_id(item.side, image_id),
        filename=filename[0].decode("utf-8", "surrogateescape") if filename else image_id,
        encoded=encoded,
        image_format=image_format,
        height=height,
        width=width,
        boxes=boxes,
        names=check_names(names, len(edges[0])),
        difficult=_flags(values, features.DIFFICULT, len(edges[0])),
        crowd=_flags(values, features.CROWD, len(edges[0])),
        file_sha256=file_sha256,
        converted=bool(file_sha256),
        clipped=clipped,
    )
    return set_upright(stored)


def _names_by_id(ids: list[int], label_map: Mapping[int, str]) -> list[str]:
    unknown = [number for number in ids if not label_map.get(number)]
    if unknown and label_map:
        raise Unusable("no_class", f"the label map has no name for class {unknown[0]}")
    if unknown:
        raise Unusable(
            "no_class",
            f"{features.CLASS_TEXT} is empty, and there is no label map (.pbtxt) with names for "
            f"the ids in {CLASS_LABEL}",
        )
    return [label_map[number] for number in ids]


def _flags(values: Callable[[str, str], list], key: str, num_boxes: int) -> tuple[bool, ...]:
    flags = tuple(map(bool, values(key, "int64_list")))
    if flags and len(flags) != num_boxes:
        raise Unusable("malformed_record", f"{num_boxes} boxes have {len(flags)} values in {key}")
    return flags
