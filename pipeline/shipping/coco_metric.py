"""COCO's average precision as a TFMA metric, computed by pycocotools.

TFMA's own COCO metrics approximate by score thresholds and fail with a baseline model. The metrics
come from `models.training.coco` instead, which needs all pictures in one accumulator: boxes,
classes and scores only.
"""

import pickle
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import tfx.v1  # noqa: F401 - TFX patches EvalConfig into TFMA, so it comes first
from tensorflow_model_analysis.metrics import metric_types

from models.training.coco import GroundTruth, coco_metrics

UNKNOWN_CLASS_DETECTIONS = "unknown_class_detections"
"""Metric: the number of detections left out because their class is not evaluated."""


class Picture(NamedTuple):
    """What the accumulator keeps of one picture.

    Attributes:
      source_id: the picture's id; pictures are scored in this order, which ranks equal scores.
      boxes: float32 [n, 4], ground truth (ymin, xmin, ymax, xmax), normalised.
      labels: n class names.
      detected_boxes: float32 [k, 4], like `boxes`.
      detected_labels: k class names.
      scores: float32 [k].
      difficult: bool [n], see `models.training.coco.GroundTruth`.
      crowd: bool [n], likewise.
    """

    source_id: str
    boxes: np.ndarray
    labels: Sequence[str]
    detected_boxes: np.ndarray
    detected_labels: Sequence[str]
    scores: np.ndarray
    difficult: np.ndarray | None = None
    crowd: np.ndarray | None = None


class CocoMetrics(metric_types.Metric):
    """Computes `models.training.coco.metric_names` and `UNKNOWN_CLASS_DETECTIONS` for each model.

    Reads the extracts of `pipeline.shipping.tflite_extractor`.

    Args:
      class_names: the classes to evaluate. None: all with ground truth, sorted; the means are the
        same, as classes without ground truth never count.
      code_fingerprint: unused here; part of the cache key, so that edited code evaluates again.
    """

    def __init__(self, class_names: Sequence[str] | None = None, code_fingerprint: str = ""):
        del code_fingerprint
        super().__init__(_computations, class_names=class_names)


metric_types.register_metric(CocoMetrics)


def _computations(class_names=None, model_names=None):
    return [
        metric_types.MetricComputation(
            # The key tells computations apart; the combiner outputs all metrics.
            keys=[_key("mAP50", model_name)],
            preprocessors=None,
            combiner=CocoCombineFn(model_name, class_names),
        )
        for model_name in model_names or [""]
    ]


def _key(name, model_name):
    # `example_weighted` must be None: a threshold by name finds no other key.
    return metric_types.MetricKey(name=name, model_name=model_name, example_weighted=None)


class CocoCombineFn(beam.CombineFn):
    """Collects the pictures of one model and scores them with pycocotools."""

    def __init__(self, model_name: str, class_names: Sequence[str] | None):
        self._model_name = model_name
        self._class_names = class_names

    def create_accumulator(self) -> list[bytes]:
        """An empty list of pickled pictures: as objects they need three times the memory."""
        return []

    def add_input(self, accumulator, element):
        """Adds the picture of a `tfma.metrics.StandardMetricInputs`."""
        truth = element.get_labels()
        found = element.get_predictions(self._model_name)
        accumulator.append(
            pickle.dumps(
                Picture(
                    source_id=truth["source_id"],
                    boxes=truth["boxes"],
                    labels=truth["labels"],
                    difficult=truth["difficult"],
                    crowd=truth["crowd"],
                    detected_boxes=found["boxes"],
                    detected_labels=found["labels"],
                    scores=found["scores"],
                ),
                pickle.HIGHEST_PROTOCOL,
            )
        )
        return accumulator

    def merge_accumulators(self, accumulators):
        """Joins lists of pictures."""
        return [picture for accumulator in accumulators for picture in accumulator]

    def extract_output(self, accumulator):
        """The metrics by `MetricKey`."""
        values = score_pictures(map(pickle.loads, accumulator), self._class_names)
        return {_key(name, self._model_name): value for name, value in values.items()}


def score_pictures(
    pictures: Iterable[Picture], class_names: Sequence[str] | None
) -> dict[str, float]:
    """`models.training.coco.coco_metrics` by class name, and `UNKNOWN_CLASS_DETECTIONS`.

    Args:
      pictures: in any order.
      class_names: see `CocoMetrics`.

    Raises:
      ValueError: ground truth of a class that is not in `class_names`.
    """
    pictures = sorted(pictures, key=lambda picture: picture.source_id)
    if class_names is None:
        class_names = sorted({label for picture in pictures for label in picture.labels})
    class_ids = {name: index for index, name in enumerate(class_names)}
    truth, found, dropped = [], [], 0
    for picture in pictures:
        unknown = set(picture.labels) - set(class_names)
        if unknown:
            raise ValueError(
                f"Expected ground truth of the classes {list(class_names)}. Received: "
                f"{sorted(unknown)} (in {picture.source_id})."
            )
        label_ids = [class_ids[label] for label in picture.labels]
        truth.append(GroundTruth(picture.boxes, label_ids, picture.difficult, picture.crowd))
        known = np.array([label in class_ids for label in picture.detected_labels], bool)
        dropped += int((~known).sum())
        found_ids = [class_ids[label] for label in picture.detected_labels if label in class_ids]
        found.append((picture.detected_boxes[known], found_ids, picture.scores[known]))
    del pictures  # nothing else may hold them, and the metrics need memory, too
    return coco_metrics(truth, found, class_names) | {UNKNOWN_CLASS_DETECTIONS: float(dropped)}
