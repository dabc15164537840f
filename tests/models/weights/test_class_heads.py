import numpy as np
import pytest
import tensorflow as tf

from models.networks import boxes as box_ops
from models.networks.families import build_network
from models.weights.class_heads import (
    choose_by_name,
    choose_by_score,
    copy_class_heads,
    mean_scores,
)
from tests.models.helpers import TINY, randomize

OLD = ("person", "", "cat", "traffic light")


def rows(choices):
    return [choice.row for choice in choices]


def test_classes_of_the_same_name_give_their_rows():
    new = ("Cat", "zebra", "Traffic_Light")
    for setting in ("auto", "by_name"):
        choices = choose_by_name(new, OLD, 4, setting)
        assert rows(choices) == [2, None, 3]
    assert str(choices[0]) == "Cat from cat (same name)"
    assert str(choices[1]) == "zebra: fresh, no class of that name"


def test_fresh_heads_take_nothing():
    assert rows(choose_by_name(OLD, OLD, 4, "fresh")) == [None] * 4


def test_without_names_the_same_number_of_classes_keeps_its_order():
    assert rows(choose_by_name(("a", "b"), (), 2, "auto")) == [0, 1]
    assert rows(choose_by_name(("a", "b"), (), 3, "auto")) == [None, None]


def test_the_class_that_fires_most_is_taken_where_no_name_fits():
    scores = np.array([[0.9, 0.1, 0.2, 0.1], [0.1, 0.1, 0.2, 0.5], [np.nan] * 4])
    choices = choose_by_name(("cat", "lamp", "unseen"), OLD, 4, "auto")
    choices = choose_by_score(choices, OLD, scores)
    assert rows(choices) == [2, 3, None]
    assert str(choices[1]) == "lamp from traffic light (fires most, mean score 0.500)"


def test_a_class_without_a_name_has_a_number():
    (choice,) = choose_by_score(choose_by_name(("lamp",), OLD, 4, "auto"), OLD, np.eye(4)[1:2])
    assert choice.old == "class 2"


def test_scores_are_means_over_the_anchors_that_answer_for_a_class():
    class Network:
        """Says class 2 at anchor 5, and class 0 elsewhere."""

        distribute_strategy = tf.distribute.get_strategy()

        def predict_on_batch(self, images):
            logits = np.full((len(images), len(TINY.anchors), 3), -100.0)
            logits[..., 0] = 100.0
            logits[:, 5] = (-100.0, -100.0, 100.0)
            return {"class_logits": logits}

    corners = np.asarray(box_ops.centers_to_corners(TINY.anchors))
    targets = {
        "boxes": tf.constant(corners[None, [5, 30]]),
        "class_ids": tf.constant([[1, 0]], tf.int32),
    }
    images = np.zeros((1, 64, 64, 3), np.uint8)
    scores = mean_scores(Network(), TINY, [(images, targets)], 3, match_iou=0.99)
    np.testing.assert_allclose(scores[:2], [[1, 0, 0], [0, 0, 1]], atol=1e-9)
    assert np.isnan(scores[2]).all()


def test_a_class_scores_as_the_class_that_its_weights_come_from():
    old_config = TINY.model_copy(update={"num_classes": 4})
    old, new = build_network(old_config), build_network(TINY)
    randomize(old)
    randomize(new, seed=1)
    fresh = new.get_layer("class_head_2").get_weights()
    for layer in new.layers:
        if layer.weights and "class" not in layer.name:
            layer.set_weights(old.get_layer(layer.name).get_weights())
    choices = choose_by_name(("cat", "zebra", "traffic light"), OLD, 4, "by_name")
    copy_class_heads(new, old, choices, 4)
    images = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3))
    expected = old.predict_on_batch(images)["class_logits"]
    received = new.predict_on_batch(images)["class_logits"]
    np.testing.assert_allclose(received[..., [0, 2]], expected[..., [2, 3]], rtol=1e-4, atol=1e-4)
    kernel, bias = new.get_layer("class_head_2").get_weights()
    np.testing.assert_array_equal(kernel[..., 1::3], fresh[0][..., 1::3])
    assert bias[1::3] == pytest.approx(fresh[1][1::3])
