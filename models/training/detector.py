"""The network with its loss, for `fit` on any backend and any number of replicas."""

import keras
from keras import ops

from models.networks.families import DetectorConfig, normalize
from models.settings import TrainingSettings
from models.training.losses import sigmoid_focal_loss, smooth_l1_loss
from models.training.matching import assign_targets

LOSS_TERMS = ("loss", "classification_loss", "localization_loss")


class MeanLoss(keras.losses.Loss):
    """The mean of per-image losses. Keras divides it among the replicas of a strategy."""

    def call(self, y_true, y_pred):
        """Ignores `y_true`; `y_pred` is the loss, float32 [B]."""
        return y_pred


class NonFiniteImage(keras.metrics.Metric):
    """The index of an image whose loss was not finite; -1 unless exactly one replica had one.

    Read it outside of the training step, where it is summed over the replicas.
    """

    def __init__(self, name="non_finite_image"):
        super().__init__(name=name)
        zero = keras.initializers.Constant(0)
        self.index = self.add_variable((), zero, name="index_plus_1")
        # The sum of several replicas' indices means nothing: their number tells.
        self.replicas = self.add_variable((), zero, name="replicas")

    def update_state(self, losses, image_index):
        """Takes float32 [B] losses and int32 [B] indices of the images."""
        bad = ops.where(ops.isfinite(losses), 0.0, ops.cast(image_index, "float32") + 1.0)
        self.index.assign(ops.maximum(self.index, ops.max(bad)))
        self.replicas.assign(ops.cast(self.index > 0, "float32"))

    def result(self):
        """float32 scalar."""
        return ops.where(self.replicas == 1, self.index - 1.0, -1.0)


class Detector(keras.Model):
    """A detection network with its loss.

    Args:
      network: from `models.networks.families.build_network`.
      config: the network's.
      settings: of the loss.

    Inputs are uint8 [B, S, S, 3]. Targets are a dict of `boxes` float32 [B, M, 4] (ymin, xmin,
    ymax, xmax, normalised), `class_ids` int32 [B, M] (-1 is padding) and `image_index`
    int32 [B], which names the image when its loss is not finite.
    """

    def __init__(self, network: keras.Model, config: DetectorConfig, settings: TrainingSettings):
        super().__init__(name="detector")
        self.network = network
        self.config = config
        self.settings = settings
        self.anchors = config.anchors
        self.mean_loss = MeanLoss()
        self.classification = keras.metrics.Mean("classification_loss")
        self.localization = keras.metrics.Mean("localization_loss")
        self.non_finite_image = NonFiniteImage()

    def call(self, images, training=False):
        """uint8 [B, S, S, 3] to the network's outputs."""
        return self.network(normalize(images), training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Focal plus smooth L1 loss, divided by the batch's number of matched anchors, plus L2."""
        settings = self.settings
        targets = assign_targets(
            y["boxes"],
            y["class_ids"],
            self.anchors,
            self.config.num_classes,
            settings.match_iou,
        )
        # Matches an image, averaged over the batch of all replicas, so that the split of a batch
        # among replicas changes nothing. At least one match a batch, for batches of negatives.
        matches = ops.sum(targets.matched, axis=1)  # [B]
        mean_matches, _ = ops.moments(matches, axes=[0], synchronized=True)
        normalizer = ops.maximum(ops.stop_gradient(mean_matches), 1.0 / settings.batch_size)
        classification = (
            sigmoid_focal_loss(
                y_pred["class_logits"],
                targets.class_targets,
                settings.focal_alpha,
                settings.focal_gamma,
            )
            / normalizer
        )  # [B]
        localization = (
            settings.localization_weight
            * smooth_l1_loss(y_pred["box_encodings"], targets.box_targets, targets.matched)
            / normalizer
        )  # [B]
        losses = classification + localization
        self.classification.update_state(classification)
        self.localization.update_state(localization)
        self.non_finite_image.update_state(losses, y["image_index"])
        total = self.mean_loss(losses, losses)
        if self.losses:
            # The regularizers' sum, which Keras also divides among the replicas.
            total = total + super().compute_loss(x, None, None, None, training)
        return total
