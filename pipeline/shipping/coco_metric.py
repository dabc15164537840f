"""COCO's average precision as a TFMA metric.

TFMA's own COCO metrics approximate by score thresholds and fail with a baseline model. The metrics
come from `models.training.coco` instead. Each picture is matched as it comes, since Beam holds an
accumulator several times over: 12 bytes a detection are left of it.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import tfx.v1  # noqa: F401 - TFX patches EvalConfig into TFMA, so it comes first
from tensorflow_model_analysis.metrics import metric_types

from models.training.coco import average_precision
from models.training.coco_matching import GroundTruth, Matches

UNKNOWN_CLASS_DETECTIONS = "unknown_class_detections"
"""Metric: the number of detections left out because their class is not evaluated."""


class Picture(NamedTuple):
    """What is in a picture, and what was found there.

    Attributes:
      source_id: the picture's id; pictures are scored in this order, which ranks equal scores.
      boxes: float32 [n, 4], ground truth (ymin, xmin, ymax, xmax), normalised.
      labels: n class names.
      detected_boxes: float32 [k, 4], like `boxes`.
      detected_labels: k class names.
      scores: float32 [k].
      difficult: bool [n], see `models.training.coco_matching.GroundTruth`.
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


class PictureScorer:
    """Scores pictures that come in any order, and keeps 12 bytes a detection of them.

    Args:
      class_names: see `CocoMetrics`.
    """

    def __init__(self, class_names: Sequence[str] | None = None):
        self._class_names = class_names
        self._matches = Matches()
        self._labels: set[str] = set()
        self._detected = Counter()

    def add(self, picture: Picture) -> None:
        """Adds a picture.

        Raises:
          ValueError: ground truth of a class that is not evaluated.
        """
        unknown = set(picture.labels) - set(self._class_names or ())
        if unknown and self._class_names is not None:
            raise ValueError(
                f"Expected ground truth of the classes {list(self._class_names)}. Received: "
                f"{sorted(unknown)} (in {picture.source_id})."
            )
        self._labels.update(picture.labels)
        self._detected.update(picture.detected_labels)
        self._matches.add(
            picture.source_id,
            GroundTruth(picture.boxes, picture.labels, picture.difficult, picture.crowd),
            (picture.detected_boxes, picture.detected_labels, picture.scores),
        )

    def merge(self, other: "PictureScorer") -> None:
        """Adds the pictures of another."""
        self._matches.merge(other._matches)
        self._labels |= other._labels
        self._detected += other._detected

    @property
    def num_pictures(self) -> int:
        """Those that were added."""
        return self._matches.num_pictures

    def metrics(self) -> dict[str, float]:
        """`models.training.coco.average_precision`, and `UNKNOWN_CLASS_DETECTIONS`."""
        names = sorted(self._labels) if self._class_names is None else self._class_names
        dropped = sum(count for name, count in self._detected.items() if name not in names)
        return average_precision(self._matches.of(names), names) | {
            UNKNOWN_CLASS_DETECTIONS: float(dropped)
        }


class CocoCombineFn(beam.CombineFn):
    """Scores the pictures of one model."""

    def __init__(self, model_name: str, class_names: Sequence[str] | None):
        self._model_name = model_name
        self._class_names = class_names

    def create_accumulator(self) -> PictureScorer:
        """Without pictures."""
        return PictureScorer(self._class_names)

    def add_input(self, accumulator, element):
        """Adds the picture of a `tfma.metrics.StandardMetricInputs`."""
        truth = element.get_labels()
        found = element.get_predictions(self._model_name)
        accumulator.add(
            Picture(
                source_id=truth["source_id"],
                boxes=truth["boxes"],
                labels=truth["labels"],
                difficult=truth["difficult"],
                crowd=truth["crowd"],
                detected_boxes=found["boxes"],
                detected_labels=found["labels"],
                scores=found["scores"],
            )
        )
        return accumulator

    def merge_accumulators(self, accumulators):
        """The pictures of all of them."""
        merged = self.create_accumulator()
        for accumulator in accumulators:
            merged.merge(accumulator)
        return merged

    def extract_output(self, accumulator):
        """The metrics by `MetricKey`."""
        metrics = accumulator.metrics()
        return {_key(name, self._model_name): value for name, value in metrics.items()}
