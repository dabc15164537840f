import dataclasses
import logging
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from models.settings import ModelSettings
from pipeline import lane
from pipeline.errors import UserError
from pipeline.training import trainer
from pipeline.training.transformed_examples import TransformedExamples

EXAMPLES = TransformedExamples(
    records=tf.data.Dataset.range(0),
    image_ids=["a", "b"],
    class_ids=np.array([0, 1, 1]),
    most_boxes=2,
    max_boxes=2,
    box_sizes=np.linspace(0.1, 0.9, 21, dtype=np.float32),
    box_ratios=np.ones(21, np.float32),
)


def with_box_sizes(small):
    return dataclasses.replace(EXAMPLES, box_sizes=np.full(21, small, np.float32))


def test_the_smallest_scale_follows_the_boxes():
    small, large = (
        trainer.detector_config(ModelSettings(min_scale=None), 3, with_box_sizes(size))
        for size in (0.08, 0.5)
    )
    assert 0.05 <= small.min_scale < 0.25 < large.min_scale
    assert small.num_classes == 3


def test_a_configured_scale_is_kept():
    config = trainer.detector_config(ModelSettings(min_scale=0.2), 3, with_box_sizes(0.01))
    assert config.min_scale == 0.2


@pytest.mark.parametrize(("weights", "frozen"), [("", 0), ("imagenet", 4)])
def test_random_weights_are_not_frozen(weights, frozen, caplog):
    training = {"frozen_blocks": 4, "frozen_batch_norms": True, "steps": 7}
    settings = {"training": training, "warm_start": {"weights": weights}}
    with caplog.at_level(logging.INFO, "detector"):
        found = trainer.training_settings_of(settings)
    assert (found.frozen_blocks, found.frozen_batch_norms, found.steps) == (frozen, bool(frozen), 7)
    assert ("nothing is frozen" in caplog.text) == (not frozen)


def test_images_without_objects_stop_the_training():
    empty = dataclasses.replace(EXAMPLES, class_ids=np.array([], np.int64))
    with pytest.raises(UserError, match="none in 2 images"):
        trainer._check_classes(empty, ["cat", "dog"])


def test_a_class_without_images_is_named_in_a_warning(caplog):
    with caplog.at_level(logging.WARNING, "detector"):
        trainer._check_classes(EXAMPLES, ["cat", "dog"])
        assert not caplog.messages
        trainer._check_classes(EXAMPLES, ["cat", "dog", "rabbit"])
    assert "no training image shows rabbit" in caplog.text


def test_a_training_run_is_named_by_everything_that_decides_it():
    arguments = SimpleNamespace(train_files=["t"], eval_files=["e"], schema_path="s")
    config = {
        "settings": {"training": {"steps": 5}},
        "code_fingerprint": "1",
        "state_dir": "/pets/checkpoints",
    }
    key = trainer._state_key(arguments, config)
    assert key == trainer._state_key(arguments, dict(reversed(config.items())))
    others = [
        (arguments, {**config, "code_fingerprint": "2"}),
        (arguments, {**config, "settings": {"training": {"steps": 6}}}),
        (SimpleNamespace(train_files=["u"], eval_files=["e"], schema_path="s"), config),
        (SimpleNamespace(train_files=["t"], eval_files=["e"], schema_path="z"), config),
    ]
    assert len({key} | {trainer._state_key(*other) for other in others}) == 5
    # A run that is submitted again resumes, with another limit and on another machine.
    for machine, run in (("tpu", "run-1"), ("gpu", "run-2")):
        service = {"ai_platform_training_args": {"machine": machine, "labels": {"run": run}}}
        assert trainer._state_key(arguments, {**config, **service}) == key


@pytest.mark.parametrize(("required", "expected"), [("GPU:1", "1 GPU"), ("CPU:9", "9 CPU")])
def test_an_accelerator_that_is_paid_for_and_missing_stops_the_training_before_data_is_read(
    required, expected, monkeypatch
):
    monkeypatch.setenv(trainer.REQUIRED_DEVICES, required)
    settings = {"training": {"steps": 5}, "warm_start": {"weights": ""}, "quantization": "none"}
    # Nothing else is there, so nothing else was looked at.
    arguments = SimpleNamespace(custom_config={"settings": settings})
    with pytest.raises(UserError, match=f"Expected {expected} devices.*visible: .*CPU:0.*LD_LIB"):
        trainer.run_fn(arguments)
    monkeypatch.setenv(trainer.REQUIRED_DEVICES, "CPU:1")
    with pytest.raises(AttributeError, match="schema_path"):
        trainer.run_fn(arguments)


def test_an_image_with_another_tfx_than_the_job_s_trains_nothing(monkeypatch):
    monkeypatch.setenv(lane.REQUIRED_TFX, "1.2.3")
    settings = {"training": {"steps": 5}, "warm_start": {"weights": ""}, "quantization": "none"}
    with pytest.raises(UserError, match=r"Expected an image with TFX 1\.2\.3"):
        trainer.run_fn(SimpleNamespace(custom_config={"settings": settings}))
    monkeypatch.setenv(lane.REQUIRED_TFX, lane.TFX)
    with pytest.raises(AttributeError, match="schema_path"):
        trainer.run_fn(SimpleNamespace(custom_config={"settings": settings}))


def test_a_tpu_that_cannot_be_initialized_is_one_line(monkeypatch):
    monkeypatch.setenv("TPU_NAME", "local")
    settings = {"training": {"steps": 5}, "warm_start": {"weights": ""}, "quantization": "none"}
    with pytest.raises(UserError, match="Expected a TPU, since TPU_NAME is local") as caught:
        trainer.run_fn(SimpleNamespace(custom_config={"settings": settings}))
    assert "\n" not in str(caught.value)


def test_a_training_run_is_resumed_in_a_workdir_that_was_moved():
    def key(root, transform):
        arguments = SimpleNamespace(
            train_files=[f"{root}/pipeline_root/Transform/{transform}/Split-train/*"],
            eval_files=[f"{root}/pipeline_root/Transform/{transform}/Split-eval/*"],
            schema_path=f"{root}/pipeline_root/SchemaGen/schema/2/schema.pbtxt",
        )
        return trainer._state_key(arguments, {"state_dir": f"{root}/checkpoints"})

    assert key("/pets", 5) == key('/elsewhere/with "quotes"', 5) != key("/pets", 6)
