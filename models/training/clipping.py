"""Clipping by the norm of the whole batch's gradient, however many replicas share the batch.

Keras clips on each replica, before it sums: eight replicas would clip eight different gradients,
none of which is the batch's, and train otherwise than one device does. TensorFlow only.
"""

import tensorflow as tf

from models.training import averaging


class _ClipsTheSum:
    """Scales every replica's gradients by the one factor that clips their sum."""

    def __init__(self, *, clip_norm: float, **arguments):
        super().__init__(**arguments)
        self._clip_norm = clip_norm

    def apply(self, grads, trainable_variables=None):
        replica = tf.distribute.get_replica_context()
        summed = replica.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
        factor = self._clip_norm / tf.maximum(tf.linalg.global_norm(summed), self._clip_norm)
        super().apply([gradient * factor for gradient in grads], trainable_variables)


class ReplicatedSGD(_ClipsTheSum, averaging.SGD):
    """SGD for several replicas; `clip_norm` is the largest norm of the batch's gradient."""


class ReplicatedAdamW(_ClipsTheSum, averaging.AdamW):
    """AdamW for several replicas; `clip_norm` is the largest norm of the batch's gradient."""
