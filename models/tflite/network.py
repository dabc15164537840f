"""The network inside of a .tflite detector: what it computes before the post-processing."""

import warnings

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from models.tflite.detector import INPUT_NAME, as_input
from models.tflite.inspection import post_processing_inputs


class TFLiteNetwork:
    """A detector file whose inner outputs can be read; slower than `TFLiteDetector`.

    Args:
      model: content of the file.

    Raises:
      ValueError: when the file is not a detector as `models.tflite.export` writes them.
    """

    def __init__(self, model: bytes):
        self._indices = post_processing_inputs(model)
        with warnings.catch_warnings():
            # It warns that keeping the inner tensors takes memory.
            warnings.simplefilter("ignore")
            self._interpreter = Interpreter(
                model_content=model, experimental_preserve_all_tensors=True
            )
        self._run = self._interpreter.get_signature_runner("serving_default")
        self._dtype = self._run.get_input_details()[INPUT_NAME]["dtype"]

    def outputs(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What the network says of one image.

        Args:
          image: uint8 [S, S, 3].

        Returns:
          Box encodings float32 [N, 4], see `models.networks.boxes.encode`, and class scores float32
          [N, C], 0..1.
        """
        self._run(**{INPUT_NAME: as_input(image, self._dtype)})
        encodings, scores = (self._interpreter.get_tensor(index)[0] for index in self._indices)
        return encodings, scores
