import keras
import numpy as np
import pytest
import tensorflow as tf

from models.networks.boxes import decode, encode
from models.networks.families import build_network, normalize
from models.networks.folding import fold_batch_norms
from models.training.detector import Detector, NonFiniteImage
from models.training.losses import (
    giou_loss,
    overlaps_of_pairs,
    quality_focal_loss,
    sigmoid_focal_loss,
    smooth_l1_loss,
)
from models.training.matching import assign_targets
from models.training.optimizer import make_optimizer
from tests.models.helpers import KINDS, TINY, random_boxes, randomize, settle, training

SETTINGS = training(focal_alpha=0.6, focal_gamma=1.5, localization_weight=0.7)


@pytest.fixture(scope="module")
def detector():
    network = build_network(TINY)
    randomize(network)
    model = Detector(network, TINY, SETTINGS)
    model.compile(optimizer="sgd")
    return model


def batch(num_boxes):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 64, 64, 3), np.uint8)
    class_ids = np.full((3, 4), -1, np.int32)
    class_ids[:, :num_boxes] = rng.integers(0, 3, (3, num_boxes))
    boxes = random_boxes(rng, 12).reshape(3, 4, 4)
    return images, {
        "boxes": boxes,
        "class_ids": class_ids,
        "image_index": np.arange(3, dtype=np.int32),
    }


@pytest.mark.parametrize("num_boxes", [0, 1, 4])
def test_the_loss_is_both_terms_divided_by_the_matches_and_l2(detector, num_boxes):
    images, targets = batch(num_boxes)
    outputs = detector(images)
    assigned = assign_targets(
        targets["boxes"], targets["class_ids"], TINY.anchors, 3, iou_threshold=0.5
    )
    # At least one match a batch, of which these images are a part.
    least = len(images) / detector.settings.batch_size
    matches = max(float(np.sum(assigned.matched)), least)
    focal = np.sum(sigmoid_focal_loss(outputs["class_logits"], assigned.class_targets, 0.6, 1.5))
    encoded = encode(assigned.boxes, TINY.anchors)
    l1 = np.sum(smooth_l1_loss(outputs["box_encodings"], encoded, assigned.matched))
    l2 = float(sum(detector.network.losses))
    detector.reset_metrics()
    loss = float(detector.compute_loss(images, targets, outputs))
    assert loss == pytest.approx((focal + 0.7 * l1) / matches + l2, rel=1e-4)
    terms = detector.get_metrics_result()
    assert float(terms["classification_loss"]) == pytest.approx(focal / matches, rel=1e-4)
    assert float(terms["localization_loss"]) == pytest.approx(0.7 * l1 / matches, rel=1e-4)
    assert (l1 == 0) == (num_boxes == 0)
    assert float(terms["non_finite_image"]) == -1


@pytest.mark.parametrize("class_loss", ["focal", "quality_focal"])
def test_anchors_in_crowds_are_trained_on_only_where_an_object_is_labelled(detector, class_loss):
    images, targets = batch(1)
    targets["boxes"][:, 1] = [0.0, 0.0, 1.0, 1.0]
    model = Detector(detector.network, TINY, training(class_loss=class_loss))
    outputs = detector(images)
    changed = {**outputs, "class_logits": outputs["class_logits"] + 1.0}
    assigned = assign_targets(
        targets["boxes"], targets["class_ids"], TINY.anchors, 3, iou_threshold=0.5
    )
    matched = np.asarray(assigned.matched)[:, :, None] > 0
    only_background = {
        **outputs, "class_logits": np.where(matched, outputs["class_logits"],
                                            changed["class_logits"])
    }  # fmt: skip

    def loss(y_pred, crowd):
        flags = {} if crowd is None else {"crowd": np.zeros((3, 4), bool)}
        if crowd:
            flags["crowd"][:, 1] = True
        return float(model.compute_loss(images, targets | flags, y_pred))

    assert loss(outputs, crowd=False) == loss(outputs, crowd=None)
    assert loss(only_background, crowd=None) > loss(outputs, crowd=None) + 0.01
    # The crowd is the whole picture: no anchor but those of the object can change the loss.
    assert loss(only_background, crowd=True) == loss(outputs, crowd=True)
    assert loss(changed, crowd=True) != loss(outputs, crowd=True)


@pytest.mark.parametrize("num_boxes", [0, 4])
def test_other_losses_and_matching_are_what_the_settings_say(num_boxes):
    settings = training(matching="atss", box_loss="giou", class_loss="quality_focal")
    detector = Detector(build_network(TINY), TINY, settings)
    images, targets = batch(num_boxes)
    outputs = detector(images)
    assigned = assign_targets(
        *(targets["boxes"], targets["class_ids"], TINY.anchors, 3),
        iou_threshold=0.5,
        cell_sizes=TINY.cell_sizes,
    )
    iou, giou = overlaps_of_pairs(decode(outputs["box_encodings"], TINY.anchors), assigned.boxes)
    matched = np.asarray(assigned.matched)
    quality = quality_focal_loss(
        outputs["class_logits"], assigned.class_targets, np.asarray(iou) * matched, 2.0
    )
    matches = max(matched.sum(), len(images) / settings.batch_size)
    detector.reset_metrics()
    detector.compute_loss(images, targets, outputs)
    terms = detector.get_metrics_result()
    assert float(terms["classification_loss"]) == pytest.approx(np.sum(quality) / matches, rel=1e-4)
    expected = np.sum(giou_loss(giou, matched)) / matches
    assert float(terms["localization_loss"]) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_an_infinite_box_of_an_unmatched_anchor_leaves_the_gradient_finite():
    settings = training(matching="atss", box_loss="giou", class_loss="quality_focal")
    detector = Detector(build_network(TINY), TINY, settings)
    images, targets = batch(1)
    outputs = detector(images)
    assigned = assign_targets(
        *(targets["boxes"], targets["class_ids"], TINY.anchors, 3),
        iou_threshold=0.5,
        cell_sizes=TINY.cell_sizes,
    )
    unmatched = np.asarray(assigned.matched)[..., None] == 0
    encodings = tf.constant(np.where(unmatched, 1e4, outputs["box_encodings"]))
    with tf.GradientTape() as tape:
        tape.watch(encodings)
        loss = detector.compute_loss(images, targets, outputs | {"box_encodings": encodings})
    assert np.isfinite(float(loss))
    assert np.isfinite(tape.gradient(loss, encodings)).all()


def test_pixels_are_normalised_inside(detector):
    images, _ = batch(0)
    expected = detector.network(normalize(images), training=False)
    np.testing.assert_array_equal(detector(images)["class_logits"], expected["class_logits"])


def test_the_image_with_a_non_finite_loss_is_recorded():
    metric = NonFiniteImage()
    metric.update_state(np.float32([1, 2]), np.int32([7, 8]))
    assert float(metric.result()) == -1
    metric.update_state(np.float32([np.inf, 2]), np.int32([0, 8]))
    assert float(metric.result()) == 0
    metric.update_state(np.float32([1, 2]), np.int32([7, 8]))
    assert float(metric.result()) == 0
    metric.reset_state()
    metric.update_state(np.float32([1, np.nan]), np.int32([7, 8]))
    assert float(metric.result()) == 8


@pytest.mark.slow
@pytest.mark.parametrize("quantized", [False, True], ids=["float", "quantized"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_few_steps_reduce_the_loss(kind, quantized):
    config = KINDS[kind]
    # Without batch norms, fifty layers take smaller steps.
    rate = 0.003 if config.family == "retinanet" else 0.01
    settings = training(optimizer="adam", learning_rate=rate, steps=100)
    keras.utils.set_random_seed(0)
    network = float_network = build_network(config)
    images, targets = batch(2)
    if quantized:
        network = build_network(config, quantized=True)
        settle(float_network, normalize(images))
        fold_batch_norms(float_network, network)
    model = Detector(network, config, settings)
    model.compile(optimizer=make_optimizer(settings))
    data = tf.data.Dataset.from_tensors((images, targets)).repeat()
    losses = model.fit(data, steps_per_epoch=1, epochs=15, shuffle=False, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.6 * losses[0]
