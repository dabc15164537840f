"""TF1 checkpoints of the Object Detection API's networks with a feature pyramid."""

import dataclasses

import numpy as np
import pytest

from models.networks.families import DetectorConfig, build_network
from models.settings import Augmentation, PyramidSettings
from models.training import input_pipeline
from models.weights import zoo
from models.weights.class_heads import choose_by_name, copy_class_heads
from models.weights.tf1_checkpoint import read_tf1_checkpoint, weights_of
from models.weights.zoo_start import load_zoo_weights, network_of
from tests.models.helpers import TINY_FPN, TINY_RETINANET, randomize, records
from tests.models.weights.api_files import pyramid_variables_of, write_checkpoint

# The zoo's form, but thin.
_THIN = PyramidSettings(depth=16, head_layers=2, head_depth=24)
CONFIGS = {
    "ssd_fpn": TINY_FPN.model_copy(update={"pyramid": _THIN}),
    "retinanet": TINY_RETINANET.model_copy(update={"pyramid": _THIN, "resnet_activation": "relu6"}),
}
IMAGES = np.random.default_rng(1).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)


def network_for(config):
    network = build_network(config)
    randomize(network)
    return network


@pytest.fixture(scope="module")
def networks():
    return {family: network_for(config) for family, config in CONFIGS.items()}


@pytest.fixture(scope="module")
def variables(networks):
    return {
        family: pyramid_variables_of(networks[family], config) for family, config in CONFIGS.items()
    }


def read(variables, checkpoint_type="detection", load_all=True):
    """As if the variables had been read from a file."""
    found = {
        name: (np.shape(value), value if np.asarray(value).dtype == np.float32 else None)
        for name, value in variables.items()
    }
    return weights_of(found, "zoo/model.ckpt", checkpoint_type, load_all)


def assert_same_outputs(received, expected):
    outputs = expected.predict_on_batch(IMAGES)
    for name, values in received.predict_on_batch(IMAGES).items():
        assert outputs[name].std() > 0
        np.testing.assert_allclose(values, outputs[name], rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    ("family", "count", "sample"),
    [
        (
            "ssd_fpn",
            1 + 135 + 26 + 172,
            {
                "FeatureExtractor/MobilenetV1/Conv2d_13_depthwise/depthwise_weights": (
                    3,
                    3,
                    1024,
                    1,
                ),
                "FeatureExtractor/MobilenetV1/fpn/projection_3/weights": (1, 1, 1024, 256),
                "FeatureExtractor/MobilenetV1/fpn/bottom_up_Conv2d_15/BatchNorm/beta": (256,),
            },
        ),
        (
            "retinanet",
            1 + 265 + 26 + 172,
            {
                "FeatureExtractor/resnet_v1_50/block2/unit_1/bottleneck_v1/shortcut/weights": (
                    *(1, 1, 256, 512),
                ),
                "FeatureExtractor/resnet_v1_50/fpn/projection_1/biases": (256,),
                "FeatureExtractor/resnet_v1_50/fpn/bottom_up_block6/weights": (3, 3, 256, 256),
            },
        ),
    ],
)
def test_a_checkpoint_has_the_variables_of_the_zoo(family, count, sample):
    config = DetectorConfig(family=family, num_classes=90, input_size=64, depth_multiplier=1.0)
    variables = pyramid_variables_of(build_network(config), config)
    assert len(variables) == count
    predictor = "WeightSharedConvolutionalBoxPredictor"
    sample |= {
        f"{predictor}/ClassPredictor/biases": (6 * 91,),
        f"{predictor}/BoxPredictor/weights": (3, 3, 256, 24),
        f"{predictor}/ClassPredictionTower/conv2d_3/weights": (3, 3, 256, 256),
        f"{predictor}/BoxPredictionTower/conv2d_0/BatchNorm/feature_4/moving_mean": (256,),
    }
    assert {name: np.shape(variables[name]) for name in sample} == sample


@pytest.mark.slow
@pytest.mark.parametrize("family", CONFIGS)
def test_a_checkpoint_computes_what_its_network_computed(networks, variables, family, tmp_path):
    prefix = write_checkpoint(str(tmp_path / "model.ckpt"), variables[family])
    weights = read_tf1_checkpoint(prefix)
    assert (weights.family, weights.num_classes) == (family, 3)
    assert zoo.fitted(weights, CONFIGS[family]) is weights
    received, config = network_of(weights, CONFIGS[family])
    np.testing.assert_array_equal(config.anchors, CONFIGS[family].anchors)
    assert_same_outputs(received, networks[family])


@pytest.mark.parametrize("family", CONFIGS)
def test_every_variable_is_accounted_for(networks, variables, family):
    weights = read(variables[family])
    assert sorted(row.name for row in weights.variables) == sorted(variables[family])
    assert {row.layer for row in weights.variables} - {""} == set(weights.layers)
    assert [row.name for row in weights.variables if not row.layer] == ["global_step"]
    layers = {layer.name.removesuffix("_bn") for layer in networks[family].layers if layer.weights}
    assert set(weights.layers) == layers - {"mean_colour"}


@pytest.mark.parametrize("family", CONFIGS)
def test_training_starts_with_the_rows_of_classes_of_the_same_name(networks, variables, family):
    weights = read(variables[family])
    config = CONFIGS[family].model_copy(update={"num_classes": 2})
    network = build_network(config)
    fresh = network.get_layer("class_head").get_weights()
    start = load_zoo_weights(
        network,
        config,
        dataclasses.replace(weights, class_names=("cat", "dog", "bird")),
        ("bird", "lamp"),
        heads="by_name",
        match_iou=0.5,
        batches=list,
    )
    assert [choice.row for choice in start.choices] == [2, None]
    assert start.unfolded == 0
    notes = {row.note for row in start.variables if row.layer == "class_head"}
    assert notes == {"the rows of bird"}
    expected = networks[family].predict_on_batch(IMAGES)
    received = network.predict_on_batch(IMAGES)
    np.testing.assert_allclose(
        received["box_encodings"], expected["box_encodings"], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(
        received["class_logits"][..., 0], expected["class_logits"][..., 2], rtol=1e-4, atol=1e-4
    )
    kernel, _ = network.get_layer("class_head").get_weights()
    np.testing.assert_array_equal(kernel[..., 1::2], fresh[0][..., 1::2])


@pytest.mark.parametrize(
    ("heads", "how", "note"),
    [
        ("auto", "fires most", "the rows of class"),
        ("fresh", "fresh", "left out: the class heads are fresh"),
    ],
)
def test_classes_without_names_are_chosen_by_score_or_stay_fresh(variables, heads, how, note):
    def batches():
        return input_pipeline.training_batches(
            records(num_classes=2),
            input_size=64,
            batch_size=4,
            max_boxes=4,
            augmentation=Augmentation(),
            seed=1,
            num_records=10,
        ).take(3)

    config = CONFIGS["ssd_fpn"].model_copy(update={"num_classes": 2})
    weights = read(variables["ssd_fpn"])
    start = load_zoo_weights(
        build_network(config),
        config,
        weights,
        ("lamp", "chair"),
        heads=heads,
        match_iou=0.5,
        batches=batches,
    )
    assert all(choice.how.startswith(how) for choice in start.choices)
    notes = {row.note for row in start.variables if "/ClassPredictor/" in row.name}
    assert all(text.startswith(note) for text in notes)


def test_the_rows_of_a_shared_head_are_in_each_of_its_anchors(networks):
    """Six anchors a cell: a class moves in all of them."""
    source = networks["ssd_fpn"]
    network = build_network(CONFIGS["ssd_fpn"])
    names = ("cat", "dog", "bird")
    copy_class_heads(network, source, choose_by_name(names[::-1], names, 3, "by_name"), 3)
    expected, received = (model.get_layer("class_head").kernel for model in (source, network))
    split = np.reshape(expected, (*expected.shape[:3], 6, 3))
    np.testing.assert_array_equal(np.reshape(received, split.shape), split[..., ::-1])


def test_without_all_variables_the_predictors_are_left_out(variables):
    weights = read(variables["ssd_fpn"], load_all=False)
    assert weights.num_classes == 0
    assert "projection_level_3" in weights.layers
    assert not [name for name in weights.layers if name.startswith(("box", "class"))]
    left_out = [row for row in weights.variables if row.name.startswith("WeightShared")]
    assert {(row.layer, row.note) for row in left_out} == {
        ("", "left out: load_all_detection_checkpoint_vars is off")
    }
    other_heads = CONFIGS["ssd_fpn"].pyramid.model_copy(update={"head_layers": 1})
    settings = CONFIGS["ssd_fpn"].model_copy(update={"pyramid": other_heads})
    assert zoo.fitted(weights, settings)


def test_a_classifier_of_tf_slim_gives_the_backbone(networks, variables):
    names = {
        name.removeprefix("FeatureExtractor/"): value
        for name, value in variables["retinanet"].items()
        if "/fpn/" not in name and "Predict" not in name
    }
    names |= {
        "resnet_v1_50/logits/weights": np.zeros((1, 1, 256, 1000), "f4"),
        "resnet_v1_50/mean_rgb": np.float32([123.68, 116.78, 103.94]),
    }
    weights = read(names, "classification")
    # ImageNet's activation or the zoo's, whatever the predictors.
    settings = TINY_RETINANET
    received, _ = network_of(zoo.fitted(weights, settings), settings)
    for name in ("conv1_bn", "conv5_block1_0_bn"):
        for ours, expected in zip(
            received.get_layer(name).get_weights(),
            networks["retinanet"].get_layer(name).get_weights(),
            strict=True,
        ):
            np.testing.assert_allclose(ours, expected, rtol=1e-5)
    notes = {row.name.rpartition("/")[2]: row.note for row in weights.variables if not row.layer}
    assert notes["mean_rgb"] == "left out: the network has the mean colour itself"
    assert notes["weights"] == "left out: a detector has no classifier"
    with pytest.raises(ValueError, match="fine_tune_checkpoint_type=classification"):
        read(names)


def test_a_pyramid_from_level_4_on_has_its_names_from_there(networks):
    pyramid = _THIN.model_copy(update={"min_level": 4, "max_level": 6})
    config = CONFIGS["ssd_fpn"].model_copy(update={"pyramid": pyramid})
    network = network_for(config)
    weights = read(pyramid_variables_of(network, config))
    received, _ = network_of(zoo.fitted(weights, config), config)
    assert_same_outputs(received, network)


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("ssd_fpn", {"depth_multiplier": 0.25}, r"--set model\.depth_multiplier=0\.125 "),
        ("ssd_fpn", {"max_level": 6}, r"model\.pyramid\.max_level=7 "),
        ("ssd_fpn", {"backbone_blocks": 12}, r"model\.backbone_blocks=13 "),
        ("ssd_fpn", {"min_level": 4}, r"model\.pyramid\.min_level=3 "),
        ("ssd_fpn", {"separable": True}, r"model\.pyramid\.separable=false "),
        ("ssd_fpn", {"head_layers": 4}, r"model\.pyramid\.head_layers=2 "),
        ("ssd_fpn", {"head_depth": 16}, r"model\.pyramid\.head_depth=24 "),
        ("ssd_fpn", {"anchor_scale": 3.0}, r"model\.pyramid\.anchor_scale=4\."),
        ("retinanet", {"resnet_activation": "relu"}, r"model\.resnet_activation=relu6 "),
        ("retinanet", {"family": "ssd_fpn"}, r"an ssd_resnet50_v1_fpn, .*family=retinanet\."),
    ],
)
def test_other_settings_name_those_that_fit(variables, family, change, message):
    config = CONFIGS[family]
    if set(change) <= set(PyramidSettings.model_fields):
        change = {"pyramid": config.pyramid.model_copy(update=change)}
    with pytest.raises(ValueError, match=message) as error:
        zoo.fitted(read(variables[family]), config.model_copy(update=change))
    assert str(error.value).startswith("Expected weights for")


def test_an_open_anchor_scale_becomes_that_of_the_box_heads(variables):
    open_scale = _THIN.model_copy(update={"anchor_scale": None})
    settings = CONFIGS["ssd_fpn"].model_copy(update={"pyramid": open_scale})
    weights = read(variables["ssd_fpn"])
    assert zoo.fitted(weights, settings) is weights
    assert zoo.with_anchors(settings, weights).pyramid.anchor_scale == 4.0
    without_heads = read(variables["ssd_fpn"], load_all=False)
    assert zoo.with_anchors(settings, without_heads).pyramid.anchor_scale is None


_FPN = "FeatureExtractor/resnet_v1_50/fpn/"
_HEADS = "WeightSharedConvolutionalBoxPredictor/"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({f"{_HEADS}BoxPredictionTower/conv2d_0/biases": np.zeros(24, "f4")}, "conv2d_0/biases"),
        ({f"{_FPN}smoothing_1/biases": np.zeros(16, "f4")}, "smoothing_1/biases"),
        (f"{_FPN}bottom_up_block5", "none for bottom_up_level_6"),
        (f"{_FPN}projection_3", "none for projection_level_5"),
        (f"{_HEADS}BoxPredictionTower/conv2d_1/weights", "none for box_tower_1"),
        (f"{_HEADS}BoxPredictionTower/conv2d_1/BatchNorm/feature_4/", "box_tower_1_level_7"),
        (f"{_FPN}smoothing_1/BatchNorm/beta", "beta, .* for smoothing_level_3"),
        ("FeatureExtractor/resnet_v1_50/block", "Object Detection API's ssd_resnet50_v1_fpn"),
    ],
)
def test_missing_and_extra_variables_are_named(variables, change, message):
    changed = dict(variables["retinanet"])
    if isinstance(change, dict):
        changed |= change
    else:
        changed = {name: a for name, a in changed.items() if not name.startswith(change)}
    with pytest.raises(ValueError, match=message) as error:
        read(changed)
    assert str(error.value).startswith("Expected")
    assert "Received: zoo/model.ckpt" in str(error.value)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("ClassPredictor/weights", (3, 3, 24, 25), r"Expected a kernel of shape .* class_head\."),
        ("BoxPredictionTower/conv2d_1/BatchNorm/feature_2/gamma", (8,), "box_tower_1_level_5"),
        ("ClassPredictor/weights", (3, 3, 24, 6), "a background and a class at least"),
    ],
)
def test_wrong_shapes_are_named(variables, name, shape, message):
    changed = variables["ssd_fpn"] | {_HEADS + name: np.zeros(shape, "f4")}
    with pytest.raises(ValueError, match=message):
        zoo.fitted(read(changed), CONFIGS["ssd_fpn"])


def test_a_pyramid_gives_its_backbone_to_ssd(variables):
    settings = TINY_FPN.model_copy(update={"family": "ssd", "pyramid": PyramidSettings()})
    weights = zoo.fitted(read(variables["ssd_fpn"]), settings)
    assert len(weights.layers) == 27
    notes = {row.note for row in weights.variables if row.name.startswith(_HEADS)}
    assert notes == {"left out: ssd has no such layer"}
