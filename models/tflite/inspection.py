"""Reads the contents of a .tflite file from its flatbuffer, without running it."""

import struct
from typing import NamedTuple

from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
_POST_PROCESSING = b"TFLite_Detection_PostProcess"
_FILE_IDENTIFIER = b"TFL3"


class Convolution(NamedTuple):
    """A convolution in a file.

    Attributes:
      op: its builtin operator, e.g. "CONV_2D".
      name: of its output tensor.
      dtypes: of its input, its kernel and its output, e.g. ("INT8", "INT8", "INT8").
      has_constant_kernel: whether the file holds the kernel. One that is computed, if only by a
        RESHAPE, keeps XNNPACK and most accelerators from taking the convolution.
    """

    op: str
    name: str
    dtypes: tuple[str, str, str]
    has_constant_kernel: bool


def convolutions(model: bytes) -> list[Convolution]:
    """All convolutions of all subgraphs.

    Args:
      model: content of a .tflite file.

    Raises:
      ValueError: not a .tflite file.
    """
    root = _parse(model)
    ops, dtypes = _names(schema.BuiltinOperator), _names(schema.TensorType)
    found = []
    for graph in root.subgraphs:
        for operator in graph.operators:
            op = ops.get(root.operatorCodes[operator.opcodeIndex].builtinCode)
            if op not in _CONVOLUTIONS:
                continue
            # TRANSPOSE_CONV takes (output shape, kernel, picture), the others (picture, kernel).
            picture = operator.inputs[2 if op == "TRANSPOSE_CONV" else 0]
            tensors = [graph.tensors[i] for i in (picture, operator.inputs[1], operator.outputs[0])]
            found.append(
                Convolution(
                    op,
                    tensors[2].name.decode(),
                    tuple(dtypes[tensor.type] for tensor in tensors),
                    root.buffers[tensors[1].buffer].data is not None,
                )
            )
    return found


def post_processing_inputs(model: bytes) -> tuple[int, int]:
    """Indices of the tensors that go into the post-processing: box encodings and class scores.

    Args:
      model: content of a .tflite file.

    Raises:
      ValueError: not a .tflite file, or not exactly one post-processing.
    """
    encodings, scores, _ = _post_processing(_parse(model)).inputs
    return int(encodings), int(scores)


def post_processing_options(model: bytes) -> dict[str, float]:
    """The options of a file's post-processing by its own names, such as `nms_iou_threshold`.

    Raises:
      ValueError: not a .tflite file, or not exactly one post-processing.
    """
    return flexbuffers.Loads(bytes(_post_processing(_parse(model)).customOptions))


def _post_processing(root: schema.ModelT) -> schema.OperatorT:
    found = [
        operator
        for operator in root.subgraphs[0].operators
        if root.operatorCodes[operator.opcodeIndex].customCode == _POST_PROCESSING
    ]
    if len(found) != 1:
        raise ValueError(
            f"Expected one {_POST_PROCESSING.decode()} in the file. Received: {len(found)}."
        )
    return found[0]


def _parse(model: bytes) -> schema.ModelT:
    if model[4:8] != _FILE_IDENTIFIER:
        raise ValueError(
            f"Expected a TFLite file, with {_FILE_IDENTIFIER} at byte 4. Received: {model[4:8]}."
        )
    try:
        return schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    except (struct.error, IndexError, TypeError) as error:  # offsets outside the file
        raise ValueError(
            f"Expected a whole TFLite file. Received: {len(model)} bytes, damaged ({error})."
        ) from error


def _names(enum):
    return {value: name for name, value in vars(enum).items() if not name.startswith("_")}
