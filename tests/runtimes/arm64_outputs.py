"""The outputs of a .tflite file on pictures; runs on ARM64, with nothing but NumPy and LiteRT.

    python arm64_outputs.py MODEL INPUTS.npy OUTPUTS.npz

INPUTS is [number of pictures, 1, S, S, 3]; OUTPUTS has an array for each output, in its order.
"""

import platform
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def outputs_of(model: str, inputs: np.ndarray) -> list[np.ndarray]:
    """Each output, over all pictures."""
    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    [image] = interpreter.get_input_details()
    indices = [details["index"] for details in interpreter.get_output_details()]
    found = []
    for pixels in inputs:
        interpreter.set_tensor(image["index"], pixels)
        interpreter.invoke()
        found.append([interpreter.get_tensor(index) for index in indices])
    return [np.stack(arrays) for arrays in zip(*found, strict=True)]


if __name__ == "__main__":
    _, model, inputs, outputs = sys.argv
    np.savez(outputs, *outputs_of(model, np.load(inputs)), machine=platform.machine())
