"""Optimizers that average the weights over the last steps, and models that borrow the averages.

The averages are surer than the weights of any one step, the more so the fewer the images.
"""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops


class _GrowingMomentum:
    """Averages over a tenth of the steps so far, until the momentum asks for no more.

    With a constant momentum the averages would hold on to the first weights, which are random or
    another task's, for some multiples of 1 / (1 - momentum) steps. The same rule as that of
    TensorFlow's ExponentialMovingAverage when it is told the number of updates.
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
    """Keras's SGD; see there."""


class AdamW(_GrowingMomentum, keras.optimizers.AdamW):
    """Keras's AdamW; see there."""


@contextlib.contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Puts the averages in the place of a model's weights, when its optimizer keeps averages."""
    # Before the first step there are none: Keras starts them at zero.
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
