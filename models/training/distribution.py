"""Chooses the devices to train on. TensorFlow only."""

import contextlib
import os

import tensorflow as tf


def choose_strategy(preference: str, batch_size: int) -> tf.distribute.Strategy | None:
    """The strategy for the accelerators of this machine.

    Args:
      preference: "auto" or "one_device", see `models.settings.TrainingSettings.distribution`.
      batch_size: images a step over all replicas.

    Returns:
      TPUStrategy on a TPU, MirroredStrategy on several GPUs, None for one device.

    Raises:
      ValueError: when the batch does not divide by the replicas.
    """
    if preference == "one_device":
        return None
    strategy = _tpu_strategy()
    if strategy is None and len(tf.config.list_logical_devices("GPU")) > 1:
        strategy = tf.distribute.MirroredStrategy()
    if strategy is not None:
        check_batch(batch_size, strategy.num_replicas_in_sync)
    return strategy


def check_batch(batch_size: int, replicas: int) -> None:
    """Checks that a global batch divides by the replicas.

    Raises:
      ValueError: when it does not; suggests the nearest sizes that do.
    """
    if batch_size % replicas:
        lower = batch_size // replicas * replicas
        sizes = [str(size) for size in (lower, lower + replicas) if size]
        raise ValueError(
            f"Expected training.batch_size to divide by the {replicas} replicas. "
            f"Received: {batch_size}. Set it to {' or '.join(sizes)}."
        )


def scope_of(strategy: tf.distribute.Strategy | None):
    """The context in which variables are made."""
    return strategy.scope() if strategy is not None else contextlib.nullcontext()


def use_xla(setting: str) -> bool:
    """Whether the training step is compiled: under "auto" on TPUs and GPUs."""
    if setting != "auto":
        return setting == "on"
    accelerators = tf.config.list_logical_devices("TPU") + tf.config.list_logical_devices("GPU")
    return bool(accelerators)


def _tpu_strategy() -> tf.distribute.Strategy | None:
    devices = [
        *tf.config.list_physical_devices("TPU"),
        *tf.config.list_physical_devices("TPU_SYSTEM"),
    ]
    name = os.environ.get("TPU_NAME", "local" if devices else "")
    if not name:
        return None
    # TPUClusterResolver.connect, the short form of this, fails in TF 2.16 with a TypeError.
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
    if name != "local":
        tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)
