"""The tensors and operators of a .tflite file from anywhere: nothing in it is believed or run.

A flatbuffer is offsets and lengths. Python's accessors check them against the bounds of the file,
so a lie ends in an exception; what must be limited besides is how much of it is read.
"""

import math
import struct
from typing import NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_FILE_IDENTIFIER = b"TFL3"
# Far more than a detector has; a file that claims more is not read.
_MAX_ITEMS = 20_000
_MAX_OPERANDS = 64
_MAX_RANK = 8
_DTYPES = {
    schema.TensorType.FLOAT32: np.dtype("<f4"),
    schema.TensorType.UINT8: np.dtype("u1"),
    schema.TensorType.INT8: np.dtype("i1"),
    schema.TensorType.INT32: np.dtype("<i4"),
}
# Where an operator takes its input and its kernel.
_TRANSPOSED = "TRANSPOSE_CONV"
_WEIGHTED = {
    "CONV_2D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "FULLY_CONNECTED": (0, 1),
    _TRANSPOSED: (2, 1),
}
_TYPES = {v: name for name, v in vars(schema.TensorType).items() if not name.startswith("_")}
_OPS = {v: name for name, v in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


class Tensor(NamedTuple):
    """A tensor of the graph.

    Attributes:
      name: as the converter called it.
      shape: as the file claims.
      values: a constant's, float32: dequantized if it is quantized. None for a tensor that is
        computed, and for constants of other types than float32, uint8, int8 and int32.
      step: the largest step between two quantized values; 0 when it is not quantized.
      dtype: such as "INT8"; a number for one that is not known here.
    """

    name: str
    shape: tuple[int, ...]
    values: np.ndarray | None
    step: float
    dtype: str


class Operator(NamedTuple):
    """An operator of the graph.

    Attributes:
      op: "CONV_2D", or of a custom one its name, e.g. "TFLite_Detection_PostProcess".
      inputs: indices of tensors; -1 is none.
      outputs: indices of tensors.
    """

    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Graph(NamedTuple):
    """The first subgraph of a file.

    Attributes:
      inputs: indices of tensors.
      outputs: indices of tensors.
      tensors: all of them.
      operators: in the order in which they run.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    tensors: list[Tensor]
    operators: list[Operator]

    @property
    def multiply_adds(self) -> int:
        """Of the convolutions and fully connected layers for one input, by the shapes."""
        return sum(map(self._multiply_adds, self.operators))

    def _multiply_adds(self, operator: Operator) -> int:
        if operator.op not in _WEIGHTED:
            return 0
        picture, kernel = (self.tensors[operator.inputs[at]].shape for at in _WEIGHTED[operator.op])
        # A kernel [outputs, h, w, inputs], or [1, h, w, outputs] of a depthwise one, or
        # [outputs, inputs], is applied once for each place of the output; a transposed one, of the
        # input.
        places = picture if operator.op == _TRANSPOSED else self.tensors[operator.outputs[0]].shape
        return math.prod(places[:-1]) * math.prod(kernel)


def read_graph(model: bytes, source: str) -> Graph:
    """Reads a file.

    Args:
      model: its content.
      source: where it is from, for the message.

    Returns:
      The graph; its indices are those of tensors that exist.

    Raises:
      ValueError: when it is no .tflite file, or a damaged one.
    """
    if model[4:8] != _FILE_IDENTIFIER:
        raise ValueError(
            f"Expected a TFLite file, with {_FILE_IDENTIFIER!r} at byte 4. Received: "
            f"{model[4:8]!r} (in {source})."
        )
    try:
        return _read(model)
    except (
        struct.error,
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(
            f"Expected a whole TFLite file. Received: {source}, {len(model)} bytes, which is "
            f"truncated or damaged ({error})."
        ) from error


def _read(model: bytes) -> Graph:
    root = schema.Model.GetRootAs(model, 0)
    graph = root.Subgraphs(0)
    ops = [_op(root.OperatorCodes(i)) for i in _upto(root.OperatorCodesLength())]
    tensors, size = [], 0
    for index in _upto(graph.TensorsLength()):
        tensors.append(_tensor(root, graph.Tensors(index)))
        # Many tensors may claim the same bytes.
        size += 0 if tensors[-1].values is None else tensors[-1].values.size
        _upto(size, len(model))
    operators = []
    for index in _upto(graph.OperatorsLength()):
        operator = graph.Operators(index)
        inputs = _indices(operator.InputsAsNumpy(), len(tensors))
        outputs = _indices(operator.OutputsAsNumpy(), len(tensors))
        operators.append(Operator(ops[operator.OpcodeIndex()], inputs, outputs))
    inputs, outputs = (
        _indices(values, len(tensors)) for values in (graph.InputsAsNumpy(), graph.OutputsAsNumpy())
    )
    return Graph(inputs, outputs, tensors, operators)


def _upto(count: int, most: int = _MAX_ITEMS) -> range:
    if count > most:
        raise ValueError(f"{count} of at most {most} items")
    return range(count)


def _op(code) -> str:
    custom = code.CustomCode()
    if custom:
        return custom.decode()
    # Old files have the operator in a field of one byte.
    builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    return _OPS.get(builtin, str(builtin))


def _indices(values, num_tensors: int) -> tuple[int, ...]:
    values = np.atleast_1d(values)
    _upto(len(values), _MAX_OPERANDS)
    if ((values < -1) | (values >= num_tensors)).any():
        raise ValueError(f"tensor {values.max()} of {num_tensors}")
    return tuple(values.tolist())


def _tensor(root, tensor) -> Tensor:
    rank = len(_upto(tensor.ShapeLength(), _MAX_RANK))
    shape = tuple(tensor.Shape(i) for i in range(rank))
    buffer = root.Buffers(tensor.Buffer()) if tensor.Buffer() < root.BuffersLength() else None
    data = None if buffer is None or buffer.DataIsNone() else buffer.DataAsNumpy()
    dtype = _DTYPES.get(tensor.Type())
    kind = _TYPES.get(tensor.Type(), str(tensor.Type()))
    scale, zero_point, axis = _quantization(tensor.Quantization())
    step = float(scale.max()) if scale.size else 0.0
    name = tensor.Name().decode()
    if data is None or dtype is None or not data.size:
        return Tensor(name, shape, None, step, kind)
    if min(shape, default=1) < 0 or data.size != np.prod(shape, dtype=object) * dtype.itemsize:
        raise ValueError(f"{data.size} bytes for {shape} of {dtype} in {name!r}")
    values = data.view(dtype).reshape(shape).astype(np.float32)
    if scale.size:
        along = [1] * rank
        if scale.size > 1:
            along[axis] = scale.size
        values = (values - zero_point.reshape(along)) * scale.reshape(along)
    return Tensor(name, shape, values.astype(np.float32), step, kind)


def _quantization(parameters) -> tuple[np.ndarray, np.ndarray, int]:
    """Scales and zero points, empty when there are none, and the dimension that they are along."""
    if parameters is None or not parameters.ScaleLength():
        return np.empty(0, np.float32), np.empty(0, np.float32), 0
    scale = parameters.ScaleAsNumpy().astype(np.float32)
    zero_point = np.zeros_like(scale)
    if parameters.ZeroPointLength():
        zero_point = np.broadcast_to(parameters.ZeroPointAsNumpy(), scale.shape)
    return scale, zero_point.astype(np.float32), parameters.QuantizedDimension()
