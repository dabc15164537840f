import dataclasses

import pytest

from models.tflite.agreement import Agreement
from pipeline.errors import UserError
from pipeline.settings import RewriterSettings
from pipeline.shipping.comparison import Comparison, require_agreement

GOOD = Agreement(
    num_images=32,
    num_expected=100,
    num_received=100,
    num_pairs=100,
    num_unpaired=0,
    num_classes=100,
    num_boxes=100,
    num_scores=100,
    num_matched=100,
    max_score_difference=0.05,
    min_iou=0.9,
)


def comparison(box_error=0.05, score_error=0.1, **detections):
    return Comparison(dataclasses.replace(GOOD, **detections), box_error, score_error)


@pytest.mark.parametrize(
    "found",
    [
        comparison(),
        comparison(num_boxes=95, num_matched=95),
        comparison(num_pairs=95, num_unpaired=5, num_matched=95),
        comparison(box_error=0.3, score_error=0.3),
    ],
)
def test_what_is_within_the_tolerances_passes(found):
    require_agreement(found, RewriterSettings())


@pytest.mark.parametrize(
    ("found", "output"),
    [
        (comparison(num_boxes=94, num_matched=94), "boxes: 94.0% agree"),
        (comparison(num_classes=94, num_matched=94), "classes: 94.0% agree"),
        (comparison(num_scores=94, num_matched=94), "scores: 94.0% agree"),
        (comparison(num_unpaired=10), "count: 90.9% agree"),
        (comparison(box_error=0.31), "box encodings before the post-processing: 0.310"),
        (comparison(score_error=0.31), "scores before the post-processing: 0.310"),
        (comparison(score_error=float("nan")), "scores before the post-processing: nan"),
    ],
)
def test_the_output_that_is_off_is_named(found, output):
    with pytest.raises(UserError) as error:
        require_agreement(found, RewriterSettings())
    assert output in str(error.value)


def test_each_output_off_by_a_little_adds_up():
    found = comparison(num_boxes=96, num_scores=96, num_matched=92)
    with pytest.raises(UserError, match=r"all: 92\.0% agree"):
        require_agreement(found, RewriterSettings())


def test_the_figures_are_properties():
    properties = comparison(num_boxes=96, num_matched=96).properties()
    assert properties["agreement"] == 0.96
    assert properties["agreement_boxes"] == 0.96
    assert properties["agreement_scores"] == 1
    assert properties["compared_detections"] == 100
    assert properties["raw_score_error"] == 0.1
