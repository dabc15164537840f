"""TFLite metadata: what a model file says of itself, and the files that it carries at its end.

The metadata is a flatbuffer inside the model's, under the name TFLITE_METADATA; the files are a zip
archive behind it, which readers of the model do not see. The tables below are those of MediaPipe's
metadata_schema.fbs and object_detector_metadata_schema.fbs, and of TFLite's schema.fbs, field by
field in their order, as far as detectors need them. A file may be anybody's: nothing in it is
believed. Imports neither TensorFlow nor LiteRT.
"""

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flatbuffers
from flatbuffers import number_types

MODEL_IDENTIFIER, METADATA_IDENTIFIER = b"TFL3", b"M001"
METADATA_NAME = "TFLITE_METADATA"
DETECTOR_METADATA_NAME, DETECTOR_IDENTIFIER = "DETECTOR_METADATA", b"V001"

# Kinds of scalars, as `struct` spells them.
_FLOAT, _INT, _UINT, _BYTE, _BOOL = "<f", "<i", "<I", "<B", "<?"
_FLAGS = {
    _FLOAT: number_types.Float32Flags,
    _INT: number_types.Int32Flags,
    _UINT: number_types.Uint32Flags,
    _BYTE: number_types.Uint8Flags,
    _BOOL: number_types.BoolFlags,
}
# Alignment of bytes that a runtime reads in place.
ALIGNMENT = 16


class _Union(NamedTuple):
    """A table of one of several kinds, by the number of the kind; takes two fields."""

    tables: Mapping[int, Mapping]


# A table is its fields by name: a scalar, `str`, `bytes`, [a kind] for a vector, another table, or
# None for a field that nobody here reads.
_ASSOCIATED_FILE = {"name": str, "description": str, "type": _BYTE, "locale": str, "version": str}
DESCRIPTIONS, AXIS_LABELS, VALUE_LABELS = 1, 2, 3  # types of associated files
_IMAGE_SIZE = {"width": _UINT, "height": _UINT}
_CONTENT = {
    "properties": _Union(
        {
            1: {},  # a feature
            2: {"color_space": _BYTE, "default_size": _IMAGE_SIZE},
            3: {"index": [_UINT], "type": _BYTE, "coordinate_type": _BYTE},
        }
    ),
    "range": {"min": _INT, "max": _INT},
}
FEATURE, IMAGE, BOUNDING_BOX = 1, 2, 3  # kinds of content
_PROCESS_UNIT = {
    "options": _Union({1: {"mean": [_FLOAT], "std": [_FLOAT]}, 3: {"threshold": _FLOAT}})
}
NORMALIZATION, SCORE_THRESHOLD = 1, 3  # kinds of process units
_TENSOR = {
    "name": str,
    "description": str,
    "dimension_names": [str],
    "content": _CONTENT,
    "process_units": [_PROCESS_UNIT],
    "stats": {"max": [_FLOAT], "min": [_FLOAT]},
    "associated_files": [_ASSOCIATED_FILE],
}
_SUBGRAPH = {
    "name": str,
    "description": str,
    "inputs": [_TENSOR],
    "outputs": [_TENSOR],
    "associated_files": [_ASSOCIATED_FILE],
    "input_process_units": [_PROCESS_UNIT],
    "output_process_units": [_PROCESS_UNIT],
    "input_groups": [{"name": str, "tensor_names": [str]}],
    "output_groups": [{"name": str, "tensor_names": [str]}],
    "custom_metadata": [{"name": str, "data": bytes}],
}
_METADATA = {
    "name": str,
    "description": str,
    "version": str,
    "subgraphs": [_SUBGRAPH],
    "author": str,
    "license": str,
    "associated_files": [_ASSOCIATED_FILE],
    "min_parser_version": str,
}
_DETECTOR = {
    "min_parser_version": str,
    "anchors": {
        "fixed": {
            "anchors": [{"x_center": _FLOAT, "y_center": _FLOAT, "width": _FLOAT, "height": _FLOAT}]
        }
    },
    "decoding": {
        "num_classes": _INT,
        "num_boxes": _INT,
        "num_coords": _INT,
        "keypoint_coord_offset": _INT,
        "num_keypoints": _INT,
        "num_values_per_keypoint": _INT,
        "x_scale": _FLOAT,
        "y_scale": _FLOAT,
        "w_scale": _FLOAT,
        "h_scale": _FLOAT,
        "apply_exponential_on_box_size": _BOOL,
        "sigmoid_score": _BOOL,
    },
}
_MODEL = {
    "version": _UINT,
    "operator_codes": None,
    "subgraphs": [{"tensors": None, "inputs": [_INT], "outputs": [_INT]}],
    "description": None,
    "buffers": [{"data": bytes}],
    "metadata_buffer": None,
    "metadata": [{"name": str, "buffer": _UINT}],
}


class Metadata(NamedTuple):
    """What a file says of itself.

    Attributes:
      model: the metadata's table, with the fields that it sets.
      files: contents of the associated files by name.
      num_inputs: of the first graph of the model itself.
      num_outputs: likewise.
    """

    model: dict[str, Any]
    files: dict[str, bytes]
    num_inputs: int
    num_outputs: int

    @property
    def graph(self) -> dict[str, Any]:
        """What is said of the first graph."""
        return next(iter(self.model.get("subgraphs", ())), {})


def read_metadata(content: bytes, source: str) -> Metadata | None:
    """Reads the metadata of a .tflite file; None if it has none.

    Args:
      content: of the file.
      source: where it is from, for the message.

    Raises:
      ValueError: when it is no whole .tflite file, its metadata is damaged, or a file is missing
        that the metadata names.
    """
    if content[4:8] != MODEL_IDENTIFIER:
        raise ValueError(
            f"Expected a .tflite file, with {MODEL_IDENTIFIER!r} at byte 4. Received: "
            f"{content[4:8]!r} (in {source})."
        )
    try:
        model = _unpack(content, _MODEL)
        named = (entry for entry in model.get("metadata", ()) if entry["name"] == METADATA_NAME)
        entry = next(named, None)
        if entry is None:
            return None
        packed = model["buffers"][entry.get("buffer", 0)]["data"]
        graph = model["subgraphs"][0]
    except _DAMAGED as error:
        raise ValueError(
            f"Expected a whole .tflite file. Received: {source}, {len(content)} bytes, which is "
            f"truncated or damaged ({error})."
        ) from error
    try:
        if packed[4:8] != METADATA_IDENTIFIER:
            raise ValueError(f"{packed[4:8]!r} at its byte 4 instead of {METADATA_IDENTIFIER!r}")
        found = _unpack(packed, _METADATA)
        files = _read_files(content)
    except (*_DAMAGED, zipfile.BadZipFile) as error:
        raise ValueError(
            f"Expected TFLite metadata in {source}. Received: something damaged ({error})."
        ) from error
    metadata = Metadata(found, files, len(graph.get("inputs", ())), len(graph.get("outputs", ())))
    lacking = sorted({*recorded_files(metadata)} - {*files})
    if lacking:
        raise ValueError(
            f"Expected a whole .tflite file. Received: {source}, {len(content)} bytes, which lacks "
            f"{', '.join(lacking)}: its metadata names them, so its end is cut off."
        )
    return metadata


def recorded_files(found: Metadata) -> list[str]:
    """Names of the files that the metadata names."""
    graph = found.graph
    tables = [found.model, graph, *graph.get("inputs", ()), *graph.get("outputs", ())]
    return [file.get("name", "") for table in tables for file in table.get("associated_files", ())]


def _read_files(content: bytes) -> dict[str, bytes]:
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            # Readers of TFLite metadata expect this; it also limits what is unpacked.
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > len(content):
                raise ValueError(f"{info.filename} is compressed")
        return {info.filename: archive.read(info) for info in archive.infolist()}


def pack_metadata(metadata: Mapping[str, Any]) -> bytes:
    """The flatbuffer of a metadata table, see `Metadata.model`; an unknown field is a KeyError."""
    return _pack(metadata, _METADATA, METADATA_IDENTIFIER)


def pack_detector(options: Mapping[str, Any]) -> bytes:
    """The flatbuffer that tells MediaPipe the anchors of a detector without post-processing."""
    return _pack(options, _DETECTOR, DETECTOR_IDENTIFIER)


def unpack_detector(packed: bytes) -> dict[str, Any]:
    """The inverse of `pack_detector`.

    Raises:
      ValueError: it is damaged.
    """
    try:
        return _unpack(packed, _DETECTOR)
    except _DAMAGED as error:
        raise ValueError(f"Expected a detector's metadata. Received: damaged ({error}).") from error


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """An archive that is the same for the same files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        for name, content in files.items():
            opened.writestr(zipfile.ZipInfo(name), content)  # of 1980, not of today
    return archive.getvalue()


class AlignedBuilder(flatbuffers.Builder):
    """Aligns bytes as the schemas ask for (`force_align`), which Python's generated code forgets.

    Kernels read weights where they are.
    """

    def StartVector(self, elemSize, numElems, alignment):
        """See `flatbuffers.Builder`."""
        return super().StartVector(elemSize, numElems, ALIGNMENT if elemSize == 1 else alignment)


def _pack(values: Mapping[str, Any], table: Mapping[str, Any], identifier: bytes) -> bytes:
    builder = AlignedBuilder(0)
    builder.Finish(_pack_table(builder, values, table), identifier)
    return bytes(builder.Output())


def _pack_table(builder, values: Mapping[str, Any], table: Mapping[str, Any]) -> int:
    unknown = set(values) - set(table)
    if unknown:
        raise KeyError(f"Expected fields of {list(table)}. Received: {sorted(unknown)}.")
    fields, slot = [], 0
    for name, kind in table.items():
        value = values.get(name)
        if value is not None and isinstance(kind, _Union):
            number, content = value
            fields.append((slot, _BYTE, number))
            fields.append((slot + 1, dict, _pack_table(builder, content, kind.tables[number])))
        elif value is not None:
            fields.append((slot, kind, _pack_value(builder, value, kind)))
        slot += 2 if isinstance(kind, _Union) else 1
    builder.StartObject(slot)
    for at, kind, value in fields:
        if isinstance(kind, str):
            builder.PrependSlot(_FLAGS[kind], at, value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(at, value, 0)
    return builder.EndObject()


def _pack_value(builder, value: Any, kind: Any) -> Any:
    if isinstance(kind, str):
        return value
    if kind is str:
        return builder.CreateString(value)
    if kind is bytes:
        return builder.CreateByteVector(value)
    if isinstance(kind, Mapping):
        return _pack_table(builder, value, kind)
    return _pack_vector(builder, value, kind[0])


def _pack_vector(builder, values: Sequence[Any], kind: Any) -> int:
    packed = [_pack_value(builder, value, kind) for value in values]
    builder.StartVector(4, len(packed), 4)
    for value in reversed(packed):
        if isinstance(kind, str):
            builder.Prepend(_FLAGS[kind], value)
        else:
            builder.PrependUOffsetTRelative(value)
    return builder.EndVector()


_DAMAGED = (struct.error, ArithmeticError, LookupError, TypeError, ValueError)


def _unpack(content: bytes, table: Mapping[str, Any]) -> dict[str, Any]:
    reader = _Reader(content)
    return reader.table(reader.target(0), table)


class _Reader:
    """Reads tables of a flatbuffer; raises one of `_DAMAGED` for whatever lies outside of it."""

    def __init__(self, content: bytes):
        self._content = content
        # Many fields may claim the same bytes.
        self._left = 4 * len(content)

    def number(self, kind: str, position: int) -> Any:
        """A scalar."""
        self._spend(1)
        if position < 0:
            raise ValueError(f"offset {position}")
        return struct.unpack_from(kind, self._content, position)[0]

    def target(self, position: int) -> int:
        """Where an offset leads."""
        return position + self.number(_UINT, position)

    def table(self, position: int, table: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a table that are set; a scalar that is not set is its default, 0."""
        start = position - self.number(_INT, position)
        size = self.number("<H", start)
        values, slot = {}, 0

        def field(slot: int) -> int:
            at = 4 + 2 * slot
            offset = self.number("<H", start + at) if at < size else 0
            return offset and position + offset

        for name, kind in table.items():
            at = field(slot) if kind is not None else 0
            if isinstance(kind, _Union):
                number = self.number(_BYTE, at) if at else 0
                at = field(slot + 1)
                if at and number in kind.tables:
                    values[name] = number, self.table(self.target(at), kind.tables[number])
                slot += 1
            elif at:
                values[name] = self._value(at, kind)
            elif isinstance(kind, str):
                values[name] = 0
            slot += 1
        return values

    def _value(self, at: int, kind: Any) -> Any:
        if isinstance(kind, str):
            return self.number(kind, at)
        target = self.target(at)
        if isinstance(kind, Mapping):
            return self.table(target, kind)
        length, start = self.number(_UINT, target), target + 4
        self._spend(length)
        if isinstance(kind, list):
            size = struct.calcsize(kind[0]) if isinstance(kind[0], str) else 4
            return [self._value(start + size * index, kind[0]) for index in range(length)]
        if start + length > len(self._content):
            raise ValueError(f"{length} bytes at {start} of {len(self._content)}")
        value = self._content[start : start + length]
        return value.decode() if kind is str else value

    def _spend(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise ValueError("more than there is room for")
