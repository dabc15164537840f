"""The raw form of a detector's file: boxes and scores before the post-processing.

Accelerators (GPU, NPU, WebGPU) refuse the post-processing op, which is TFLite's own. The raw form
is the same graph without it, so its numbers are the same to the last bit. Whoever runs it does the
rest, with the anchors and the settings that it carries.
"""

import json
from collections.abc import Iterable

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from models.networks.post_processing import Detections, post_process_scores
from models.settings import PostProcessing
from models.tflite.detector import INPUT_NAME, as_input
from models.tflite.inspection import post_processing_inputs
from models.tflite_metadata import MODEL_IDENTIFIER, AlignedBuilder, read_metadata

# Signature outputs: the op's first two inputs.
ENCODINGS, SCORES = RAW_OUTPUT_NAMES = ("box_encodings", "class_scores")
# float32 [N, 4], little-endian: (ycenter, xcenter, height, width), normalised.
ANCHORS_FILE = "anchors.bin"
# JSON of `models.settings.PostProcessing`.
POST_PROCESSING_FILE = "post_processing.json"
_OP = b"TFLite_Detection_PostProcess"


def without_post_processing(content: bytes) -> bytes:
    """Cuts the post-processing off a detector's file.

    Args:
      content: from `models.tflite.export.export_tflite`, without metadata.

    Returns:
      The file, whose signature has the outputs `RAW_OUTPUT_NAMES`, float32 [1, N, 4] and
      [1, N, C].

    Raises:
      ValueError: the file has no post-processing.
    """
    outputs = post_processing_inputs(content)  # raises
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    codes = [code.customCode for code in model.operatorCodes]
    graph.operators = [op for op in graph.operators if codes[op.opcodeIndex] != _OP]
    graph.outputs = np.array(outputs, np.int32)
    _keep_used(model, graph)
    [signature] = model.signatureDefs
    signature.outputs = [
        schema.TensorMapT(name, int(index))
        for name, index in zip(RAW_OUTPUT_NAMES, graph.outputs, strict=True)
    ]
    builder = AlignedBuilder(len(content))
    builder.Finish(model.Pack(builder), MODEL_IDENTIFIER)
    return bytes(builder.Output())


def _keep_used(model: schema.ModelT, graph: schema.SubGraphT) -> None:
    """Drops operators, their kinds, tensors and contents of buffers that nobody needs any more."""
    needed, kept = set(graph.outputs.tolist()), []
    for op in reversed(graph.operators):
        if needed & set(op.outputs.tolist()):
            needed |= set(op.inputs.tolist())
            kept.append(op)
    graph.operators = kept[::-1]
    lists = [(op, name) for op in graph.operators for name in ("inputs", "outputs")]
    lists += [(graph, "inputs"), (graph, "outputs")]
    used = sorted({int(i) for owner, name in lists for i in getattr(owner, name) if i >= 0})
    places = {index: place for place, index in enumerate(used)} | {-1: -1}
    for owner, name in lists:
        setattr(owner, name, _renumbered(getattr(owner, name), places))
    for signature in model.signatureDefs:
        for entry in signature.inputs:
            entry.tensorIndex = places[entry.tensorIndex]
    graph.tensors = [graph.tensors[index] for index in used]
    kinds = sorted({op.opcodeIndex for op in graph.operators})
    for op in graph.operators:
        op.opcodeIndex = kinds.index(op.opcodeIndex)
    model.operatorCodes = [model.operatorCodes[kind] for kind in kinds]
    buffers = {tensor.buffer for tensor in graph.tensors}
    buffers |= {entry.buffer for entry in model.metadata or ()}
    for index, buffer in enumerate(model.buffers):
        if index not in buffers:
            buffer.data = None


def _renumbered(indices: Iterable[int], places: dict[int, int]) -> np.ndarray:
    return np.array([places[int(index)] for index in indices], np.int32)


class RawDetector:
    """A raw file, loaded, with the post-processing that an app does itself.

    Args:
      content: of the file.
      anchors: float32 [N, 4], see `ANCHORS_FILE`; None takes those in the file.
      settings: of the post-processing; None takes those in the file.

    Attributes:
      input_size: side of the square input in pixels.
      anchors: as above.

    Raises:
      ValueError: the file is not a raw detector, or lacks the anchors or the settings.
    """

    def __init__(
        self,
        content: bytes,
        anchors: np.ndarray | None = None,
        settings: PostProcessing | None = None,
    ):
        self._interpreter = Interpreter(model_content=content)
        signatures = self._interpreter.get_signature_list()
        received = signatures.get("serving_default", {}).get("outputs")
        if received != sorted(RAW_OUTPUT_NAMES):
            raise ValueError(
                f"Expected a raw detector with the outputs {sorted(RAW_OUTPUT_NAMES)}. "
                f"Received: {received}."
            )
        self._run = self._interpreter.get_signature_runner("serving_default")
        details = self._run.get_input_details()[INPUT_NAME]
        self._dtype = details["dtype"]
        self.input_size = int(details["shape"][1])
        if anchors is None or settings is None:
            anchors, settings = packed_post_processing(content)
        self.anchors, self._settings = anchors, settings

    def outputs(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Box encodings float32 [N, 4] and class scores float32 [N, C] of an image.

        Args:
          image: uint8 [S, S, 3].
        """
        found = self._run(**{INPUT_NAME: as_input(image, self._dtype)})
        return found[ENCODINGS][0], found[SCORES][0]

    def detect(self, image: np.ndarray) -> Detections:
        """See `models.tflite.detector.TFLiteDetector.detect`."""
        return post_process_scores(*self.outputs(image), self.anchors, self._settings)


def packed_post_processing(content: bytes) -> tuple[np.ndarray, PostProcessing]:
    """What a raw file carries for its post-processing: anchors, float32 [N, 4], and settings.

    Raises:
      ValueError: the file is damaged, or carries none.
    """
    metadata = read_metadata(content, "the raw file")
    files = metadata.files if metadata else {}
    missing = [name for name in (ANCHORS_FILE, POST_PROCESSING_FILE) if name not in files]
    if missing:
        raise ValueError(f"Expected {', '.join(missing)} in the raw file. Received: {[*files]}.")
    anchors = np.frombuffer(files[ANCHORS_FILE], "<f4").reshape(-1, 4)
    return anchors, PostProcessing(**json.loads(files[POST_PROCESSING_FILE]))
