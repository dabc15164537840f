"""The score from which on an app should show a detection: where precision and recall are balanced.

A pure function of detections, so that whoever has some can ask: the Evaluator records its answer
beside the figures, the Pusher puts it into the manifest, and the report's page explains it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.training.coco_matching import ClassMatches

ALL = "all"
CLASSES = "classes"
_DIGITS = 4


def recommend_thresholds(
    matches: Sequence[ClassMatches], class_names: Sequence[str]
) -> dict[str, Any]:
    """The thresholds with the best F1 at an overlap of 0.5, for all classes together and for each.

    A threshold lies in the middle between the lowest score that it keeps and the next one below, so
    that a score which another processor rounds does not cross it. Of several with the same F1, the
    highest.

    Args:
      matches: of each class, with scores 0..1.
      class_names: names of these classes.

    Returns:
      JSON: {"all": best, "classes": {name: best}}, where best is {"threshold", "precision",
      "recall", "f1"}, each 0..1, or None where no threshold lets a detection be right. An app keeps
      detections with `score >= threshold`.
    """
    return {
        ALL: _best(matches),
        CLASSES: {name: _best([found]) for name, found in zip(class_names, matches, strict=True)},
    }


def _best(matches: Sequence[ClassMatches]) -> dict[str, float] | None:
    counted = [~found.ignored(0) for found in matches]
    scores = np.concatenate(
        [[], *(found.scores[rows] for found, rows in zip(matches, counted, strict=True))]
    )
    right = np.concatenate(
        [[], *(found.matched(0)[rows] for found, rows in zip(matches, counted, strict=True))]
    )
    num_objects = sum(int(found.num_objects.sum()) for found in matches)
    if not right.any():
        return None
    order = np.argsort(-scores, kind="stable")
    scores, right = scores[order], np.cumsum(right[order])
    # A threshold can't tell equal scores apart.
    last = np.flatnonzero(np.append(scores[1:] < scores[:-1], True))
    f1 = 2 * right[last] / (last + 1 + num_objects)
    best = int(last[np.argmax(f1)])
    lowest = scores[best]
    below = scores[best + 1] if best + 1 < len(scores) else lowest
    middle = round(float(lowest + below) / 2, _DIGITS)
    return {
        "threshold": middle if below < middle <= lowest else float(lowest),
        "precision": float(right[best] / (best + 1)),
        "recall": float(right[best] / num_objects),
        "f1": float(f1.max()),
    }
