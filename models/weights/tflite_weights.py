"""Reads the weights of a `detect.tflite` of the TF Object Detection API, without running it.

Only of an `ssd_mobilenet_v1`: a pyramid's shared kernels are folded differently for each level. The
file holds convolutions into which the batch norms are folded, quantized per tensor or in floating
point, and the anchors. Which convolution is whose is told by the names of the tensors.

Measured on 2026-11-24 with the COCO file of Google's Android sample (0.75 depth, 300x300, uint8,
47 convolutions, 1,917 anchors): see `models.weights.zoo_start`.
"""

import numpy as np

from models.networks.anchors import make_anchors, ssd_anchor_maps
from models.networks.ssd import map_sizes
from models.tflite.graph import Graph, Operator, Tensor, read_graph
from models.weights import zoo
from models.weights.source import read_bytes
from models.weights.zoo import LayerWeights, Variable, ZooWeights
from models.weights.zoo_names import Names

_NAMES = Names("ssd")
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_POST_PROCESSING = "TFLite_Detection_PostProcess"
_MAX_BYTES = 1 << 29
# Of anchors in floating point, as a fraction of the image.
_ANCHOR_TOLERANCE = 1e-4


def read_tflite(path: str) -> tuple[ZooWeights, bytes]:
    """Reads a file.

    Args:
      path: local or on cloud storage.

    Returns:
      Its weights, still without names of the classes, and its content.

    Raises:
      ValueError: when it is no detector of this family, or a damaged file.
      FileNotFoundError: when there is no such file.
    """
    content = read_bytes(path, _MAX_BYTES)
    graph = read_graph(content, path)
    anchors = _anchors(graph, path)
    layers, variables, used = {}, [], set()
    for operator in graph.operators:
        if operator.op not in _CONVOLUTIONS:
            continue
        layer = _layer_of(graph, operator)
        if layer is None:
            continue
        if layer in layers:
            raise ValueError(
                f"Expected one convolution for {layer}. Received: a second one (in {path})."
            )
        layers[layer] = _layer_weights(graph, operator, layer, path)
        for index in operator.inputs[1:3]:
            tensor = graph.tensors[index]
            variables.append(Variable(tensor.name, tensor.shape, layer))
            used.add(index)
    names = [tensor.name for tensor in graph.tensors]
    zoo.check_layers(path, layers, names, _NAMES, extras=True, heads=True)
    variables += _others(graph, used, anchors)
    weights = ZooWeights(path, layers, variables, scales=_scales(graph, anchors, path))
    zoo.check_classes(weights)
    return weights, content


def _layer_of(graph: Graph, operator: Operator) -> str | None:
    """Our layer for a convolution, by the name of its output, kernel or bias."""
    for index in (*operator.outputs, *operator.inputs[1:]):
        # A converter that joins operators joins their names.
        for name in graph.tensors[index].name.split(";") if index >= 0 else ():
            found = _NAMES.split(name)
            if found:
                return found[0]
    return None


def _layer_weights(graph: Graph, operator: Operator, layer: str, path: str) -> LayerWeights:
    constants = [graph.tensors[index] for index in operator.inputs[1:3] if index >= 0]
    if len(constants) != 2 or any(constant.values is None for constant in constants):
        raise ValueError(
            f"Expected {layer} to have a kernel and a bias of type float32, uint8, int8 or int32. "
            f"Received: others (in {path})."
        )
    kernel, bias = (constant.values for constant in constants)
    if kernel.ndim != 4:
        raise ValueError(
            f"Expected a kernel of rank 4 for {layer}. Received: {kernel.shape} (in {path})."
        )
    # [1, h, w, C] to [h, w, C, 1], and [out, h, w, in] to [h, w, in, out].
    return LayerWeights(kernel=kernel.transpose(1, 2, 3, 0), bias=bias)


def _anchors(graph: Graph, path: str) -> Tensor:
    found = [operator for operator in graph.operators if operator.op == _POST_PROCESSING]
    if len(found) != 1 or len(found[0].inputs) != 3:
        names = sorted({operator.op for operator in graph.operators})
        raise ValueError(
            f"Expected a detector that ends in {_POST_PROCESSING}. Received: {path}, with "
            f"{zoo.shortened(names)}."
        )
    anchors = graph.tensors[found[0].inputs[2]]
    if anchors.values is None or anchors.values.ndim != 2 or anchors.values.shape[1] != 4:
        raise ValueError(
            f"Expected constant anchors of shape (N, 4). Received: {anchors.shape} (in {path})."
        )
    return anchors


def _scales(graph: Graph, anchors: Tensor, path: str) -> tuple[float, float]:
    """Smallest and largest scale of the anchors, which must be laid out as ours are."""
    shape = graph.tensors[graph.inputs[0]].shape if graph.inputs else ()
    side = shape[1] if len(shape) == 4 else 0
    if len(shape) != 4 or shape[1:] != (side, side, 3) or not 64 <= side <= 1024:
        raise ValueError(
            "Expected a square picture of 64 to 1024 pixels and 3 channels as the input. "
            f"Received: shape {shape} (in {path})."
        )
    values = anchors.values
    if len(values) < 6:
        raise ValueError(
            f"Expected the anchors of ssd_anchor_generator. Received: {len(values)} (in {path})."
        )
    # The finest map's second anchor has its scale at ratio 2; the coarsest map's first one has
    # its own, and is square.
    low = round(float(np.sqrt(max(values[1, 2] * values[1, 3], 0.0))), 2)
    high = round(float(values[-6, 2]), 2)
    tolerance = max(anchors.step / 2 * 1.01, _ANCHOR_TOLERANCE)
    ours = make_anchors(ssd_anchor_maps(map_sizes(side), low, high))
    if ours.shape != values.shape or not np.abs(ours - values).max() <= tolerance:
        raise ValueError(
            f"Expected the {len(ours)} anchors of ssd_anchor_generator for {side} pixels. "
            f"Received: {len(values)} others (in {path})."
        )
    return low, high


def _others(graph: Graph, used: set[int], anchors: Tensor) -> list[Variable]:
    """The constants that are no weights of ours."""
    rows = []
    for index, tensor in enumerate(graph.tensors):
        if tensor.values is None or index in used:
            continue
        note = "left out: no weight of a known layer"
        if tensor is anchors:
            note = "left out: the network has equal ones of its own"
        rows.append(Variable(tensor.name, tensor.shape, "", note))
    return rows
