import math

import pytest

from models.training.coco import average_precision_by_size, coco_metrics
from pipeline.shipping.judged_pictures import as_arrays, read_judged_pictures
from tests.pipeline.report.conftest import PICTURES


@pytest.fixture(scope="module")
def quality(usual):
    return usual["quality"]


def test_precision_and_recall_are_those_at_the_common_threshold(quality):
    rows = {row["name"]: row for row in quality["classes"]}
    # Cats: 2 of 4 found, 1 of 3 found where nothing is; dogs: all found, 1 of 5 is a cat.
    assert (rows["cat"]["precision"], rows["cat"]["recall"]) == (pytest.approx(2 / 3), 0.5)
    assert (rows["dog"]["precision"], rows["dog"]["recall"]) == (0.8, 1.0)
    assert [row["objects"] for row in quality["classes"]] == [4, 4]


def test_curves_are_the_ones_that_average_precision_is_the_area_of(quality):
    for row in quality["classes"]:
        curve = quality["curves"][row["name"]]
        assert len(curve) == 101
        assert sum(curve) / 101 == pytest.approx(row["AP50"], abs=1e-4)


def test_the_confusion_matrix_has_every_object_and_every_detection_once(quality):
    names, counts = quality["confusion"]["names"], quality["confusion"]["counts"]
    assert names == ["cat", "dog", "background"]
    assert counts == [[2, 1, 1], [0, 4, 0], [1, 0, 0]]


def test_an_interval_holds_the_figure_and_needs_pictures(usual, facts_of):
    low, high = usual["quality"]["interval"]["mAP50"]
    assert low < usual["verdict"]["metrics"]["mAP50"] < high
    few = {name: PICTURES[name] for name in ("right_0", "missed")}
    assert facts_of(few)["quality"]["interval"] is None


def test_sizes_are_measured_in_pixels_of_the_original(facts_of, artifacts_of):
    inputs = artifacts_of(PICTURES)
    pictures = read_judged_pictures(inputs["evaluation"].uri)
    truth, found = as_arrays(pictures, ["cat", "dog"])
    whole = coco_metrics(truth, found, ["cat", "dog"])

    def by_size(scale):
        return average_precision_by_size(truth, found, 2, [(scale, scale)] * len(pictures))

    # Sides of the boxes are 0.4 (cats), 0.3 (dogs), and at least 0.15.
    assert by_size(1000)["large"]["mAP50"] == pytest.approx(whole["mAP50"])
    assert by_size(1000)["large"]["mAP"] == pytest.approx(whole["mAP"])
    assert math.isnan(by_size(1000)["small"]["mAP50"])
    # At 100 pixels the dogs are small and all found; what is not small is left out.
    assert by_size(100)["small"]["mAP50"] == pytest.approx(1)
    assert by_size(100)["medium"]["mAP50"] < whole["AP50/dog"]
