import numpy as np
import pytest

from pipeline.report.mistakes import (
    BOTH,
    CLASS,
    IGNORED,
    KINDS,
    MISSED,
    NOTHING,
    PLACE,
    RIGHT,
    TWICE,
    overlaps,
    sort_worst_first,
    take_apart,
)
from pipeline.shipping.judged_pictures import CANDIDATE, Found, JudgedPicture

CAT = ("cat", (0.1, 0.1, 0.5, 0.5))
DOG = ("dog", (0.6, 0.6, 0.9, 0.9))
# Overlaps of 0.33 with the cat's and the dog's box.
BESIDE_CAT = (0.1, 0.3, 0.5, 0.7)
EMPTY = (0.7, 0.05, 0.9, 0.2)


def judged(objects, *detections, name="picture"):
    """A picture with objects (label, box, flags) and detections (label, box, score)."""

    def boxes(rows):
        return np.array([box for _, box, *_ in rows], np.float32).reshape(-1, 4)

    found = Found(
        boxes(detections),
        [label for label, *_ in detections],
        np.array([score for *_, score in detections], np.float32),
    )
    labels = [label for label, *_ in objects]
    difficult, crowd = (
        np.array([flag in flags for _, _, *flags in objects], bool)
        for flag in ("difficult", "crowd")
    )
    return JudgedPicture(
        name, 200, 100, boxes(objects), labels, difficult, crowd, {CANDIDATE: found}
    )


def kinds(picture, threshold=0.5):
    """Kinds of the objects, and of the detections."""
    outcome = take_apart(picture, threshold)
    return [each.kind for each in outcome.objects], [each.kind for each in outcome.detections]


def test_overlaps_are_intersections_over_unions():
    one = np.array([[0, 0, 1, 1], [0, 0, 0.5, 1]])
    assert overlaps(one, [[0, 0, 1, 0.5], [0.5, 0, 1, 1]]) == pytest.approx(
        np.array([[0.5, 0.5], [1 / 3, 0]])
    )
    assert overlaps(np.zeros((0, 4)), one).shape == (0, 2)


@pytest.mark.parametrize(
    ("detections", "objects", "found"),
    [
        ([(*CAT, 0.9)], [RIGHT], [RIGHT]),
        ([], [MISSED], []),
        ([(*CAT, 0.4)], [MISSED], []),  # below the threshold: users do not see it
        ([("dog", CAT[1], 0.9)], [CLASS], [CLASS]),
        ([("cat", BESIDE_CAT, 0.9)], [PLACE], [PLACE]),
        ([("dog", BESIDE_CAT, 0.9)], [MISSED], [BOTH]),
        ([("cat", EMPTY, 0.9)], [MISSED], [NOTHING]),
        ([(*CAT, 0.9), (*CAT, 0.8)], [RIGHT], [RIGHT, TWICE]),
        # The more certain one is right, in whatever order they come.
        ([("cat", (0.1, 0.1, 0.5, 0.55), 0.6), (*CAT, 0.8)], [RIGHT], [RIGHT, TWICE]),
    ],
)
def test_every_kind_of_mistake_is_told_from_the_others(detections, objects, found):
    assert kinds(judged([CAT], *detections)) == (objects, found)


def test_a_wrong_class_names_the_class_that_is_labelled_there():
    [detection] = take_apart(judged([CAT, DOG], ("bird", DOG[1], 0.9)), 0.5).detections
    assert (detection.kind, detection.of) == (CLASS, "dog")


def test_an_object_that_was_found_is_not_covered_by_a_worse_detection():
    picture = judged([CAT], (*CAT, 0.9), ("dog", CAT[1], 0.8))
    assert kinds(picture) == ([RIGHT], [RIGHT, CLASS])


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_what_does_not_count_is_neither_missed_nor_found(flag):
    flagged = (*CAT, flag)
    assert kinds(judged([flagged])) == ([IGNORED], [])
    assert kinds(judged([flagged], (*CAT, 0.9), (*CAT, 0.8))) == ([IGNORED], [IGNORED, IGNORED])
    # Of another class, it is a mistake like any other.
    assert kinds(judged([flagged], ("dog", CAT[1], 0.9))) == ([IGNORED], [NOTHING])
    assert take_apart(judged([flagged], (*CAT, 0.9)), 0.5).mistakes == []
    # An object that counts comes first.
    assert kinds(judged([flagged, CAT], (*CAT, 0.9))) == ([IGNORED, RIGHT], [RIGHT])


def test_a_small_detection_in_a_crowd_does_not_count():
    small = ("cat", (0.2, 0.2, 0.25, 0.25), 0.9)
    assert kinds(judged([(*CAT, "crowd")], small)) == ([IGNORED], [IGNORED])
    assert kinds(judged([(*CAT, "difficult")], small)) == ([IGNORED], [NOTHING])


def test_without_a_threshold_everything_is_missed():
    assert kinds(judged([CAT, DOG], (*CAT, 0.9)), None) == ([MISSED, MISSED], [])


def outcomes(**pictures):
    return {name: take_apart(picture, 0.5) for name, picture in pictures.items()}


def test_the_gravest_kind_comes_first_then_the_most_mistakes():
    rows = sort_worst_first(
        outcomes(
            right=judged([CAT], (*CAT, 0.9)),
            one_missed=judged([CAT]),
            two_missed=judged([CAT, DOG]),
            twice=judged([CAT], (*CAT, 0.9), (*CAT, 0.8)),
            wrong=judged([CAT], ("dog", CAT[1], 0.9)),
        )
    )
    assert [row["id"] for row in rows] == ["two_missed", "one_missed", "wrong", "twice"]
    assert [row["mistakes"] for row in rows] == [2, 1, 1, 1]
    assert list(KINDS)[:2] == [MISSED, CLASS]


def test_among_equals_a_probable_fault_of_the_labels_comes_first():
    rows = sort_worst_first(
        outcomes(
            a_doubtful=judged([CAT], (*CAT, 0.8), ("cat", EMPTY, 0.6)),
            b_certain=judged([CAT], (*CAT, 0.8), ("cat", EMPTY, 0.95)),
        )
    )
    assert [(row["id"], row["suspect"]) for row in rows] == [
        ("b_certain", True),
        ("a_doubtful", False),
    ]
