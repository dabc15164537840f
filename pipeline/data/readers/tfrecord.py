"""TFRecord files with the keys of the TensorFlow Object Detection API: finds and reads them."""

import functools
import gzip
import itertools
import math
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import google_crc32c
import tensorflow as tf
from google.protobuf.message import DecodeError
from tfx.dsl.io import fileio

from pipeline import features
from pipeline.data.census import BROKEN_FILE, EMPTY_FILE, Checked, Ignored
from pipeline.data.checks import check_boxes, check_names, check_size, decoded_size
from pipeline.data.input_patterns import is_pattern, is_remote, is_special
from pipeline.data.labelled_image import LabelledImage, Unusable, image_id_of
from pipeline.data.orientation import annotated_size, set_upright
from pipeline.data.readers import Inputs
from pipeline.data.split import SIDES, sided_id
from pipeline.errors import UserError

# In a folder, files with one of these in their names are taken for TFRecord files.
_SHARD_NAMES = ("record", ".tfr")
# Before every record: its length, and a checksum of these eight bytes. Behind it: its checksum.
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
# Deflate compresses by this factor at most.
_MOST_DEFLATED = 1032
_BROKEN = (OSError, EOFError, ValueError, struct.error, zlib.error, tf.errors.OpError)


@dataclass(frozen=True)
class ShardItem:
    """One TFRecord file to read, relative to `base`; `side` is "train", "eval", or empty."""

    base: str
    shard: str
    side: str


def is_folder_of_shards(path: str) -> bool:
    """Whether the path is a folder; in an object store a guess by the name, without asking."""
    if not is_remote(path):
        return fileio.isdir(path)
    name = os.path.basename(path)
    return not (is_pattern(name) or "." in name or "-of-" in name)


def find_shards(base: str, patterns: Mapping[str, str], max_megapixels: float = math.inf) -> Inputs:
    """Lists TFRecord files.

    Args:
      base: root that the patterns are relative to.
      patterns: glob pattern by group: `examples`, or `train` and `eval`. A pattern that is `*`, or
        ends in `/*`, stands for a folder: files there that are not named like TFRecord files are
        ignored.
      max_megapixels: see `read_shard`.

    Raises:
      UserError: when a pattern matches no file.
    """
    items: list[ShardItem] = []
    ignored: list[Ignored] = []
    for group, pattern in patterns.items():
        side = group if group in SIDES else ""
        whole = os.path.join(base, pattern)
        shards = sorted(path for path in fileio.glob(whole) if not fileio.isdir(path))
        if os.path.basename(pattern) == "*":
            named = [p for p in shards if any(n in os.path.basename(p) for n in _SHARD_NAMES)]
            strays = sorted(set(shards) - set(named))
            ignored.extend(Ignored(_under(base, p), "not named like a TFRecord") for p in strays)
            shards = named
        if not shards:
            raise UserError(
                f"Expected TFRecord files at {whole}. Received: none"
                f"{f' among the {len(ignored)} files there' if ignored else ''}. Check the path; "
                "in a folder, the names of TFRecord files must contain one of "
                f"{', '.join(_SHARD_NAMES)}."
            )
        items.extend(ShardItem(base, _under(base, path), side) for path in shards)
    read = functools.partial(read_shard, max_megapixels=max_megapixels)
    return Inputs(items, read, frozenset(), ignored)


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
        yield _check_record(record, f"{item.shard}#{number}", item.side, max_megapixels)
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
    record: bytes, file: str, side: str, max_megapixels: float
) -> tuple[Checked, LabelledImage | None]:
    image_id = ""
    try:
        image_id, values = _parse_record(record)
        image = _label_record(image_id, values, side, max_megapixels)
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
    image_id: str, values: Callable[[str, str], list], side: str, max_megapixels: float
) -> LabelledImage:
    encoded = values(features.IMAGE_ENCODED, "bytes_list")
    if len(encoded) != 1:
        raise Unusable(
            "missing_image", f"expected one value in {features.IMAGE_ENCODED}, got {len(encoded)}"
        )
    image_format, width, height = decoded_size(encoded[0], max_megapixels)
    stated = values(features.IMAGE_WIDTH, "int64_list") + values(
        features.IMAGE_HEIGHT, "int64_list"
    )
    size = tuple(stated) if len(stated) == 2 else None
    width, height = annotated_size(size, (width, height), encoded[0])
    check_size(size, (width, height))
    edges = [values(key, "float_list") for key in features.BOX]
    if len({len(edge) for edge in edges}) != 1:
        raise Unusable(
            "malformed_record",
            "the four lists of box edges have different lengths: "
            f"{dict(zip(features.BOX, map(len, edges), strict=True))}",
        )
    names = [_text(name, features.CLASS_TEXT) for name in values(features.CLASS_TEXT, "bytes_list")]
    filename = values(features.IMAGE_FILENAME, "bytes_list")
    stored = LabelledImage(
        image_id=sided_id(side, image_id),
        filename=filename[0].decode("utf-8", "surrogateescape") if filename else image_id,
        encoded=encoded[0],
        image_format=image_format,
        height=height,
        width=width,
        boxes=check_boxes(list(zip(*edges, strict=True)), width, height),
        names=check_names(names, len(edges[0])),
        difficult=_flags(values, features.DIFFICULT, len(edges[0])),
        crowd=_flags(values, features.CROWD, len(edges[0])),
    )
    return set_upright(stored)


def _flags(values: Callable[[str, str], list], key: str, num_boxes: int) -> tuple[bool, ...]:
    flags = tuple(map(bool, values(key, "int64_list")))
    if flags and len(flags) != num_boxes:
        raise Unusable("malformed_record", f"{num_boxes} boxes have {len(flags)} values in {key}")
    return flags
