"""The devices to train on, and predictions of networks that are on them. TensorFlow only."""

import contextlib
import os

import keras
import numpy as np
import tensorflow as tf

from models.networks.families import normalize
from models.settings import check_batch


def choose_strategy(preference: str, batch_size: int) -> tf.distribute.Strategy | None:
    """The strategy for the accelerators of this machine.

    Args:
      preference: "auto" or "one_device", see `models.settings.TrainingSettings.distribution`.
      batch_size: images a step over all replicas.

    Returns:
      TPUStrategy on a TPU, MirroredStrategy on several GPUs, None for one device.

    Raises:
      ValueError: when the batch does not divide by the replicas, or the TPU can't be initialized.
    """
    if preference == "one_device":
        return None
    strategy = _tpu_strategy()
    if strategy is None and len(tf.config.list_logical_devices("GPU")) > 1:
        strategy = tf.distribute.MirroredStrategy()
    if strategy is not None:
        check_batch(batch_size, strategy.num_replicas_in_sync)
    return strategy


def require_devices(required: str) -> None:
    """Checks that the accelerator that a machine is paid for can be used.

    Args:
      required: kind and number, such as "TPU:8" or "GPU:1"; empty requires nothing. TPUs must have
        been initialized, which `choose_strategy` does.

    Raises:
      ValueError: fewer are there. TensorFlow itself would silently train on the CPU.
    """
    if not required:
        return
    kind, _, number = required.partition(":")
    found = tf.config.list_logical_devices(kind)
    if len(found) < int(number):
        names = ", ".join(device.name for device in tf.config.list_logical_devices())
        paths = {name: os.environ.get(name, "") for name in ("LD_LIBRARY_PATH", "TPU_NAME")}
        raise ValueError(
            f"Expected {number} {kind} devices, which this machine is paid for. Received: "
            f"{len(found)} (visible: {names}; {paths}). Nothing was trained. Is the image built "
            "for this accelerator, and is training.distribution auto?"
        )


def scope_of(strategy: tf.distribute.Strategy | None):
    """The context in which variables are made."""
    return strategy.scope() if strategy is not None else contextlib.nullcontext()


def use_xla(setting: str) -> bool:
    """Whether the training step is compiled: under "auto" on TPUs and GPUs."""
    return _has_accelerators() if setting == "auto" else setting == "on"


def make_repeatable() -> None:
    """Has a CPU compute the same bits each time. To be called before anything is traced.

    TensorFlow's graph optimizer may turn a sum of three or more gradients, such as those of a layer
    that several levels share, into an accumulator, to which they are added in the order in which
    threads end; op determinism does not prevent it. Without the optimizer, training steps of
    `small_data_cpu` and `small_file_cpu` took 0.98 to 1.08 times as long.
    """
    if not _has_accelerators():
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def _has_accelerators() -> bool:
    return bool(tf.config.list_logical_devices("TPU") + tf.config.list_logical_devices("GPU"))


def _tpu_strategy() -> tf.distribute.Strategy | None:
    devices = [
        *tf.config.list_physical_devices("TPU"),
        *tf.config.list_physical_devices("TPU_SYSTEM"),
    ]
    name = os.environ.get("TPU_NAME", "local" if devices else "")
    if not name:
        return None
    # TPUClusterResolver.connect, the short form of this, fails in TF 2.16 with a TypeError.
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        if name != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (tf.errors.OpError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"Expected a TPU, since TPU_NAME is {name}. It can't be initialized: {reason}"
        ) from error


def predict(network: keras.Model, images) -> dict[str, np.ndarray]:
    """What a network answers to a batch, on one device or on several that share its weights.

    Args:
      network: from `models.networks.families.build_network`, or another that takes the same
        pictures and gives a dict.
      images: uint8 [B, S, S, 3].

    Returns:
      The outputs by name, as one device gives them.
    """
    # Where there is a TPU, Keras would compile networks that stay on the CPU with XLA, too, and
    # TensorFlow's build for TPUs has no XLA for CPUs.
    network.jit_compile = False
    outputs = network.predict_on_batch(np.asarray(normalize(images)))
    # Each replica answers to the whole batch, and Keras concatenates the answers.
    replicas = network.distribute_strategy.num_replicas_in_sync
    return {name: values[: len(values) // replicas] for name, values in outputs.items()}
