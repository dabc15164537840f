"""Anybody's detector: where its picture goes in, and where its detections come out.

The four outputs are those of TFLite's own post-processing, `TFLite_Detection_PostProcess`, whatever
their names are; or the file is a raw form of this pipeline. Nothing in a file is believed or run.
"""

import struct
from typing import NamedTuple

import numpy as np

from models.networks.post_processing import Detections, post_process_scores
from models.settings import PostProcessing
from models.tflite.graph import Graph, read_graph
from models.tflite.inspection import post_processing_options
from models.tflite.raw import packed_post_processing

_POST_PROCESSING = "TFLite_Detection_PostProcess"
_CONVOLUTION = "CONV_2D"


class Interface(NamedTuple):
    """A detector file, from outside.

    Attributes:
      form: "int8", "uint8", "float16" or "float32", by its weights; with "raw" behind it where the
        post-processing is left to the app.
      input_size: side of the square input in pixels.
      dtype: of the input: np.uint8, or np.float32 for values in [-1, 1].
      outputs: indices of the tensors with boxes, classes, scores and count; of a raw form, with box
        encodings and class scores.
      num_classes: without background.
      multiply_adds: for one picture, without the post-processing.
      raw: of a raw form, the anchors, float32 [N, 4], and the settings of its post-processing.
    """

    form: str
    input_size: int
    dtype: type
    outputs: tuple[int, ...]
    num_classes: int
    multiply_adds: int
    raw: tuple[np.ndarray, PostProcessing] | None

    def detections(self, outputs: list[np.ndarray]) -> Detections:
        """The detections of one picture.

        Args:
          outputs: of the tensors `outputs`, in their order.
        """
        if self.raw is not None:
            encodings, scores = (output[0] for output in outputs)
            return post_process_scores(encodings, scores, *self.raw)
        boxes, classes, scores, count = (output[0] for output in outputs)
        kept = int(count)
        return Detections(
            np.clip(boxes[:kept], 0, 1), classes[:kept].astype(np.int32), scores[:kept]
        )


def read_interface(model: bytes, source: str) -> Interface:
    """Reads it off a file.

    Args:
      model: its content.
      source: where it is from, for the message.

    Raises:
      ValueError: it is no whole .tflite file, or no such detector.
    """
    graph = read_graph(model, source)
    try:
        return _interface(model, graph, source)
    except (LookupError, TypeError, AttributeError, struct.error) as error:
        raise ValueError(
            f"Expected a whole TFLite file. Received: {source}, which is damaged ({error})."
        ) from error


def _interface(model: bytes, graph: Graph, source: str) -> Interface:
    ends = [operator for operator in graph.operators if operator.op == _POST_PROCESSING]
    if len(ends) == 1 and len(graph.outputs) == 4 == len(set(graph.outputs) & set(ends[0].outputs)):
        outputs, raw = ends[0].outputs, None
        num_classes = int(post_processing_options(model)["num_classes"])
    else:
        outputs, raw = graph.outputs, _raw(model, graph, source)
        num_classes = graph.tensors[outputs[1]].shape[-1]
    if len(graph.inputs) != 1:
        raise ValueError(f"Expected one input. Received: {len(graph.inputs)} (in {source}).")
    picture = graph.tensors[graph.inputs[0]]
    dtype = {"UINT8": np.uint8, "FLOAT32": np.float32}.get(picture.dtype)
    size = picture.shape[1] if len(picture.shape) == 4 else 0
    if dtype is None or size < 1 or picture.shape != (1, size, size, 3):
        raise ValueError(
            "Expected an input [1, S, S, 3] of uint8 or float32. Received: "
            f"{[*picture.shape]} of {picture.dtype.lower()} (in {source})."
        )
    return Interface(
        form=form_of(graph) + (" raw" if raw else ""),
        input_size=size,
        dtype=dtype,
        outputs=outputs,
        num_classes=num_classes,
        multiply_adds=graph.multiply_adds,
        raw=raw,
    )


def _raw(model: bytes, graph: Graph, source: str) -> tuple[np.ndarray, PostProcessing]:
    names = ", ".join(graph.tensors[index].name for index in graph.outputs if index >= 0)
    try:
        anchors, settings = packed_post_processing(model)
        encodings, scores = (graph.tensors[index].shape for index in graph.outputs)
        if encodings == (1, len(anchors), 4) and scores[:-1] == (1, len(anchors)):
            return anchors, settings
    except (ValueError, TypeError):  # no metadata, other metadata, or another number of outputs
        pass
    raise ValueError(
        f"Expected a detector: a file with the four outputs of {_POST_PROCESSING}, or a raw form "
        f"of this pipeline. Received: {source}, whose outputs are {names or 'none'}."
    )


def form_of(graph: Graph) -> str:
    """Of the weights of the first convolution, see `Interface.form`."""
    kernel = next((op.inputs[1] for op in graph.operators if op.op == _CONVOLUTION), -1)
    dtype = graph.tensors[kernel].dtype if kernel >= 0 else "FLOAT32"
    half = any(tensor.dtype == "FLOAT16" for tensor in graph.tensors)
    # Weights of 16 bits are unpacked by an operator first.
    return "float16" if dtype == "FLOAT32" and half else dtype.lower()
