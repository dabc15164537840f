"""Which detections find which objects, as COCO's evaluation matches them.

pycocotools computes the overlaps. The rest of its `COCOeval` compares boxes one by one in Python,
each a dictionary; here boxes are arrays, and what is kept of a detection are 12 bytes.
"""

import math
import pickle
import zlib
from array import array
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from pycocotools import mask

OVERLAPS = np.linspace(0.5, 0.95, 10)
"""How far a detection must overlap an object to find it."""
ALL_AREAS = (0.0, math.inf)

# A bit for each overlap.
_BITS = 1 << np.arange(len(OVERLAPS))
# Detections kept per picture and class, best scores first (COCO's maxDets).
_MAX_DETECTIONS = 100


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
    class_ids: Sequence[Hashable]
    difficult: np.ndarray | None = None
    crowd: np.ndarray | None = None


class ClassMatches(NamedTuple):
    """How the detections of one class match its objects.

    Attributes:
      pictures: int32 [D], the picture of each detection, ascending.
      scores: float32 [D].
      matched_bits: uint16 [D], see `matched`.
      ignored_bits: uint16 [D], see `ignored`.
      num_objects: int64 [number of pictures], without those that are difficult, or crowds.
    """

    pictures: np.ndarray
    scores: np.ndarray
    matched_bits: np.ndarray
    ignored_bits: np.ndarray
    num_objects: np.ndarray

    def matched(self, overlap: int) -> np.ndarray:
        """bool [D], whether a detection finds an object at `OVERLAPS[overlap]`."""
        return (self.matched_bits & _BITS[overlap]).astype(bool)

    def ignored(self, overlap: int) -> np.ndarray:
        """bool [D], whether it finds a difficult object or a crowd instead: it does not count."""
        return (self.ignored_bits & _BITS[overlap]).astype(bool)


class _Columns(NamedTuple):
    """Of one class: a row for each detection, and the picture of each object that counts."""

    pictures: array
    scores: array
    matched_bits: array
    ignored_bits: array
    object_pictures: array

    @classmethod
    def empty(cls) -> "_Columns":
        return cls(*map(array, "ifHHi"))

    def append(self, *values: np.ndarray) -> None:
        for column, more in zip(self, values, strict=True):
            column.frombytes(more.astype(column.typecode).tobytes())


class Matches:
    """The matches of pictures that come in any order, in parts that can be merged.

    Args:
      areas: objects with less or more area do not count, nor do detections that find none.
    """

    def __init__(self, areas: tuple[float, float] = ALL_AREAS):
        self._areas = areas
        self._picture_ids: list = []
        self._columns: dict[Hashable, _Columns] = {}

    def add(
        self,
        picture_id: str | int,
        groundtruth: tuple,
        detections: tuple[np.ndarray, Sequence[Hashable], np.ndarray],
    ) -> None:
        """Matches the detections in a picture.

        Args:
          picture_id: pictures are ordered by it.
          groundtruth: a `GroundTruth`, or its beginning; classes may be names.
          detections: (boxes, classes, scores): [k, 4]; [k]; float32 [k].

        Raises:
          ValueError: lengths that differ, or values that are not finite.
        """
        truth = GroundTruth(*groundtruth)
        boxes, classes, _ = _checked("ground truth", picture_id, truth.boxes, truth.class_ids)
        found, found_classes, scores = _checked("detections", picture_id, *detections)
        crowd, difficult = (
            np.zeros(len(boxes), bool) if flags is None else np.asarray(flags, bool)
            for flags in (truth.crowd, truth.difficult)
        )
        number = self.num_pictures
        for name in dict.fromkeys([*classes, *found_classes]):
            objects = np.flatnonzero(classes == name)
            best = np.flatnonzero(found_classes == name)
            best = best[np.argsort(-scores[best], kind="stable")][:_MAX_DETECTIONS]
            shared = crowd[objects] | difficult[objects]
            ignored = shared | self._outside(boxes[objects])
            found_object = _match(
                _overlaps(found[best], boxes[objects], crowd[objects]), ignored, shared
            )  # [10, D]
            nothing = found_object < 0
            excused = np.where(
                nothing, self._outside(found[best]), np.append(ignored, False)[found_object]
            )
            self._columns.setdefault(name, _Columns.empty()).append(
                np.full(len(best), number),
                scores[best],
                _BITS @ ~(nothing | excused),
                _BITS @ excused,
                np.full(np.sum(~ignored), number),
            )
        self._picture_ids.append(picture_id)

    @property
    def num_pictures(self) -> int:
        """Those that were added."""
        return len(self._picture_ids)

    def merge(self, other: "Matches") -> None:
        """Adds the pictures of another part."""
        before = self.num_pictures
        for name, columns in other._columns.items():
            pictures, *values, object_pictures = map(np.asarray, columns)
            self._columns.setdefault(name, _Columns.empty()).append(
                pictures + before, *values, object_pictures + before
            )
        self._picture_ids += other._picture_ids

    def of(self, classes: Iterable[Hashable]) -> Iterator[ClassMatches]:
        """The matches of each class; pictures are numbered in the order of their ids."""
        by_id = sorted(range(self.num_pictures), key=self._picture_ids.__getitem__)
        numbers = np.empty(len(by_id), np.int32)
        numbers[by_id] = np.arange(len(by_id))
        for name in classes:
            columns = self._columns.get(name) or _Columns.empty()
            pictures, *values, object_pictures = map(np.asarray, columns)
            order = np.argsort(numbers[pictures], kind="stable")
            yield ClassMatches(
                numbers[pictures][order],
                *(value[order] for value in values),
                np.bincount(numbers[object_pictures], minlength=len(numbers)),
            )

    def classes(self) -> list:
        """Those with an object that counts, sorted."""
        return sorted(name for name, columns in self._columns.items() if columns.object_pictures)

    def __getstate__(self) -> bytes:
        """Compressed to a sixth: Beam holds several copies of what it sends."""
        return zlib.compress(pickle.dumps(self.__dict__), 1)

    def __setstate__(self, state: bytes) -> None:
        self.__dict__ = pickle.loads(zlib.decompress(state))

    def _outside(self, boxes: np.ndarray) -> np.ndarray:
        height, width = (boxes[:, 2:] - boxes[:, :2]).T
        least, most = self._areas
        return (width * height < least) | (width * height > most)


def match_detections(
    groundtruth: Sequence[tuple],
    detections: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
    num_classes: int,
    areas: tuple[float, float] = ALL_AREAS,
) -> list[ClassMatches]:
    """Matches detections with objects.

    Args:
      groundtruth: one `GroundTruth` a picture, or its beginning, such as (boxes, class_ids). n may
        be 0.
      detections: one (boxes, class_ids, scores) a picture, in the same order. boxes: [k, 4];
        class_ids: [k]; scores: float32 [k], any scale, higher is more certain. k may be 0.
      num_classes: class ids are below it.
      areas: see `Matches`.

    Returns:
      One entry a class.

    Raises:
      ValueError: lengths that differ, class ids out of range, or values that are not finite.
    """
    if len(groundtruth) != len(detections):
        raise ValueError(
            "Expected as many detections as pictures with ground truth. "
            f"Received: {len(groundtruth)} ground truths, {len(detections)} detections."
        )
    matches = Matches(areas)
    for index, (truth, found) in enumerate(zip(groundtruth, detections, strict=True)):
        for kind, class_ids in (("ground truth", truth[1]), ("detections", found[1])):
            if any(not 0 <= class_id < num_classes for class_id in class_ids):
                raise ValueError(
                    f"Expected class ids 0..{num_classes - 1} in {kind} of picture {index}. "
                    f"Received: {list(class_ids)}"
                )
        matches.add(index, truth, found)
    return list(matches.of(range(num_classes)))


def _checked(kind, picture_id, boxes, classes, scores=None):
    """As arrays: float64 [n, 4]; objects [n]; float32 [n]."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    classes = np.asarray(classes, object)
    scores = np.ones(len(boxes), np.float32) if scores is None else np.asarray(scores, np.float32)
    if not len(boxes) == len(classes) == len(scores):
        raise ValueError(
            f"Expected a class id (and a score) for each box in {kind} of picture {picture_id}. "
            f"Received: {len(boxes)} boxes, {len(classes)} ids, {len(scores)} scores."
        )
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise ValueError(
            f"Expected finite boxes and scores in {kind} of picture {picture_id}. "
            f"Received: boxes {boxes.tolist()}, scores {scores.tolist()}"
        )
    return boxes, classes, scores


def _overlaps(found: np.ndarray, boxes: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """float64 [D, N]: intersection over union, or of crowds over the detection's area."""
    if not (len(found) and len(boxes)):
        return np.zeros((len(found), len(boxes)))
    corners_and_sizes = (
        np.stack([xmin, ymin, xmax - xmin, ymax - ymin], axis=1)
        for ymin, xmin, ymax, xmax in (found.T, boxes.T)
    )
    return mask.iou(*corners_and_sizes, crowd)


def _match(overlaps: np.ndarray, ignored: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """The object that each detection finds: greedily, the best detection first.

    Args:
      overlaps: float64 [D, N].
      ignored: bool [N], objects to find only where no other is.
      shared: bool [N], objects that any number of detections may find.

    Returns:
      int64 [10, D], for each of `OVERLAPS`; -1 for none.
    """
    num_detections, num_objects = overlaps.shape
    least = np.minimum(OVERLAPS, 1 - 1e-10)[:, None]  # rounding makes less than 1 of a full one
    found = np.full((len(OVERLAPS), num_detections), -1)
    free = np.ones((len(OVERLAPS), num_objects), bool)
    rows = np.flatnonzero((overlaps >= least[0]).any(axis=1))
    # Of equal overlaps the last object's, as in pycocotools.
    preferred = np.lexsort(
        np.broadcast_arrays(-np.arange(num_objects), -overlaps[rows], ignored)
    )  # [rows, N]
    for row, objects in zip(rows, preferred, strict=True):
        fits = free[:, objects] & (overlaps[row, objects] >= least)  # [10, N]
        levels = np.flatnonzero(fits.any(axis=1))
        chosen = objects[fits[levels].argmax(axis=1)]
        found[levels, row] = chosen
        free[levels, chosen] = shared[chosen]
    return found
