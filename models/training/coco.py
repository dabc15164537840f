"""COCO's average precision, by pycocotools, for detections held as arrays."""

import contextlib
import copy
import io
import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# Detections kept per picture and class, best scores first (COCO's maxDets).
_MAX_DETECTIONS = 100
# pycocotools needs a dictionary for every box, 100 kB a picture. That many are matched at once.
_PICTURES_AT_A_TIME = 256

_SILENCE = threading.Lock()


class GroundTruth(NamedTuple):
    """The labelled objects of a picture.

    Attributes:
      boxes: [n, 4] float, (ymin, xmin, ymax, xmax), normalised to the picture.
      class_ids: [n] int.
      difficult: [n] bool, None for none: objects that count neither as found nor as missed, as in
        Pascal VOC's evaluation. Any number of detections may overlap one.
      crowd: [n] bool, None for none: regions of many objects, in which detections are neither right
        nor wrong, as in COCO's evaluation. Detections are in a region by the fraction of their own
        area.
    """

    boxes: np.ndarray
    class_ids: np.ndarray
    difficult: np.ndarray | None = None
    crowd: np.ndarray | None = None


class ClassMatches(NamedTuple):
    """How the detections of one class match its objects.

    Attributes:
      pictures: int64 [D], the picture of each detection, ascending.
      scores: float64 [D].
      matched: bool [10, D], whether a detection has an object at overlaps 0.5, 0.55 ... 0.95.
      ignored: bool [10, D], whether it has a difficult object or a crowd instead: does not count.
      num_objects: int64 [number of pictures], without those.
    """

    pictures: np.ndarray
    scores: np.ndarray
    matched: np.ndarray
    ignored: np.ndarray
    num_objects: np.ndarray


class _Evaluation(COCOeval):
    """COCO's, to which difficult objects are crowds that are overlapped as objects are."""

    def computeIoU(self, imgId, catId):
        truth = self._gts[imgId, catId]
        self._gts[imgId, catId] = [object_ | {"iscrowd": object_["crowd"]} for object_ in truth]
        overlaps = super().computeIoU(imgId, catId)
        self._gts[imgId, catId] = truth
        return overlaps


def metric_names(class_names: Sequence[str]) -> list[str]:
    """The keys of `coco_metrics`, in its order: mAP50, mAP, then AP50/ and AP/ of each class."""
    per_class = [f"{kind}/{name}" for name in class_names for kind in ("AP50", "AP")]
    return ["mAP50", "mAP", *per_class]


def coco_metrics(
    groundtruth: Sequence[tuple],
    detections: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    class_names: Sequence[str],
) -> dict[str, float]:
    """Average precision over a set of pictures, all object sizes, as pycocotools computes it.

    Boxes are scored in normalised coordinates: scaling an axis changes no overlap. Detections of
    equal score (common with int8 models) rank in the order of the pictures, so keep that order
    fixed where figures must repeat to the last digit.

    Args:
      groundtruth: one `GroundTruth` a picture, or its beginning, such as (boxes, class_ids), whose
        class ids are positions in `class_names`. n may be 0.
      detections: one (boxes, class_ids, scores) a picture, in the same order. boxes: [k, 4];
        class_ids: [k]; scores: [k], any scale, higher is more certain. k may be 0.
      class_names: names by class id.

    Returns:
      "mAP50": mean over classes of the average precision at an overlap of 0.5; "mAP": the same,
      averaged over overlaps 0.5, 0.55 ... 0.95; "AP50/<class>" and "AP/<class>" for each class.
      Values 0..1. A class without ground truth that counts is NaN and left out of the means;
      without any the means are NaN, too.

    Raises:
      ValueError: lengths that differ, class ids out of range, or values that are not finite.
    """
    num_classes = len(class_names)
    evaluation = _evaluate(groundtruth, detections, num_classes)
    if not evaluation.num_counted:
        return dict.fromkeys(metric_names(class_names), float("nan"))
    precision = _precision(evaluation)[..., 0]  # [10 overlaps, 101 recalls, C]
    precision = np.where(precision > -1, precision, np.nan)  # -1: no ground truth
    ap50 = precision[0].mean(axis=0)  # [C]
    ap = precision.mean(axis=(0, 1))  # [C]
    values = [np.nanmean(ap50), np.nanmean(ap)]
    for class_id in range(num_classes):
        values += [ap50[class_id], ap[class_id]]
    return {
        name: float(value) for name, value in zip(metric_names(class_names), values, strict=True)
    }


SIZES = ("small", "medium", "large")
"""Objects below 32 x 32 pixels, below 96 x 96, and above: COCO's."""


def average_precision_by_size(
    groundtruth: Sequence[tuple],
    detections: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    num_classes: int,
    sizes: Sequence[tuple[int, int]],
) -> dict[str, dict[str, float]]:
    """Average precision of small, medium and large objects, as pycocotools computes it.

    Args:
      groundtruth: see `coco_metrics`.
      detections: see `coco_metrics`.
      num_classes: class ids are below it.
      sizes: (width, height) of each picture in pixels, in which objects are measured.

    Returns:
      {size: {"mAP50": ..., "mAP": ...}} for `SIZES`; NaN where there is no object of the size.
    """

    scales = [np.array([height, width, height, width], np.float64) for width, height in sizes]
    truth, found = (
        [
            (np.asarray(boxes, np.float64).reshape(-1, 4) * scale, *rest)
            for (boxes, *rest), scale in zip(pictures, scales, strict=True)
        ]
        for pictures in (groundtruth, detections)
    )
    evaluation = _evaluate(truth, found, num_classes, slice(1, 4))
    if not evaluation.num_counted:
        return {size: {"mAP50": float("nan"), "mAP": float("nan")} for size in SIZES}
    precision = _precision(evaluation)  # [10 overlaps, 101 recalls, C, 3 sizes]
    return {
        size: {"mAP50": _mean(precision[0, ..., index]), "mAP": _mean(precision[..., index])}
        for index, size in enumerate(SIZES)
    }


def _mean(precision: np.ndarray) -> float:
    """Of all values; NaN if none is valid. All classes count equally, as in `coco_metrics`."""
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else float("nan")


def match_detections(
    groundtruth: Sequence[tuple],
    detections: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    num_classes: int,
) -> list[ClassMatches]:
    """Matches detections with objects, as `coco_metrics` does, and leaves the counting to others.

    Args:
      groundtruth: see `coco_metrics`.
      detections: see `coco_metrics`.
      num_classes: class ids are below it.

    Returns:
      One entry a class.

    Raises:
      ValueError: see `coco_metrics`.
    """
    evaluation = _evaluate(groundtruth, detections, num_classes)
    num_images, num_overlaps = len(groundtruth), len(evaluation.params.iouThrs)
    matches = []
    for class_id in range(num_classes):
        # None stands for a picture without objects and detections of the class.
        pictures = evaluation.evalImgs[class_id * num_images :][:num_images]
        found = [(index, picture) for index, picture in enumerate(pictures) if picture]
        num_objects = np.zeros(num_images, np.int64)
        for index, picture in found:
            num_objects[index] = np.sum(picture["gtIgnore"] == 0)
        nothing = np.zeros((num_overlaps, 0), bool)
        matched = np.concatenate([nothing] + [p["dtMatches"] for _, p in found], axis=1)
        ignored = np.concatenate([nothing] + [p["dtIgnore"] for _, p in found], axis=1)
        matches.append(
            ClassMatches(
                np.repeat(
                    np.array([index for index, _ in found], np.int64),
                    [len(picture["dtScores"]) for _, picture in found],
                ),
                np.concatenate([[], *(picture["dtScores"] for _, picture in found)]),
                matched & ~ignored,
                ignored,
                num_objects,
            )
        )
    return matches


_ALL_SIZES = slice(0, 1)


def _evaluate(groundtruth, detections, num_classes, sizes=_ALL_SIZES) -> COCOeval:
    """Matches detections with objects, class by class and picture by picture.

    `sizes` are a slice of pycocotools' ranges of area: all, small, medium, large.
    """
    if len(groundtruth) != len(detections):
        raise ValueError(
            "Expected as many detections as pictures with ground truth. "
            f"Received: {len(groundtruth)} ground truths, {len(detections)} detections."
        )
    results = []
    num_counted = 0
    for start in range(0, max(len(groundtruth), 1), _PICTURES_AT_A_TIME):
        pictures = range(start, min(start + _PICTURES_AT_A_TIME, len(groundtruth)))
        evaluation = _evaluate_pictures(pictures, groundtruth, detections, num_classes, sizes)
        num_counted += sum(not one["iscrowd"] for one in evaluation.cocoGt.anns.values())
        # A row a class and size.
        rows = num_classes * len(evaluation.params.areaRng)
        matched = np.array([_matched(picture) for picture in evaluation.evalImgs], object)
        results.append(matched.reshape(rows, len(pictures)))
    evaluation.evalImgs = list(np.concatenate(results, axis=1).flat)
    evaluation.params.imgIds = list(range(len(groundtruth)))
    evaluation._paramsEval = copy.deepcopy(evaluation.params)
    evaluation.num_counted = num_counted
    return evaluation


def _evaluate_pictures(pictures: range, groundtruth, detections, num_classes, sizes) -> COCOeval:
    truth = [
        annotation | {"crowd": int(crowd), "iscrowd": int(crowd or difficult)}
        for index in pictures
        for annotation, difficult, crowd in _flagged(
            index, GroundTruth(*groundtruth[index]), num_classes
        )
    ]
    found = [
        annotation
        for index in pictures
        for annotation in _annotations(index, *detections[index], num_classes)
    ]
    # pycocotools prints its progress, and sys.stdout is the whole process's: one at a time.
    with _SILENCE, contextlib.redirect_stdout(io.StringIO()):
        evaluation = _Evaluation(
            _coco(truth, pictures, num_classes), _coco(found, pictures, num_classes), iouType="bbox"
        )
        evaluation.params.areaRng = evaluation.params.areaRng[sizes]
        evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[sizes]
        evaluation.params.maxDets = [_MAX_DETECTIONS]
        evaluation.evaluate()
    return evaluation


class _AtOverlap(Sequence):
    """The results for pictures and classes at one of the overlaps."""

    def __init__(self, results: Sequence[dict | None], overlap: int):
        self._results, self._row = results, slice(overlap, overlap + 1)

    def __len__(self):
        return len(self._results)

    def __getitem__(self, index):
        found = self._results[index]
        return found and found | {key: found[key][self._row] for key in ("dtMatches", "dtIgnore")}


def _precision(evaluation: COCOeval) -> np.ndarray:
    """[10 overlaps, 101 recalls, C, sizes], as pycocotools computes it; -1 without ground truth.

    One overlap at a time: for all of them at once, it needs half a kilobyte a detection.
    """
    params = evaluation.params
    overlaps, results = params.iouThrs, evaluation.evalImgs
    precision = []
    with _SILENCE, contextlib.redirect_stdout(io.StringIO()):
        for number in range(len(overlaps)):
            params.iouThrs = overlaps[number : number + 1]
            evaluation.evalImgs = _AtOverlap(results, number)
            evaluation.accumulate()
            precision.append(evaluation.eval["precision"][..., 0])
    return np.concatenate(precision)


def _matched(picture: dict | None) -> dict[str, np.ndarray] | None:
    """What is needed of the result for a picture and class, a thirtieth of its bytes."""
    return picture and {
        "dtScores": np.array(picture["dtScores"]),
        "dtMatches": picture["dtMatches"] > 0,
        "dtIgnore": np.asarray(picture["dtIgnore"], bool),
        "gtIgnore": np.asarray(picture["gtIgnore"]),
    }


def _flagged(index: int, truth: GroundTruth, num_classes: int):
    """A picture's objects as COCO annotations, each with whether it is difficult, and a crowd."""
    annotations = list(_annotations(index, truth.boxes, truth.class_ids, None, num_classes))
    flags = [
        [False] * len(annotations) if values is None else values
        for values in (truth.difficult, truth.crowd)
    ]
    return zip(annotations, *flags, strict=True)


def _annotations(index, boxes, class_ids, scores, num_classes):
    """One picture's boxes as COCO annotations; `scores` is None for ground truth."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    class_ids = np.asarray(class_ids).reshape(-1)
    marks = np.ones(len(boxes)) if scores is None else np.asarray(scores, np.float64).reshape(-1)
    kind = "ground truth" if scores is None else "detections"
    if not len(boxes) == len(class_ids) == len(marks):
        raise ValueError(
            f"Expected a class id (and a score) for each box in {kind} of picture {index}. "
            f"Received: {len(boxes)} boxes, {len(class_ids)} ids, {len(marks)} scores."
        )
    if not (np.isfinite(boxes).all() and np.isfinite(marks).all()):
        raise ValueError(
            f"Expected finite boxes and scores in {kind} of picture {index}. "
            f"Received: boxes {boxes.tolist()}, scores {marks.tolist()}"
        )
    if len(class_ids) and not 0 <= class_ids.min() <= class_ids.max() < num_classes:
        raise ValueError(
            f"Expected class ids 0..{num_classes - 1} in {kind} of picture {index}. "
            f"Received: {class_ids.tolist()}"
        )
    for (ymin, xmin, ymax, xmax), class_id, score in zip(boxes, class_ids, marks, strict=True):
        height, width = ymax - ymin, xmax - xmin
        annotation = {
            "image_id": index,
            "category_id": int(class_id),
            "bbox": [xmin, ymin, width, height],
            "area": width * height,
        }
        yield annotation if scores is None else annotation | {"score": score}


def _coco(annotations, pictures, num_classes):
    coco = COCO()
    coco.dataset = {
        "images": [{"id": index} for index in pictures],
        "categories": [{"id": index} for index in range(num_classes)],
        # From 1: pycocotools takes a match with id 0 for no match.
        "annotations": [
            annotation | {"id": number} for number, annotation in enumerate(annotations, start=1)
        ],
    }
    coco.createIndex()
    return coco
