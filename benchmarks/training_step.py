"""How much of a training step is convolution: the step beside its bare convolutions.

    python -m benchmarks.training_step [--preset small_data_cpu] [--set model.depth_multiplier=0.75]

The bare convolutions are those of the same network on the same sizes, forward, and backward where
the step needs it, each timed by itself; everything else (batch norms, activations, matching,
losses, optimizer, averages) counts as overhead. Their time divided by the step's is the share that
is reached. Both are measured in turns.

Seen on two x86 cores, November 2026, with `model.depth_multiplier=0.75 training.frozen_blocks=5`: a
step of `small_data_cpu` took 0.55 s and its 47 bare convolutions 0.34 s: 62%. With other programs
beside it: 3.18 s and 1.76 s, 55%. Most of the rest is batch norms: with TensorFlow's fused op in
the place of Keras's, which computes a batch norm from elementwise ones, the step took 0.46 s
instead of 0.60 s (in turns). The networks are plain Keras, so it is not used.
"""

import argparse
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from models.networks.families import DetectorConfig, build_network, fit_anchors, freeze_backbone
from models.settings import TrainingSettings
from models.training.detector import Detector
from models.training.optimizer import make_optimizer
from pipeline import presets
from pipeline.config import PipelineConfig, override, parse_assignments

_NUM_CLASSES, _NUM_BOXES = 3, 8
_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


def typical_detector(preset: PipelineConfig) -> DetectorConfig:
    """The detector of a preset, with anchors for objects of all sizes."""
    sizes, ratios = np.linspace(0.1, 0.8, 5, dtype=np.float32), np.float32([0.5, 1, 2])
    model = fit_anchors(preset.model, sizes, ratios)
    return DetectorConfig(num_classes=_NUM_CLASSES, **model.model_dump())


def training_step(config: DetectorConfig, settings: TrainingSettings) -> tuple[Callable, Detector]:
    """A function that takes one float training step on random pictures, and its detector."""
    network = build_network(config)
    freeze_backbone(network, config, settings.frozen_blocks, settings.frozen_batch_norms)
    detector = Detector(network, config, settings)
    detector.compile(optimizer=make_optimizer(settings))
    rng = np.random.default_rng(0)
    batch, size = settings.batch_size, config.input_size
    corners = rng.uniform(0, 0.5, (batch, _NUM_BOXES, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0.1, 0.5, corners.shape)], axis=-1)
    images = rng.integers(0, 256, (batch, size, size, 3), np.uint8)
    targets = {
        "boxes": boxes.astype(np.float32),
        "class_ids": rng.integers(0, _NUM_CLASSES, (batch, _NUM_BOXES)).astype(np.int32),
        "image_index": np.arange(batch, dtype=np.int32),
    }
    return lambda: detector.train_on_batch(images, targets), detector


def bare_convolutions(network: keras.Model, batch_size: int) -> list[Callable[[], object]]:
    """Functions that run one convolution each, as often as a training step does.

    Args:
      network: float; of a layer that is not trained only the outputs are computed, unless a
        trained one comes before it.
      batch_size: images a step.
    """
    runs, trained_before = [], False
    for layer in network.layers:
        if not isinstance(layer, _CONVOLUTIONS):
            continue
        backward = layer.trainable or trained_before
        for node in layer._inbound_nodes:  # several for a shared kernel
            shape = (batch_size, *node.arguments.args[0].shape[1:])
            runs.append(_convolution(layer, shape, backward, trained_before))
        trained_before = backward
    return runs


def _convolution(layer, shape, backward: bool, input_gradient: bool) -> Callable[[], object]:
    inputs = tf.random.stateless_uniform(shape, [1, 2])

    @tf.function
    def run():
        if not backward:
            return tf.reduce_max(layer(inputs)[0, 0, 0])
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
        sources = [layer.kernel.value, *([inputs] if input_gradient else [])]
        gradients = tape.gradient(outputs, sources, output_gradients=outputs)
        return [gradient[0, 0] for gradient in gradients]

    return run


def seconds(run: Callable[[], object]) -> float:
    """Of one call, by the clock."""
    started = time.perf_counter()
    for value in tf.nest.flatten(run()):
        np.asarray(value)
    return time.perf_counter() - started


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="small_data_cpu", choices=presets.names())
    parser.add_argument("--set", nargs="+", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    preset = override(presets.load(options.preset), parse_assignments(options.set))
    step, detector = training_step(typical_detector(preset), preset.training)
    convolutions = bare_convolutions(detector.network, preset.training.batch_size)
    for run in (step, *convolutions):  # traces
        seconds(run)
    steps, bare = [], []
    for _ in range(options.rounds):
        steps.append(seconds(step))
        bare.append(sum(map(seconds, convolutions)))
    whole, part = float(np.median(steps)), float(np.median(bare))
    print(
        f"{options.preset}: a step of {preset.training.batch_size} images takes {whole:.2f} s, its "
        f"{len(convolutions)} bare convolutions {part:.2f} s: {part / whole:.0%} of their rate"
    )


if __name__ == "__main__":
    main()
