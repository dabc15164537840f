import dataclasses

import keras
import numpy as np
import pytest
from keras import layers

from models.networks.families import DetectorConfig, normalize
from models.networks.post_processing import post_process
from models.settings import PostProcessing
from models.tflite.agreement import Agreement
from models.tflite.export import export_tflite
from pipeline.errors import UserError
from pipeline.settings import RewriterSettings
from pipeline.shipping.comparison import (
    Comparison,
    MapDrop,
    Picture,
    compare_with_network,
    refuse_broken_file,
)

CONFIG = DetectorConfig(num_classes=3, input_size=64)
SETTINGS = PostProcessing(score_threshold=0.3, max_detections=20)
IMAGES = np.random.default_rng(5).integers(0, 256, (40, 64, 64, 3), np.uint8)
NO_OBJECTS = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)


class ShuffledAnchors(DetectorConfig):
    """Anchors in an order that is not the network's."""

    @property
    def anchors(self):
        return CONFIG.anchors[::-1].copy()


@pytest.fixture(scope="module")
def network():
    """A linear network that the converter is done with in a second."""
    keras.utils.set_random_seed(0)
    image = keras.Input((64, 64, 3))
    pooled = layers.Flatten()(layers.AveragePooling2D(16)(image))
    count = len(CONFIG.anchors)

    def output(width, deviation, name):
        initializer = keras.initializers.RandomNormal(stddev=deviation)
        flat = layers.Dense(count * width, kernel_initializer=initializer, name=name)(pooled)
        return layers.Reshape((count, width))(flat)

    return keras.Model(
        image,
        {"box_encodings": output(4, 4.0, "boxes"), "class_logits": output(3, 4.0, "logits")},
    )


@pytest.fixture(scope="module")
def pictures(network):
    """Pictures whose objects are what the network is surest of, and every fourth has none."""
    outputs = network.predict_on_batch(np.asarray(normalize(IMAGES)))
    made = []
    for row, image in enumerate(IMAGES):
        objects = NO_OBJECTS
        if row % 4:
            found = post_process(
                outputs["box_encodings"][row],
                outputs["class_logits"][row],
                CONFIG.anchors,
                SETTINGS,
            )
            objects = found.boxes[:2], found.class_ids[:2]
        made.append(Picture(image, *objects))
    return made


def changed(network, **change):
    """A copy of the network with the kernels and biases of a layer replaced."""
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    for name, replace in change.items():
        layer = copy.get_layer(name)
        layer.set_weights([replace(weights) for weights in layer.get_weights()])
    return copy


def noisy(weights):
    return weights + np.random.default_rng(0).normal(0, 0.1, weights.shape)


def swapped_classes(weights):
    by_anchor = weights.reshape(*weights.shape[:-1], -1, 3)
    return by_anchor[..., [1, 2, 0]].reshape(weights.shape)


def compare(network, pictures, folder, exported=None, config=CONFIG):
    content = export_tflite(exported or network, config, SETTINGS, str(folder), quantize=False)
    return compare_with_network(network, CONFIG, SETTINGS, content, pictures)


def test_a_faithful_file_passes(network, pictures, tmp_path):
    found = compare(network, pictures, tmp_path)
    refuse_broken_file(found, RewriterSettings())
    assert found.map50.file == found.map50.network > 0.5
    assert (found.detections.num_images, found.num_labelled) == (40, 30)
    assert "mAP@.5" in str(found)


def test_a_good_file_passes_though_detections_near_the_threshold_flip(network, pictures, tmp_path):
    found = compare(network, pictures, tmp_path, changed(network, logits=noisy, boxes=noisy))
    assert found.detections.shares["all"] < 0.95
    refuse_broken_file(found, RewriterSettings())


@pytest.mark.parametrize(
    ("change", "config", "problem"),
    [
        ({}, ShuffledAnchors, r"mAP@\.5 0\.\d+, the network has \S+: a drop of at least"),
        ({"boxes": np.zeros_like}, DetectorConfig, r"raw box encodings differ by [01]\.\d+"),
        ({"logits": np.zeros_like}, DetectorConfig, r"raw scores differ by [01]\.\d+"),
        ({"logits": swapped_classes}, DetectorConfig, r"raw scores differ .* mAP@\.5 0\.\d+"),
    ],
    ids=["shuffled anchors", "zeroed boxes", "zeroed scores", "swapped classes"],
)
def test_a_broken_file_is_refused_in_one_line(network, pictures, tmp_path, change, config, problem):
    found = compare(
        network, pictures, tmp_path, changed(network, **change), config(**CONFIG.model_dump())
    )
    with pytest.raises(UserError, match=rf"{problem}.*40 evaluation pictures.*quantization=aware"):
        refuse_broken_file(found, RewriterSettings())


def test_few_pictures_are_judged_by_the_raw_outputs_alone(network, pictures, tmp_path):
    found = compare(network, pictures[:4], tmp_path, config=ShuffledAnchors(**CONFIG.model_dump()))
    assert found.num_labelled == 3
    assert found.map50.network - found.map50.file > 0.3
    assert np.isnan(found.map50.least)
    refuse_broken_file(found, RewriterSettings())


def test_without_labelled_objects_the_raw_outputs_are_compared(network, tmp_path):
    pictures = [Picture(image, *NO_OBJECTS) for image in IMAGES[:6]]
    found = compare(network, pictures, tmp_path / "good")
    refuse_broken_file(found, RewriterSettings())
    assert "no objects are labelled" in str(found)
    assert "map50_of_file" not in found.properties()
    broken = compare(network, pictures, tmp_path / "broken", changed(network, boxes=np.zeros_like))
    with pytest.raises(UserError, match="raw box encodings"):
        refuse_broken_file(broken, RewriterSettings())


def test_the_same_pictures_give_the_same_figures(network, pictures, tmp_path):
    exported = changed(network, boxes=noisy)
    first, second = (compare(network, pictures, tmp_path / name, exported) for name in "ab")
    assert first == second


GOOD = Comparison(
    num_labelled=43,
    map50=MapDrop(0.9, 0.9, -0.01),
    map=MapDrop(0.6, 0.6, -0.01),
    box_error=0.05,
    score_error=0.1,
    detections=Agreement(
        num_images=43,
        num_expected=100,
        num_received=100,
        num_pairs=100,
        num_unpaired=0,
        num_classes=100,
        num_boxes=96,
        num_scores=100,
        num_matched=96,
        max_score_difference=0.05,
        min_iou=0.5,
    ),
)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"box_error": 0.3, "score_error": 0.3},
        {"map50": MapDrop(0.9, 0.89, 0.009)},
        {"map50": MapDrop(0.9, 0.8, -0.01), "map": MapDrop(0.6, 0.5, 0.01)},
        {"map50": MapDrop(0.9, 0.1, float("nan"))},
        {"detections": dataclasses.replace(GOOD.detections, num_matched=0)},
    ],
)
def test_what_is_within_the_limits_passes(change):
    refuse_broken_file(dataclasses.replace(GOOD, **change), RewriterSettings())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"box_error": 0.31}, r"raw box encodings differ by 0\.310 .*rewriter\.max_raw_box_error"),
        ({"score_error": 0.31}, r"raw scores differ by 0\.310 .*rewriter\.max_raw_score_error"),
        ({"score_error": float("nan")}, "raw scores differ by nan"),
        ({"map50": MapDrop(0.9, 0.85, 0.02)}, r"mAP@\.5 0\.850, the network has 0\.900: .* 0\.020"),
        ({"map": MapDrop(0.6, 0.5, 0.05)}, r"mAP@\[\.5:\.95\] 0\.500, the network has 0\.600"),
    ],
)
def test_the_figure_over_its_limit_is_named(change, problem):
    with pytest.raises(UserError, match=problem):
        refuse_broken_file(dataclasses.replace(GOOD, **change), RewriterSettings())


def test_a_larger_drop_may_be_allowed():
    found = dataclasses.replace(GOOD, map50=MapDrop(0.9, 0.85, 0.02))
    refuse_broken_file(found, RewriterSettings(max_map_drop=0.05))


def test_the_figures_are_properties():
    properties = GOOD.properties()
    assert properties["agreement"] == 0.96
    assert properties["agreement_scores"] == 1
    assert properties["compared_detections"] == 100
    assert properties["compared_labelled_images"] == 43
    assert properties["map50_of_network"] == 0.9
    assert properties["raw_score_error"] == 0.1


@pytest.mark.parametrize(
    ("forms", "message"),
    [
        ({"detect_raw.tflite": 0.703}, "0.7030 of detect_raw.tflite, 0.7000 of the file"),
        ({"detect_raw.tflite": 0.697}, "0.6970 of detect_raw.tflite, 0.7000 of the file"),
        ({"detect_float16.tflite": 0.68}, "0.680 of detect_float16.tflite, the network has 0.710"),
        ({"detect_raw.tflite": 0.7015, "detect_float16.tflite": 0.705}, None),
        ({"detect_raw.tflite": float("nan")}, None),  # nothing is labelled
    ],
)
def test_each_raw_form_must_find_what_it_should(forms, message):
    drop = MapDrop(network=0.71, file=0.7, least=0.0)
    agreement = Agreement(10, 9, 9, 9, 0, 9, 9, 9, 9, 0.0, 1.0)
    found = Comparison(10, drop, drop, 0.0, 0.0, agreement, forms=forms)
    if message is None:
        refuse_broken_file(found, RewriterSettings())
    else:
        with pytest.raises(UserError, match=message):
            refuse_broken_file(found, RewriterSettings())
