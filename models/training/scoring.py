"""Scores a network on labelled images by COCO's average precision."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import keras
import numpy as np

from models.networks.families import DetectorConfig
from models.networks.post_processing import Detections, post_process
from models.settings import PostProcessing
from models.training.coco import coco_metrics
from models.training.coco_matching import GroundTruth
from models.training.distribution import predict


class Scores(NamedTuple):
    """A network's detections in a data set, and how good they are.

    Attributes:
      metrics: see `models.training.coco.coco_metrics`.
      detections: of each image, in order.
      groundtruth: of each image, in order.
    """

    metrics: dict[str, float]
    detections: list[Detections]
    groundtruth: list[GroundTruth]


def score(
    network: keras.Model,
    config: DetectorConfig,
    batches: Iterable,
    post_processing: PostProcessing,
    class_names: Sequence[str],
) -> Scores:
    """Runs a network over batches and scores its detections.

    Args:
      network: from `models.networks.families.build_network`.
      config: the network's.
      batches: from `models.training.input_pipeline.evaluation_batches`.
      post_processing: as on the device.
      class_names: by class id.

    Returns:
      `Scores`.
    """
    anchors = config.anchors
    detections, groundtruth = [], []
    for images, targets in batches:
        outputs = predict(network, images)
        for encodings, logits in zip(
            outputs["box_encodings"], outputs["class_logits"], strict=True
        ):
            detections.append(post_process(encodings, logits, anchors, post_processing))
        objects = {
            name: np.asarray(targets[name]) for name in GroundTruth._fields if name in targets
        }
        for row, class_ids in enumerate(objects["class_ids"]):
            real = class_ids >= 0
            groundtruth.append(
                GroundTruth(**{name: values[row, real] for name, values in objects.items()})
            )
    return Scores(coco_metrics(groundtruth, detections, class_names), detections, groundtruth)
