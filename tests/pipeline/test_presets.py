import os

import pytest

from pipeline import presets
from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.fingerprint import ROOT


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_is_whole(name):
    config = presets.load(name)
    assert config.preset == name
    assert config.evaluation.min_map50, "without a threshold a run refuses to start"
    assert len(presets.describe(name)) > 40
    if config.schema_dir:
        assert os.path.isfile(ROOT / config.schema_dir / "schema.pbtxt")


def test_the_presets_that_are_promised_exist():
    assert set(presets.names()) >= {
        "demo",
        "retinanet_mobilenet_v1_640_tpu",
        "retinanet_resnet50_640_tpu",
        "small_data_cpu",
        "ssd_mobilenet_v1_075_300_pets",
    }
    assert presets.DEFAULT == "demo"


def test_presets_do_not_share_a_pipeline():
    """Models are compared with the last blessed one under the same name."""
    configs = [presets.load(name) for name in presets.names()]
    assert len({config.name for config in configs}) == len(configs)


def test_the_2018_recipe():
    config = presets.load("ssd_mobilenet_v1_075_300_pets")
    flat = config.flat()
    expected = {
        "model.input_size": 300,
        "model.depth_multiplier": 0.75,
        "model.bn_momentum": 0.9,
        "model.bn_epsilon": 1e-3,
        "model.l2": 4e-5,
        "model.class_bias": -4.6,
        "training.batch_size": 128,
        "training.steps": 2000,
        "training.optimizer": "momentum",
        "training.learning_rate": 0.2,
        "training.focal_alpha": 0.75,
        "training.focal_gamma": 2.0,
        "training.quantization_delay": 1800,
        "post_processing.iou_threshold": 0.6,
        "augmentation.flip": True,
        "data.class_from": "filename",
    }
    assert {name: flat[name] for name in expected} == expected
    assert config.augmentation.crop_probability > 0


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("mobilenet_v1", {"model.family": "ssd_fpn", "model.l2": 4e-5}),
        (
            "resnet50",
            {"model.family": "retinanet", "model.l2": 4e-4, "model.resnet_activation": "relu6"},
        ),
    ],
)
def test_the_retinanets_of_the_zoo(name, backbone):
    config = presets.load(f"retinanet_{name}_640_tpu")
    assert PipelineConfig.model_validate(config.model_dump()) == config
    flat = config.flat()
    expected = {
        "model.input_size": 640,
        "model.depth_multiplier": 1.0,
        "model.bn_momentum": 0.997,
        "model.bn_epsilon": 1e-3,
        "model.class_bias": -4.6,
        "model.pyramid.min_level": 3,
        "model.pyramid.max_level": 7,
        "model.pyramid.depth": 256,
        "model.pyramid.head_layers": 4,
        "model.pyramid.head_depth": 256,
        "model.pyramid.separable": False,
        "model.pyramid.anchor_scale": 4.0,
        "training.batch_size": 64,
        "training.steps": 25_000,
        "training.optimizer": "momentum",
        "training.learning_rate": 0.04,
        "training.warmup_steps": 2000,
        "training.focal_alpha": 0.25,
        "training.focal_gamma": 2.0,
        "training.match_iou": 0.5,
        "training.frozen_blocks": 0,
        "post_processing.iou_threshold": 0.6,
        "post_processing.max_detections": 100,
        "augmentation.flip": True,
        "augmentation.crop_probability": 1.0,
        "augmentation.crop_min_area": 0.75,
    }
    expected |= backbone
    assert {name: flat[name] for name in expected} == expected


def test_an_unknown_preset_lists_those_that_exist():
    with pytest.raises(UserError, match=r"'nonsense'.*demo, .*small_data_cpu"):
        presets.load("nonsense")
