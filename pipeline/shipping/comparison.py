"""Compares the .tflite with the network it was made from, on evaluation pictures.

Two figures tell a broken file from a good one: the error of the outputs before the
post-processing, which needs no labels, and the average precision, which is what users get. Single
detections do not: in any file, good or bad, those near a threshold or a tie come and go. How many
agree is reported only.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import keras
import numpy as np

from models.networks.families import DetectorConfig
from models.networks.post_processing import Detections, post_process
from models.settings import PostProcessing
from models.tflite.agreement import Agreement, compare, relative_error
from models.tflite.detector import TFLiteDetector, TFLiteNetwork
from models.tflite.raw import RawDetector
from models.training.bootstrap import resample, resampled_map
from models.training.coco import coco_metrics
from models.training.coco_matching import GroundTruth, match_detections
from models.training.distribution import predict
from pipeline.errors import UserError
from pipeline.files import FLOAT16_MODEL_FILE, RAW_MODEL_FILE
from pipeline.settings import RewriterSettings
from pipeline.shipping.score_threshold import ALL, recommend_thresholds

# Scores leave an int8 network in steps of 1/256; a network that is sure of nothing differs from
# its file by rounding, which is no fault.
_LEAST_SCORE_SPREAD = 4 / 256
# A thousandth of an anchor's size.
_LEAST_ENCODING_SPREAD = 0.01
# Every picture has thousands of raw outputs: a few pictures give the error to three digits.
_RAW_PICTURES = 32
_BATCH = 16
# The interval of the drop: the share of samples below and above it, and what it is drawn with.
_TAIL = 0.025
_NUM_SAMPLES = 400
_SEED = 1
# With fewer, one flipped detection decides, and resampling can't tell.
_LEAST_LABELLED = 5
_MAX_RAW_DIFFERENCE = 0.002
# What counts as agreement of two detections, for the report.
_AGREEMENT = {"min_score": 0.3, "max_score_difference": 0.1, "min_iou": 0.85}


class Picture(NamedTuple):
    """A picture to compare on.

    Attributes:
      image: uint8 [S, S, 3], resized to the network's input.
      boxes: float32 [n, 4], objects (ymin, xmin, ymax, xmax), normalised to the picture.
      class_ids: int [n].
      difficult: bool [n], see `models.training.coco_matching.GroundTruth`.
      crowd: bool [n], likewise.
    """

    image: np.ndarray
    boxes: np.ndarray
    class_ids: np.ndarray
    difficult: np.ndarray | None = None
    crowd: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class MapDrop:
    """The average precision of the network and of its file.

    Attributes:
      network: 0..1; NaN without any object.
      file: likewise.
      least: lower end of the 95% bootstrap interval of `network - file`; NaN when there are too
        few pictures with objects to tell.
    """

    network: float
    file: float
    least: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The figures of a comparison.

    Attributes:
      num_labelled: pictures with objects, of `detections.num_images`.
      map50: average precision at an overlap of 0.5.
      map: averaged over overlaps 0.5, 0.55 ... 0.95.
      box_error: of the box encodings before the post-processing, see
        `models.tflite.agreement.relative_error`.
      score_error: of the class scores before the post-processing, likewise.
      detections: of the file and of the network, one by one; decides nothing.
      score_threshold: of the file, for all classes, see `recommend_thresholds`; NaN when it finds
        nothing.
      forms: mAP@[.5:.95] of each raw form, with its post-processing in NumPy, by the name of its
        file; NaN without any object.
    """

    num_labelled: int
    map50: MapDrop
    map: MapDrop
    box_error: float
    score_error: float
    detections: Agreement
    score_threshold: float = float("nan")
    forms: dict[str, float] = dataclasses.field(default_factory=dict)

    def properties(self) -> dict[str, int | float]:
        """The figures, for the shipping model's artifact, without those that are not a number."""
        found = self.detections
        figures = {
            "compared_images": found.num_images,
            "compared_labelled_images": self.num_labelled,
            "map50_of_network": self.map50.network,
            "map50_of_file": self.map50.file,
            "map_of_network": self.map.network,
            "map_of_file": self.map.file,
            "score_threshold": self.score_threshold,
            **{f"map_of_{name.partition('.')[0]}": value for name, value in self.forms.items()},
            "raw_box_error": self.box_error,
            "raw_score_error": self.score_error,
            "agreement": found.shares["all"],
            **{f"agreement_{key}": found.shares[key] for key in found.shares if key != "all"},
            "compared_detections": found.num_pairs + found.num_unpaired,
            "max_score_difference": found.max_score_difference,
            "min_iou": found.min_iou,
        }
        return {name: value for name, value in figures.items() if np.isfinite(value)}

    def __str__(self) -> str:
        found = self.detections
        precision = "no objects are labelled"
        if self.num_labelled:
            precision = (
                f"mAP@.5 {self.map50.file:.3f} (network {self.map50.network:.3f}), "
                f"mAP@[.5:.95] {self.map.file:.3f} (network {self.map.network:.3f})"
            )
        return (
            f"{precision}, on {found.num_images} evaluation pictures; raw box encodings differ by "
            f"{self.box_error:.3f} of their spread, raw scores by {self.score_error:.3f}; "
            f"{found.num_matched} of {found.num_pairs + found.num_unpaired} detections agree"
        )


def compare_with_network(
    network: keras.Model,
    config: DetectorConfig,
    post_processing: PostProcessing,
    content: bytes,
    pictures: Iterable[Picture],
    forms: Mapping[str, RawDetector] | None = None,
) -> Comparison:
    """Runs the network and its file on the same pictures.

    Args:
      network: the one that was exported.
      config: the network's.
      post_processing: what the file has inside.
      content: the file.
      pictures: at least one.
      forms: the raw forms of the file, to run, too.

    Returns:
      `Comparison`; `refuse_broken_file` judges it.
    """
    inner, detector = TFLiteNetwork(content), TFLiteDetector(content)
    raw: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    expected: list[Detections] = []
    received: list[Detections] = []
    of_forms: dict[str, list[Detections]] = {name: [] for name in forms or ()}
    truth: list[GroundTruth] = []
    for batch in _batches(pictures):
        images = np.stack([picture.image for picture in batch])
        outputs = predict(network, images)
        for picture, encodings, logits in zip(
            batch, outputs["box_encodings"], outputs["class_logits"], strict=True
        ):
            if len(raw) < _RAW_PICTURES:
                scores = np.exp(-np.logaddexp(0, -logits))  # the sigmoid, without overflow
                raw.append((encodings, scores, *inner.outputs(picture.image)))
            expected.append(post_process(encodings, logits, config.anchors, post_processing))
            received.append(detector.detect(picture.image))
            for name, form in (forms or {}).items():
                of_forms[name].append(form.detect(picture.image))
            truth.append(GroundTruth(*picture[1:]))
    encodings, scores, file_encodings, file_scores = map(np.stack, zip(*raw, strict=True))
    num_labelled = sum(len(objects.boxes) > 0 for objects in truth)
    map50, mean = _drops(truth, expected, received, config.num_classes, num_labelled)
    class_names = list(map(str, range(config.num_classes)))
    matches = match_detections(truth, received, config.num_classes)
    best = recommend_thresholds(matches, class_names)[ALL]
    return Comparison(
        num_labelled,
        map50,
        mean,
        relative_error(encodings, file_encodings, _LEAST_ENCODING_SPREAD),
        relative_error(scores, file_scores, _LEAST_SCORE_SPREAD),
        compare(expected, received, **_AGREEMENT),
        best["threshold"] if best else float("nan"),
        {name: coco_metrics(truth, found, class_names)["mAP"] for name, found in of_forms.items()},
    )


def _batches(pictures: Iterable[Picture]) -> Iterator[list[Picture]]:
    remaining = iter(pictures)
    while batch := list(itertools.islice(remaining, _BATCH)):
        yield batch


def _drops(truth, expected, received, num_classes, num_labelled) -> tuple[MapDrop, MapDrop]:
    """Of mAP50 and of mAP."""
    names = [str(class_id) for class_id in range(num_classes)]
    of_network, of_file = (coco_metrics(truth, found, names) for found in (expected, received))
    least = np.full(2, np.nan)
    if num_labelled >= _LEAST_LABELLED:
        samples = resample(len(truth), _NUM_SAMPLES, _SEED)
        network, file = (
            resampled_map(truth, found, num_classes, samples) for found in (expected, received)
        )
        least = np.nanquantile(network - file, _TAIL, axis=0)
    map50, mean = (
        MapDrop(of_network[metric], of_file[metric], float(bound))
        for metric, bound in zip(("mAP50", "mAP"), least, strict=True)
    )
    return map50, mean


def refuse_broken_file(found: Comparison, settings: RewriterSettings) -> None:
    """Refuses a file that does not do what its network does.

    The average precision is judged from 5 pictures with objects on, and only a drop that
    resampling the pictures does not explain is refused.

    Raises:
      UserError: a figure is over its limit; names each.
    """
    problems = [
        f"raw {what} differ by {error:.3f} of their spread, at most {most:g} (rewriter.{setting})"
        for what, error, most, setting in (
            ("box encodings", found.box_error, settings.max_raw_box_error, "max_raw_box_error"),
            ("scores", found.score_error, settings.max_raw_score_error, "max_raw_score_error"),
        )
        if not error <= most  # not a number is over every limit
    ]
    problems += [
        f"{name} {drop.file:.3f}, the network has {drop.network:.3f}: a drop of at least "
        f"{drop.least:.3f}, at most {settings.max_map_drop:g} (rewriter.max_map_drop)"
        for name, drop in (("mAP@.5", found.map50), ("mAP@[.5:.95]", found.map))
        if drop.network - drop.file > settings.max_map_drop and drop.least > settings.max_map_drop
    ]
    # Post-processing in NumPy may break ties in another way, and no more.
    raw = found.forms.get(RAW_MODEL_FILE, float("nan"))
    if abs(raw - found.map.file) > _MAX_RAW_DIFFERENCE:
        problems.append(
            f"mAP@[.5:.95] {raw:.4f} of {RAW_MODEL_FILE}, {found.map.file:.4f} of the file: at "
            f"most {_MAX_RAW_DIFFERENCE:g} apart"
        )
    float16 = found.forms.get(FLOAT16_MODEL_FILE, float("nan"))
    if found.map.network - float16 > settings.max_map_drop:
        problems.append(
            f"mAP@[.5:.95] {float16:.3f} of {FLOAT16_MODEL_FILE}, the network has "
            f"{found.map.network:.3f} (rewriter.max_map_drop; or unset rewriter.float16)"
        )
    if problems:
        raise UserError(
            f"The .tflite does not find what its network finds: {'; '.join(problems)} (on "
            f"{found.detections.num_images} evaluation pictures). Nothing is shipped. Quantize "
            "with quantization=aware, give it more steps after training.quantization_delay, or, "
            "if this much loss is acceptable, raise the limit."
        )
