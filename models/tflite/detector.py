"""Runs a .tflite detector: the way an app does, or only the network inside."""

import json
import warnings

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from models.networks.post_processing import Detections
from models.tflite.inspection import post_processing_inputs

INPUT_NAME = "normalized_input_image_tensor"


class TFLiteDetector:
    """A detector file, loaded.

    Args:
      model: path of the file, or its bytes.
      num_threads: of the interpreter.

    Attributes:
      input_size: side of the square input in pixels.

    Raises:
      ValueError: when the file is not a detector as `models.tflite.export` writes them.
    """

    def __init__(self, model: str | bytes, num_threads: int = 1):
        source = {"model_content": model} if isinstance(model, bytes) else {"model_path": model}
        self._interpreter = Interpreter(num_threads=num_threads, **source)
        signatures = self._interpreter.get_signature_list()
        expected = ["detection_boxes", "detection_classes", "detection_scores", "num_detections"]
        received = signatures.get("serving_default", {})
        if received.get("inputs") != [INPUT_NAME] or received.get("outputs") != expected:
            raise ValueError(
                f"Expected a signature 'serving_default' from [{INPUT_NAME!r}] to {expected}. "
                f"Received: {json.dumps(signatures)} (in {_name(model)})."
            )
        self._run = self._interpreter.get_signature_runner("serving_default")
        details = self._run.get_input_details()[INPUT_NAME]
        self._dtype = details["dtype"]
        self.input_size = int(details["shape"][1])

    def raw_outputs(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """The four outputs of the runtime, entries past the count included.

        Args:
          image: uint8 [S, S, 3].

        Returns:
          float32 arrays [1, K, 4], [1, K], [1, K] and [1] by their signature names.
        """
        return self._run(**{INPUT_NAME: as_input(image, self._dtype)})

    def detect(self, image: np.ndarray) -> Detections:
        """The detections of one image.

        Args:
          image: uint8 [S, S, 3], RGB, resized as `models.image.resize` does.

        Returns:
          `Detections`; boxes clipped to 0..1. What the runtime leaves behind the last detection is
          garbage and is cut off.
        """
        outputs = self.raw_outputs(image)
        count = int(outputs["num_detections"][0])
        return Detections(
            np.clip(outputs["detection_boxes"][0, :count], 0, 1),
            outputs["detection_classes"][0, :count].astype(np.int32),
            outputs["detection_scores"][0, :count],
        )


class TFLiteNetwork:
    """The network inside a detector file: its outputs before the post-processing.

    Slower than `TFLiteDetector`: the runtime keeps every inner tensor.

    Args:
      model: content of the file.

    Raises:
      ValueError: when the file is not a detector as `models.tflite.export` writes them.
    """

    def __init__(self, model: bytes):
        self._indices = post_processing_inputs(model)
        with warnings.catch_warnings():
            # The runtime warns that keeping the inner tensors takes memory.
            warnings.simplefilter("ignore", UserWarning)
            self._interpreter = Interpreter(
                model_content=model, experimental_preserve_all_tensors=True
            )
        self._run = self._interpreter.get_signature_runner("serving_default")
        self._dtype = self._run.get_input_details()[INPUT_NAME]["dtype"]

    def outputs(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The network's outputs for one image.

        Args:
          image: uint8 [S, S, 3].

        Returns:
          Box encodings float32 [N, 4], see `models.networks.boxes.encode`, and class scores
          float32 [N, C], 0..1.
        """
        self._run(**{INPUT_NAME: as_input(image, self._dtype)})
        encodings, scores = (self._interpreter.get_tensor(index)[0] for index in self._indices)
        return encodings, scores


def as_input(image: np.ndarray, dtype: type) -> np.ndarray:
    """uint8 [S, S, 3] as a file takes it: [1, S, S, 3] of uint8, or of float32 in [-1, 1]."""
    if dtype == np.float32:
        image = image.astype(np.float32) / np.float32(127.5) - np.float32(1)
    return image[None]


def _name(model: str | bytes) -> str:
    return f"{len(model)} bytes" if isinstance(model, bytes) else model
