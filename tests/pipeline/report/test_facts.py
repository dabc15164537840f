import base64
import io
import json

import pytest
from PIL import Image

from pipeline.report.page import render
from tests.pipeline.report.conftest import CAT, HOSTILE, PICTURES


def test_the_facts_are_json_without_infinities(usual):
    text = json.dumps(usual, allow_nan=False)
    assert json.dumps(json.loads(text)) == text


def test_what_is_shown_is_what_was_judged(usual):
    assert usual["verdict"]["metrics"]["mAP50"] == pytest.approx(
        sum(row["AP50"] for row in usual["quality"]["classes"]) / 2
    )
    assert usual["mistakes"]["outcomes"] == {
        **{name: [] for name in PICTURES},
        "missed": ["missed"],
        "wrong": ["class"],
        "unlabelled": ["nothing"],
    }
    assert [row["id"] for row in usual["mistakes"]["pictures"]] == [
        "missed", "wrong", "unlabelled",
    ]  # fmt: skip


def test_only_pictures_with_mistakes_are_shown_small_and_in_their_proportions(usual):
    for row in usual["mistakes"]["pictures"]:
        encoded = base64.b64decode(row["jpeg"].partition(",")[2])
        assert Image.open(io.BytesIO(encoded)).size == (120, 90)
        assert (row["width"], row["height"]) == (120, 90)


def test_the_page_shows_as_many_mistakes_as_its_budget_allows(facts_of):
    full = facts_of(PICTURES)["mistakes"]
    one = len(full["pictures"][0]["jpeg"])
    tight = facts_of(PICTURES, max_mb=1.2 * one / 0.7 / 1e6)["mistakes"]
    assert (len(full["pictures"]), full["hidden"]) == (3, 0)
    assert [row["id"] for row in tight["pictures"]] == ["missed"]
    assert tight["hidden"] == 2
    assert tight["outcomes"] == full["outcomes"]


def test_the_training_is_told_with_where_quantization_began(usual):
    training = usual["training"]
    assert training["curves"]["eval/mAP50"] == [
        [10, pytest.approx(1 / 3)],
        [20, pytest.approx(2 / 3)],
    ]
    assert (training["steps"], training["quantized_from"]) == (20, 10)


def test_images_and_objects_are_counted_by_split_and_class(usual):
    data = usual["data"]
    assert list(data["splits"]) == ["train", "eval"]
    assert data["splits"]["eval"] == {"images": 8, "negatives": 1, "objects": {"cat": 4, "dog": 4}}
    assert data["left_out"] == [{"file": f"{HOSTILE}.xml", "reason": "truncated"}]
    assert sum(data["boxes"]["splits"]["eval"]["side"]) == pytest.approx(1, abs=0.01)


def test_a_picture_in_both_splits_is_found(facts_of, artifacts_of):
    # Pictures are drawn from their number in the split: the first is the same.
    inputs = artifacts_of(PICTURES, train={"copy": ([("cat", CAT)], [])})
    data = facts_of(PICTURES, inputs=inputs)["data"]
    assert data["num_duplicates"]["across"] == 1
    assert data["duplicates"][0]["pictures"] == [["train", "copy"], ["eval", "right_0"]]
    assert len(data["duplicates"][0]["jpegs"]) == 2


def test_the_test_pictures_figures_are_told_apart(facts_of, artifacts_of):
    inputs = artifacts_of(PICTURES)
    assert facts_of(PICTURES, inputs=inputs)["verdict"]["test"] is None
    pushed = inputs["pushed_model"]
    pushed.set_int_custom_property("test_images", 40)
    pushed.set_float_custom_property("test_mAP50", 0.8125)
    pushed.set_float_custom_property("test_mAP", 0.5)
    text = render(facts_of(PICTURES, inputs=inputs), None)
    assert "On the 40 test pictures, which chose nothing: mAP@.5 0.812, mAP@[.5:.95] 0.500" in text


def test_what_does_not_count_is_in_no_figure(facts_of, usual):
    flagged = {
        "difficult": ([("cat", CAT, "difficult")], [("cat", CAT, 0.99)]),
        "crowd": ([("dog", CAT, "crowd")], [("dog", CAT, 0.99)]),
        "unfound": ([("cat", CAT, "difficult")], []),
    }
    found = facts_of(PICTURES | flagged)
    assert found["verdict"]["metrics"] == usual["verdict"]["metrics"]
    for part in ("classes", "curves", "confusion", "thresholds", "objects", "sizes"):
        assert found["quality"][part] == usual["quality"][part], part
    assert found["mistakes"]["kinds"] == usual["mistakes"]["kinds"]


def test_a_run_that_finds_nothing_has_facts_too(facts_of):
    nothing = {name: (objects, []) for name, (objects, _) in PICTURES.items()}
    found = facts_of(nothing)
    assert found["mistakes"]["threshold"] is None
    assert found["mistakes"]["kinds"]["missed"]["count"] == 8
    assert found["verdict"]["pushed"] is False
