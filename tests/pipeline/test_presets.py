import os

import pytest

from pipeline import presets
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
    assert {"demo", "small_data_cpu", "ssd_mobilenet_v1_075_300_pets"} <= set(presets.names())
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


def test_an_unknown_preset_lists_those_that_exist():
    with pytest.raises(UserError, match=r"'nonsense'.*demo, small_data_cpu"):
        presets.load("nonsense")
