import subprocess
import sys

import pytest
from pydantic import ValidationError

from models import settings


@pytest.mark.parametrize(
    ("group", "values"),
    [
        (settings.ModelSettings, {"input_size": 32}),
        (settings.ModelSettings, {"depth_multiplier": 2.0}),
        (settings.ModelSettings, {"head_kernel_size": 2}),
        (settings.ModelSettings, {"class_bias": float("nan")}),
        (settings.ModelSettings, {"min_scale": 0.9, "max_scale": 0.5}),
        (settings.ModelSettings, {"family": "yolo"}),
        (settings.PyramidSettings, {"min_level": 2}),
        (settings.PyramidSettings, {"max_level": 8}),
        (settings.PyramidSettings, {"anchor_scale": 0.0}),
        (settings.Augmentation, {"crop_probability": 1.5}),
        (settings.Augmentation, {"crop_probability": 0.7, "zoom_out_probability": 0.7}),
        (settings.Augmentation, {"zoom_out_max": 0.5}),
        (settings.TrainingSettings, {"steps": 0}),
        (settings.TrainingSettings, {"learning_rate": -0.1}),
        (settings.TrainingSettings, {"learning_rate": float("inf")}),
        (settings.TrainingSettings, {"frozen_blocks": 14}),
        (settings.TrainingSettings, {"optimizer": "lamb"}),
        (settings.PostProcessing, {"max_detections": 0}),
        (settings.PostProcessing, {"score_threshold": 1.0}),
    ],
)
def test_invalid_values_are_rejected(group, values):
    with pytest.raises(ValidationError):
        group(**values)


def test_unknown_settings_are_rejected():
    with pytest.raises(ValidationError, match="lerning_rate"):
        settings.TrainingSettings(lerning_rate=0.1)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"family": "ssd", "pyramid": {"min_level": 4}}, "pyramid"),
        ({"family": "ssd_fpn", "min_scale": 0.3}, "min_scale"),
        ({"family": "ssd_fpn", "min_scale": None}, "min_scale"),
        ({"family": "ssd_fpn", "resnet_activation": "relu6"}, "resnet_activation"),
        ({"family": "retinanet", "head_kernel_size": 3}, "head_kernel_size"),
        ({"family": "retinanet", "extra_depth_multiplier": 0.5}, "extra_depth_multiplier"),
    ],
)
def test_settings_that_a_family_ignores_are_rejected(values, name):
    with pytest.raises(ValidationError, match=rf"model\.{name} has no effect on model\.family="):
        settings.ModelSettings(**values)


def test_a_weight_that_the_quality_focal_loss_ignores_is_rejected():
    with pytest.raises(ValidationError, match=r"training\.focal_alpha has no effect on"):
        settings.TrainingSettings(class_loss="quality_focal", focal_alpha=0.25)


def test_settings_are_immutable():
    with pytest.raises(ValidationError):
        settings.Augmentation().flip = True


@pytest.mark.parametrize(
    "group",
    [
        settings.ModelSettings,
        settings.PyramidSettings,
        settings.Augmentation,
        settings.TrainingSettings,
        settings.PostProcessing,
    ],
)
def test_every_setting_is_documented(group):
    assert all(field.description for field in group.model_fields.values())


def test_settings_are_read_without_keras():
    program = "import sys, models.settings; print({'keras', 'tensorflow'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert result.stdout.strip() == b"set()"
