"""The network with its loss, for `fit` on any backend and any number of replicas."""

import keras
from keras import ops

from models.networks import boxes as box_ops
from models.networks.families import DetectorConfig, normalize
from models.settings import TrainingSettings
from models.training.losses import (
    giou_loss,
    overlaps_of_pairs,
    quality_focal_loss,
    sigmoid_focal_loss,
    smooth_l1_loss,
)
from models.training.matching import Targets, anchors_in_crowds, assign_targets

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
    ymax, xmax, normalised), `class_ids` int32 [B, M] (-1 is no object) and `image_index`
    int32 [B], which names the image when its loss is not finite; where images may show crowds, also
    `crowd` bool [B, M], which of the boxes are one.
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
        """Class loss plus box loss, divided by the batch's number of matched anchors, plus L2."""
        settings = self.settings
        targets = assign_targets(
            y["boxes"],
            y["class_ids"],
            self.anchors,
            self.config.num_classes,
            iou_threshold=settings.match_iou,
            cell_sizes=self.config.cell_sizes if settings.matching == "atss" else None,
        )
        # Matches an image, averaged over the batch of all replicas, so that the split of a batch
        # among replicas changes nothing. At least one match a batch, for batches of negatives.
        matches = ops.sum(targets.matched, axis=1)  # [B]
        mean_matches, _ = ops.moments(matches, axes=[0], synchronized=True)
        normalizer = ops.maximum(ops.stop_gradient(mean_matches), 1.0 / settings.batch_size)
        ignored = None
        if "crowd" in y:
            in_crowds = anchors_in_crowds(y["boxes"], y["crowd"], self.anchors)
            ignored = in_crowds & (targets.matched == 0)
        class_loss, box_loss = self._class_and_box_loss(y_pred, targets, ignored)
        classification = class_loss / normalizer  # [B]
        localization = settings.localization_weight * box_loss / normalizer  # [B]
        losses = classification + localization
        self.classification.update_state(classification)
        self.localization.update_state(localization)
        self.non_finite_image.update_state(losses, y["image_index"])
        total = self.mean_loss(losses, losses)
        if self.losses:
            # The regularizers' sum, which Keras also divides among the replicas.
            total = total + super().compute_loss(x, None, None, None, training)
        return total

    def _class_and_box_loss(self, outputs, targets: Targets, ignored):
        """Class loss and box loss, float32 [B] each; `ignored` is bool [B, N] or None."""
        settings = self.settings
        encodings, logits = outputs["box_encodings"], outputs["class_logits"]
        iou = giou = None
        if settings.box_loss == "giou" or settings.class_loss == "quality_focal":
            # Only matched anchors count. Masked before decoding: an infinite size would have no
            # finite gradient, not even times zero.
            learned = ops.where(targets.matched[:, :, None] > 0, encodings, 0.0)
            boxes = box_ops.decode(learned, self.anchors)
            iou, giou = overlaps_of_pairs(boxes, targets.boxes)
        if settings.class_loss == "focal":
            class_loss = sigmoid_focal_loss(
                logits, targets.class_targets, settings.focal_alpha, settings.focal_gamma, ignored
            )
        else:
            class_loss = quality_focal_loss(
                logits, targets.class_targets, iou, settings.focal_gamma, ignored
            )
        if settings.box_loss == "giou":
            return class_loss, giou_loss(giou, targets.matched)
        box_targets = box_ops.encode(targets.boxes, self.anchors)
        return class_loss, smooth_l1_loss(encodings, box_targets, targets.matched)
