"""What is wrong in a picture, by kind: the error types of TIDE. Pure functions.

Source: Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", ECCV 2020,
section 2.2, with its overlaps of 0.5 (foreground) and 0.1 (background).
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from pipeline.shipping.judged_pictures import CANDIDATE, Found, JudgedPicture

MISSED, CLASS, PLACE, BOTH, TWICE, NOTHING = "missed", "class", "place", "both", "twice", "nothing"
KINDS = {
    MISSED: "missed",
    CLASS: "wrong class",
    PLACE: "wrong place",
    BOTH: "wrong class and place",
    TWICE: "found twice",
    NOTHING: "nothing there",
}
"""In words; the gravest first."""
RIGHT, IGNORED = "right", "ignored"
"""No mistakes: a detection with its object, and what counts neither way."""
_FOREGROUND, _BACKGROUND = 0.5, 0.1
# A poor detector's median is no certainty.
_CERTAIN = 0.5


class Finding(NamedTuple):
    """A detection or an object, and what it is.

    Attributes:
      kind: a key of `KINDS`, `RIGHT`, or `IGNORED`.
      label: the class, found or labelled.
      box: (ymin, xmin, ymax, xmax), normalised.
      score: of a detection; None for an object.
      of: of a wrong class or place, the class of the object there; else None.
    """

    kind: str
    label: str
    box: tuple[float, ...]
    score: float | None = None
    of: str | None = None


class Outcome(NamedTuple):
    """A picture, taken apart.

    Attributes:
      objects: all that is labelled: `RIGHT`, `MISSED`, the kind of the mistake that covers it, or
        `IGNORED` if it is difficult or a crowd.
      detections: all that the threshold keeps, the most certain first; never `MISSED`.
    """

    objects: list[Finding]
    detections: list[Finding]

    @property
    def mistakes(self) -> list[Finding]:
        """Detections that are wrong, and objects that were missed."""
        return [each for each in self.detections if each.kind in KINDS] + [
            each for each in self.objects if each.kind == MISSED
        ]


def overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [n, 4] and [m, 4]: float64 [n, m], 0..1."""
    one, other = (np.asarray(boxes, np.float64).reshape(-1, 4) for boxes in (one, other))
    top_left = np.maximum(one[:, None, :2], other[None, :, :2])  # [n, m, 2]
    bottom_right = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
    areas = [
        np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=1) for boxes in (one, other)
    ]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return shared / np.maximum(union, 1e-12)


def take_apart(picture: JudgedPicture, threshold: float | None, model: str = CANDIDATE) -> Outcome:
    """Sorts everything in a picture by what is right and what is wrong.

    Args:
      picture: what was judged.
      threshold: detections below it are not shown to users, so they are no mistakes; None keeps
        none.
      model: whose detections.
    """
    found = picture.found[model]
    kept = np.flatnonzero(found.scores >= threshold) if threshold is not None else []
    order = sorted(kept, key=lambda index: -found.scores[index])
    overlap = overlaps(found.boxes, picture.boxes)
    same = np.array(
        [[mine == theirs for theirs in picture.labels] for mine in found.labels], bool
    ).reshape(overlap.shape)
    counts = picture.counts
    excused = in_ignored(picture, found)
    states = [MISSED if counted else IGNORED for counted in counts]
    matched: dict[int, int] = {}  # detection to object
    for index in order:
        free = [
            (overlap[index, other], other)
            for other in range(len(states))
            if same[index, other]
            and states[other] == MISSED
            and overlap[index, other] >= _FOREGROUND
        ]
        if free:
            matched[index] = max(free)[1]
            states[matched[index]] = RIGHT
    detections = []
    for index in order:
        if index in matched:
            kind, other = RIGHT, matched[index]
        elif excused[index]:
            kind, other = IGNORED, -1
        else:
            kind, other = _kind(overlap[index] * counts, same[index])
        if kind in (CLASS, PLACE) and states[other] == MISSED:
            states[other] = kind  # it was seen, though not for what it is
        detections.append(
            Finding(
                kind,
                found.labels[index],
                tuple(map(float, found.boxes[index])),
                float(found.scores[index]),
                picture.labels[other] if kind in (CLASS, BOTH) else None,
            )
        )
    objects = [
        Finding(state, label, tuple(map(float, box)))
        for state, label, box in zip(states, picture.labels, picture.boxes, strict=True)
    ]
    return Outcome(objects, detections)


def in_ignored(picture: JudgedPicture, found: Found) -> np.ndarray:
    """Which detections lie where nothing counts: on a difficult object of their class, or in a
    crowd of it, by the fraction of their own area.

    Returns:
      bool [k].
    """
    overlap = overlaps(found.boxes, picture.boxes)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (found.boxes, picture.boxes)]
    shared = overlap * (areas[0][:, None] + areas[1][None, :]) / (1 + overlap)
    inside = shared / np.maximum(areas[0][:, None], 1e-12)
    same = np.array(
        [[mine == theirs for theirs in picture.labels] for mine in found.labels], bool
    ).reshape(overlap.shape)
    on_difficult = (overlap >= _FOREGROUND) & picture.difficult
    in_crowd = (inside >= _FOREGROUND) & picture.crowd
    return (same & (on_difficult | in_crowd)).any(axis=1)


def _kind(overlap: np.ndarray, same: np.ndarray) -> tuple[str, int]:
    """The kind of a detection without an object of its own, and the object that it comes nearest.

    Args:
      overlap: float [n], with the objects.
      same: bool [n], whether they are of its class.
    """
    mine, others = np.where(same, overlap, 0.0), np.where(same, 0.0, overlap)
    best_mine, best_other = mine.max(initial=0.0), others.max(initial=0.0)
    if best_mine >= _FOREGROUND:
        return TWICE, int(mine.argmax())
    if best_other >= _FOREGROUND:
        return CLASS, int(others.argmax())
    if best_mine >= _BACKGROUND:
        return PLACE, int(mine.argmax())
    if best_other >= _BACKGROUND:
        return BOTH, int(others.argmax())
    return NOTHING, -1


def sort_worst_first(
    outcomes: Mapping[str, Outcome],
) -> list[dict[str, Any]]:
    """The pictures with mistakes as JSON: by their gravest kind, then by the number of mistakes.

    Among equals those come first whose labels are probably at fault: a detection where nothing is
    labelled, as certain as most that are right.

    Args:
      outcomes: by image id.

    Returns:
      {id, kinds, mistakes (their number), suspect, objects, detections}.
    """
    right = [
        each.score
        for outcome in outcomes.values()
        for each in outcome.detections
        if each.kind == RIGHT
    ]
    certain = max(float(np.median(right)) if right else 1.0, _CERTAIN)
    rows = []
    for image_id, outcome in outcomes.items():
        mistakes = outcome.mistakes
        if not mistakes:
            continue
        kinds = [kind for kind in KINDS if any(each.kind == kind for each in mistakes)]
        doubt = max((each.score for each in mistakes if each.kind == NOTHING), default=0.0)
        rows.append(
            {
                "id": image_id,
                "kinds": kinds,
                "mistakes": len(mistakes),
                "suspect": doubt >= certain,
                "objects": [each._asdict() for each in outcome.objects],
                "detections": [each._asdict() for each in outcome.detections],
                "doubt": doubt,
            }
        )
    grave = list(KINDS)
    rows.sort(key=lambda row: (grave.index(row["kinds"][0]), -row["mistakes"], -row["doubt"]))
    return [{key: value for key, value in row.items() if key != "doubt"} for row in rows]


def count_kinds(outcomes: Iterable[Outcome]) -> dict[str, dict[str, Any]]:
    """{kind: {words, count}}: how many mistakes there are of each kind, the gravest first."""
    kinds = [each.kind for outcome in outcomes for each in outcome.mistakes]
    return {kind: {"words": words, "count": kinds.count(kind)} for kind, words in KINDS.items()}
