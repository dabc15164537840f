"""The optimizer: learning-rate schedule, clipping, and averages of the weights.

The averages over the last steps are better weights than those of any single step, above all with
few images.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from models.settings import TrainingSettings


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then cosine decay (Loshchilov and Hutter, "SGDR"), over all steps.

    Args:
      settings: of the optimisation.
      first_step: added to the optimizer's count of steps.
    """

    def __init__(self, settings: TrainingSettings, first_step: int = 0):
        self.first_step = first_step
        self.schedule = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if settings.warmup_steps else settings.learning_rate,
            decay_steps=max(settings.steps - settings.warmup_steps, 1),
            alpha=settings.final_learning_rate,
            warmup_target=settings.learning_rate if settings.warmup_steps else None,
            warmup_steps=settings.warmup_steps,
        )

    def __call__(self, step):
        """The learning rate at the optimizer's step, a float32 scalar."""
        return self.schedule(step + self.first_step)


class _GrowingMomentum:
    """Averages over the last tenth of the steps until `ema_momentum` is reached.

    With a constant momentum the averages would remember the first weights, which are random or
    another task's, for several times 1 / (1 - momentum) steps. TensorFlow's
    ExponentialMovingAverage follows the same rule when it is told the number of updates.
    """

    @property
    def ema_momentum(self):
        """The momentum of this step: a float32 scalar."""
        steps = ops.cast(self.iterations, "float32")
        return ops.minimum(self._largest_momentum, (1 + steps) / (10 + steps))

    @ema_momentum.setter
    def ema_momentum(self, value: float):
        self._largest_momentum = value


class SGD(_GrowingMomentum, keras.optimizers.SGD):
    """Keras's SGD, with the averages above."""


class AdamW(_GrowingMomentum, keras.optimizers.AdamW):
    """Keras's AdamW, with the averages above."""


class _ClipsTheSum:
    """Clips by the norm of the whole batch's gradient, however many replicas share the batch.

    Keras clips on each replica, before it sums: eight replicas would clip eight different
    gradients, none of which is the batch's, and would train differently from one device. Here
    every replica scales its gradients by the one factor that clips their sum. TensorFlow only.
    """

    def __init__(self, *, clip_norm: float, **arguments):
        super().__init__(**arguments)
        self._clip_norm = clip_norm

    def apply(self, grads, trainable_variables=None):
        replica = tf.distribute.get_replica_context()
        summed = replica.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
        factor = self._clip_norm / tf.maximum(tf.linalg.global_norm(summed), self._clip_norm)
        super().apply([gradient * factor for gradient in grads], trainable_variables)


class ReplicatedSGD(_ClipsTheSum, SGD):
    """SGD for several replicas; `clip_norm` is the largest norm of the batch's gradient."""


class ReplicatedAdamW(_ClipsTheSum, AdamW):
    """AdamW for several replicas; `clip_norm` is the largest norm of the batch's gradient."""


def make_optimizer(
    settings: TrainingSettings, replicas: int = 1, first_step: int = 0
) -> keras.optimizers.Optimizer:
    """The optimizer that the settings ask for.

    Args:
      settings: of the optimisation.
      replicas: how many devices share a batch.
      first_step: the training step that is this optimizer's first. Its own count starts at 0,
        which Adam's bias correction and the averages of the weights rely on.
    """
    arguments: dict[str, Any] = {
        "learning_rate": LearningRate(settings, first_step),
        "use_ema": settings.ema_momentum > 0,
        "ema_momentum": settings.ema_momentum,
    }
    if settings.optimizer == "adam":
        arguments["weight_decay"] = settings.weight_decay
    else:
        arguments["momentum"] = 0.9
    sgd, adam = SGD, AdamW
    if settings.clip_norm and replicas > 1:
        sgd, adam = ReplicatedSGD, ReplicatedAdamW
        arguments["clip_norm"] = settings.clip_norm
    elif settings.clip_norm:
        arguments["global_clipnorm"] = settings.clip_norm
    return (adam if settings.optimizer == "adam" else sgd)(**arguments)


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Swaps the averages in for a model's weights, if its optimizer keeps averages."""
    # Before the first step there are no averages: Keras starts them at zero.
    if not model.optimizer.use_ema or int(model.optimizer.iterations) == 0:
        yield
        return
    weights = [np.asarray(variable) for variable in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, weight in zip(model.trainable_variables, weights, strict=True):
            variable.assign(weight)
