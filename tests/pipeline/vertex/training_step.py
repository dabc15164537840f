"""A program that takes, or lowers, the exact training step; each test runs it as a process.

The backend and the number of logical devices are fixed when Keras and TensorFlow start, so each way
to take the step needs its own process:

    training_step.py single OUT.npz       TensorFlow, on one device
    training_step.py replicated OUT.npz   TensorFlow, on 8 logical devices, or --replicas of them
    training_step.py jax OUT.npz          Keras on JAX (KERAS_BACKEND=jax)
    training_step.py lower OUT.mlir       Keras on JAX, lowered for TPU
    training_step.py hlo OUT.txt          TensorFlow, lowered to one XLA program

--family takes another family than ssd, --recipe the 2018 recipe's sizes instead of small ones;
--unclipped leaves the gradients as they are.
"""

import argparse
import sys

import keras
import numpy as np

from models.networks.families import DetectorConfig, build_network
from models.settings import PyramidSettings, TrainingSettings
from models.training.detector import LOSS_TERMS, Detector

# Later steps only show how fast rounding errors grow in training from random weights.
STEPS = 1
REPLICAS = 8


Sizes = tuple[DetectorConfig, TrainingSettings, int]


def recipe_sizes() -> Sizes:
    """Network, settings and boxes an image of the 2018 recipe."""
    config = DetectorConfig(num_classes=37, input_size=300, depth_multiplier=0.75)
    settings = TrainingSettings(
        steps=2000, batch_size=128, optimizer="momentum", learning_rate=0.2, warmup_steps=0
    )
    return config, settings, 8


def small_sizes(family: str) -> Sizes:
    """The same of a family, small."""
    config = DetectorConfig(num_classes=3, input_size=64, depth_multiplier=0.25, l2=4e-5)
    if family != "ssd":
        pyramid = PyramidSettings(depth=16, head_layers=1, head_depth=16)
        # An odd number of cells, which the pyramid's upsampling crops.
        config = config.model_copy(update={"family": family, "input_size": 100, "pyramid": pyramid})
    settings = TrainingSettings(
        steps=100,
        batch_size=16,
        optimizer="momentum",
        learning_rate=0.02,
        warmup_steps=0,
        quantization_delay=50,
    )
    if family == "ssd_fpn":
        changes = {"matching": "atss", "box_loss": "giou", "class_loss": "quality_focal"}
        settings = settings.model_copy(update=changes)
    return config, settings, 4


def make_batch(config: DetectorConfig, batch_size: int, max_boxes: int):
    """Random images and boxes; the number of boxes varies, so that shards differ."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size, config.input_size, config.input_size, 3), np.uint8)
    low = rng.uniform(0.0, 0.5, (batch_size, max_boxes, 2))
    high = low + rng.uniform(0.1, 0.5, (batch_size, max_boxes, 2))
    boxes = np.concatenate([low, high], axis=2).astype(np.float32)
    class_ids = rng.integers(0, config.num_classes, (batch_size, max_boxes), np.int32)
    counts = rng.integers(0, max_boxes + 1, batch_size)
    class_ids[np.arange(max_boxes)[None] >= counts[:, None]] = -1
    index = np.arange(batch_size, dtype=np.int32)
    return images, {"boxes": boxes, "class_ids": class_ids, "image_index": index}


def make_model(config: DetectorConfig, settings: TrainingSettings, replicas: int = 1) -> Detector:
    """The model as the training run compiles it, with weights that depend on the names only."""
    from models.training.optimizer import make_optimizer

    network = build_network(config, synchronized=replicas > 1)
    for number, variable in enumerate(network.variables):
        if variable.path.endswith("kernel"):
            fan_in = np.prod(variable.shape[:-1])
            rng = np.random.default_rng(number)
            variable.assign(rng.normal(0, np.sqrt(1.0 / fan_in), variable.shape))
    model = Detector(network, config, settings)
    model.compile(optimizer=make_optimizer(settings, replicas), jit_compile=False)
    return model


def weights_of(model: Detector) -> dict[str, np.ndarray]:
    """All variables of the network, moving averages included, by path."""
    return {variable.path: np.array(variable) for variable in model.network.variables}


def results(model: Detector, before: dict, losses: list[dict[str, float]]) -> dict[str, np.ndarray]:
    """What the ways are compared by: losses, weights, and what the step has added to them."""
    found = {name: np.asarray([step[name] for step in losses]) for name in LOSS_TERMS}
    for path, value in weights_of(model).items():
        found |= {f"weight/{path}": value, f"update/{path}": value - before[path]}
    return found


def run_tensorflow(sizes: Sizes, replicas: int, clipped: bool = True) -> dict[str, np.ndarray]:
    """Takes the steps through `fit`, on one device or under MirroredStrategy."""
    import tensorflow as tf

    from models.training.distribution import scope_of

    config, settings, max_boxes = sizes
    if not clipped:
        settings = settings.model_copy(update={"clip_norm": 0.0})
    strategy = None
    if replicas > 1:
        # Eight copies of the step take minutes to optimize, and are taken once.
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
        (device,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(
            device, [tf.config.LogicalDeviceConfiguration()] * replicas
        )
        strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
    with scope_of(strategy):
        model = make_model(config, settings, replicas)
    before = weights_of(model)
    batch = make_batch(config, settings.batch_size, max_boxes)
    data = tf.data.Dataset.from_tensors(batch).unbatch()
    data = data.batch(settings.batch_size, drop_remainder=True).repeat()
    losses = []
    for _ in range(STEPS):
        history = model.fit(data, steps_per_epoch=1, epochs=1, shuffle=False, verbose=0).history
        losses.append({name: history[name][-1] for name in LOSS_TERMS})
    return results(model, before, losses)


def hlo(sizes: Sizes) -> str:
    """The training step as one XLA program, for this machine's platform."""
    import tensorflow as tf

    config, settings, max_boxes = sizes
    model = make_model(config, settings)
    model.optimizer.build(model.trainable_variables)
    batch = make_batch(config, settings.batch_size, max_boxes)
    # The metrics' variables exist once they were used.
    small = tf.nest.map_structure(lambda array: tf.constant(array[:1]), batch)
    model.compute_loss(x=small[0], y=small[1], y_pred=model(small[0], training=False))
    step = tf.function(lambda images, targets: model.train_step((images, targets)),
                       jit_compile=True)  # fmt: skip
    arguments = tf.nest.map_structure(tf.constant, batch)
    return step.experimental_get_compiler_ir(*arguments)(stage="hlo")


def jax_step(config: DetectorConfig, settings: TrainingSettings):
    """The step as a pure function of its state, as Keras's JAX trainer builds it."""
    import jax
    from keras.src.backend.jax import nn

    moments = nn.moments
    # One program over the whole batch: its statistics are those of all replicas already.
    nn.moments = lambda x, axes, keepdims=False, synchronized=False: moments(x, axes, keepdims)

    model = make_model(config, settings)
    model.optimizer.build(model.trainable_variables)
    model._symbolic_build(data_batch=make_batch(config, 2, 1))
    state = tuple(
        [variable.value for variable in group]
        for group in (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
    )
    return model, jax.jit(model.train_step), state


def run_jax(sizes: Sizes) -> dict[str, np.ndarray]:
    """Takes the steps on Keras's JAX backend."""
    config, settings, max_boxes = sizes
    model, step, state = jax_step(config, settings)
    before = weights_of(model)
    batch = make_batch(config, settings.batch_size, max_boxes)
    losses = []
    for _ in range(STEPS):
        # Every step's own losses, not the mean since the first.
        state = (*state[:3], [np.zeros_like(value) for value in state[3]])
        logs, state = step(state, batch)
        losses.append({name: float(logs[name]) for name in LOSS_TERMS})
    for group, values in zip((model.trainable_variables, model.non_trainable_variables), state[:2],
                             strict=True):  # fmt: skip
        for variable, value in zip(group, values, strict=True):
            variable.assign(value)
    return results(model, before, losses)


def jax_losses(sizes: Sizes) -> dict[str, np.ndarray]:
    """The first step's losses: without the update XLA leaves out the rest."""
    import jax

    config, settings, max_boxes = sizes
    model, _, state = jax_step(config, settings)
    losses = jax.jit(lambda state, batch: model.train_step(state, batch)[0])
    logs = losses(state, make_batch(config, settings.batch_size, max_boxes))
    return {name: np.asarray([float(logs[name])]) for name in LOSS_TERMS}


def lower(sizes: Sizes) -> str:
    """The step as StableHLO for TPU."""
    from jax import export

    config, settings, max_boxes = sizes
    _, step, state = jax_step(config, settings)
    batch = make_batch(config, settings.batch_size, max_boxes)
    return export.export(step, platforms=["tpu"])(state, batch).mlir_module()


def main() -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=("single", "replicated", "hlo", "jax", "lower"))
    parser.add_argument("out")
    parser.add_argument("--recipe", action="store_true")
    parser.add_argument("--family", default="ssd")
    parser.add_argument("--unclipped", action="store_true")
    parser.add_argument("--replicas", type=int, default=REPLICAS)
    options = parser.parse_args()
    keras.utils.set_random_seed(0)
    sizes = recipe_sizes() if options.recipe else small_sizes(options.family)
    if options.way in ("hlo", "lower"):
        text = hlo(sizes) if options.way == "hlo" else lower(sizes)
        with open(options.out, "w") as file:
            file.write(text)
    elif options.way == "jax":
        np.savez(options.out, **(jax_losses(sizes) if options.recipe else run_jax(sizes)))
    else:
        replicas = options.replicas if options.way == "replicated" else 1
        taken = run_tensorflow(sizes, replicas, clipped=not options.unclipped)
        np.savez(options.out, **taken)


if __name__ == "__main__":
    sys.exit(main())
