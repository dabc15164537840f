"""How fast the file that ships is, beside what could ship instead: time an image, one thread.

    python -m benchmarks.detector [--input-size 300] [--depth-multiplier 0.75] [--classes 37]
        [--file detect.tflite ...]

The int8 .tflite of this project, the same network as a float .tflite, and Keras's own `predict`.
All three with the weights that the network starts with, which find nothing.
Besides them, other .tflite files with a square uint8 input, ours or not. A phone's figures are
other ones.

Seen on an x86 server with AVX-512 (VNNI), November 2026, for the 2018 recipe's sizes (the
defaults); `pets37_tutorial` is somebody's result of the 2018 walk-through, the same network:

    int8 .tflite               2.7 ms an image   1.00 times the int8 .tflite's  3.83 MB
    float .tflite              6.8 ms an image   2.51 times the int8 .tflite's  14.05 MB
    Keras predict             14.1 ms an image   5.16 times the int8 .tflite's  14.15 MB
    pets37_tutorial            6.3 ms an image   2.31 times the int8 .tflite's  3.60 MB
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from models.networks.families import DetectorConfig, build_network, normalize
from models.networks.folding import fold_batch_norms
from models.networks.post_processing import post_process
from models.settings import ModelSettings, PostProcessing
from models.tflite.detector import TFLiteDetector
from models.tflite.export import export_tflite

_WARM_UP = 5
# Nothing is found: suppression among the thousands of detections of a random network would take
# longer than the network.
_CLASS_BIAS = -8.0


def detectors(config: DetectorConfig) -> dict[str, tuple[Callable[[np.ndarray], object], int]]:
    """What is compared.

    Returns:
      By name: a function of a picture, uint8 [S, S, 3], and the bytes of the file or, for Keras, of
      the weights.
    """
    settings = PostProcessing()
    network, quantized = (
        build_network(config, quantized=False),
        build_network(config, quantized=True),
    )
    fold_batch_norms(network, quantized)
    compared: dict[str, tuple[Callable[[np.ndarray], object], int]] = {}
    for name, exported in (("int8 .tflite", quantized), ("float .tflite", network)):
        with tempfile.TemporaryDirectory() as folder:
            file = export_tflite(exported, config, settings, folder, quantize=exported is quantized)
        compared[name] = TFLiteDetector(file).detect, len(file)

    def by_keras(image: np.ndarray) -> object:
        outputs = network.predict_on_batch(normalize(image[None]))
        encodings, logits = (outputs[key][0] for key in ("box_encodings", "class_logits"))
        return post_process(encodings, logits, config.anchors, settings)

    compared["Keras predict"] = by_keras, 4 * network.count_params()
    return compared


def from_file(path: Path) -> tuple[Callable[[np.ndarray], object], int]:
    """A function that runs a .tflite file on noise of its own input's size, and its bytes."""
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (taken,) = interpreter.get_input_details()
    noise = np.random.default_rng(0).integers(0, 256, taken["shape"], np.uint8)

    def detect(_: np.ndarray) -> None:
        interpreter.set_tensor(taken["index"], noise)
        interpreter.invoke()

    return detect, path.stat().st_size


def milliseconds(detect: Callable[[np.ndarray], object], images: np.ndarray) -> np.ndarray:
    """Of each image after the warm-up, float64 [n - 5], clock time."""
    times = []
    for image in images:
        started = time.perf_counter()
        detect(image)
        times.append(1000 * (time.perf_counter() - started))
    return np.array(times[_WARM_UP:])


def main() -> None:
    """Measures in turns, so that what else the machine does falls on all alike, and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input-size", type=int, default=300)
    parser.add_argument("--depth-multiplier", type=float, default=0.75)
    parser.add_argument("--classes", type=int, default=37)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--file", type=Path, action="append", default=[])
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    model = ModelSettings(
        input_size=options.input_size,
        depth_multiplier=options.depth_multiplier,
        class_bias=_CLASS_BIAS,
    )
    config = DetectorConfig(num_classes=options.classes, **model.model_dump())
    size = options.input_size
    images = np.random.default_rng(0).integers(0, 256, (25, size, size, 3), np.uint8)
    compared = detectors(config) | {path.stem: from_file(path) for path in options.file}
    times: dict[str, list[np.ndarray]] = {name: [] for name in compared}
    for _ in range(options.rounds):
        for name, (detect, _) in compared.items():
            times[name].append(milliseconds(detect, images))
    medians = {name: float(np.median(np.concatenate(parts))) for name, parts in times.items()}
    first = next(iter(medians))
    for name, median in medians.items():
        print(
            f"{name:22}  {median:7.1f} ms an image  {median / medians[first]:5.2f} times the "
            f"{first}'s  {compared[name][1] / 1e6:.2f} MB"
        )


if __name__ == "__main__":
    main()
