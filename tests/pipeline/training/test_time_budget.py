"""The plan of a run within some minutes, and whole Trainers that follow one."""

import json
import logging
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from models.settings import ModelSettings, TrainingSettings
from models.training.plan import PLANNED, Rates, TooLittleTimeError
from models.training.rates import measure_rates
from pipeline import features
from pipeline.config import PipelineConfig, override
from pipeline.errors import UserError
from pipeline.fingerprint import ROOT
from pipeline.settings import TransformSettings
from pipeline.training import time_budget, trainer
from tests.models.helpers import records
from tests.pipeline.training.test_transformed_examples import feature

SETTINGS = TrainingSettings(
    minutes=5, steps=900, quantization_delay=600, warmup_steps=50, eval_every=25
)
RATES = Rates(float_step=0.5, quantized_step=0.8, evaluation=2.0, set_up=10.0)


@pytest.fixture(autouse=True)
def no_local_run(monkeypatch):
    """As on Vertex AI: nothing ran before the Trainer."""
    monkeypatch.setattr(time_budget, "_run_started", None)


def left(minutes=5, evaluation=2.0, trainer_started=0.0):
    rates = Rates(0.5, 0.8, evaluation)
    return time_budget.time_left(minutes, time.monotonic() - trainer_started, rates)


def test_without_a_local_run_the_minutes_are_the_trainers():
    assert left(trainer_started=20) == pytest.approx(300 - 20, abs=1)


def test_a_local_run_also_needs_time_before_and_after_the_trainer(monkeypatch):
    time_budget.start_clock()
    assert left() == pytest.approx(300 - 26 - 8, abs=1)
    monkeypatch.setattr(time_budget, "_run_started", time.monotonic() - 60)
    assert left(trainer_started=20) == pytest.approx(300 - 60 - 26 - 8, abs=1)
    # Comparisons end after a while, however slow an evaluation is.
    assert left(minutes=60, evaluation=500) == pytest.approx(3600 - 60 - 300, abs=1)


def make_plan(folder, measure, minutes=5.0):
    return time_budget.make_plan(
        SETTINGS.model_copy(update={"minutes": minutes}),
        quantization_aware=True,
        measure=measure,
        state_dir=str(folder),
        trainer_started=time.monotonic(),
    )


def test_a_plan_is_printed_and_an_interrupted_run_keeps_it(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "detector"):
        plan = make_plan(tmp_path, lambda: RATES)
    assert plan["minutes"] == 5
    assert plan["rates"]["float_step"] == 0.5
    assert caplog.messages[-2].startswith("Trainer: planned for 5 minutes: ")
    text = caplog.messages[-1].partition("--set ")[2]
    repeated = override(
        PipelineConfig(name="test"), dict(pair.split("=") for pair in text.split(" "))
    )
    assert repeated.training.minutes == 0
    assert {name: getattr(repeated.training, name) for name in PLANNED} == {
        name: plan[name] for name in PLANNED
    }
    caplog.clear()

    def not_again():
        raise AssertionError("measured again")

    with caplog.at_level(logging.INFO, "detector"):
        assert make_plan(tmp_path, not_again) == plan
    assert text in caplog.text


def test_too_few_minutes_leave_no_plan(tmp_path):
    with pytest.raises(TooLittleTimeError):
        make_plan(tmp_path, lambda: Rates(10.0, 10.0, 2.0), minutes=2)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """Ten pictures as Transform writes them."""
    path = str(tmp_path_factory.mktemp("examples") / "transformed")
    with tf.io.TFRecordWriter(path) as writer:
        for index, record in enumerate(records()):
            content = {
                features.CANVAS: [record["encoded"].numpy()],
                features.IMAGE_ENCODED: [record["encoded"].numpy()],
                features.BOXES_FLAT: record["boxes"].numpy().ravel(),
                features.CLASS_IDS: np.int64(record["class_ids"]),
                features.IS_DIFFICULT: np.zeros(len(record["class_ids"]), np.int64),
                features.IS_CROWD: np.zeros(len(record["class_ids"]), np.int64),
                features.TRANSFORMED_ID: [f"image {index}".encode()],
                features.MAX_BOXES: [2],
                features.BOX_SIZES: np.linspace(0.1, 0.9, 21),
                features.BOX_RATIOS: np.ones(21),
            }
            example = tf.train.Example()
            for name, values in content.items():
                example.features.feature[name].CopyFrom(feature(values))
            writer.write(example.SerializeToString())
    return path


def run_trainer(folder, examples, **changes):
    """Runs the Trainer; returns its model's weights and facts."""
    few = {"batch_size": 4, "learning_rate": 0.01, "ema_momentum": 0.5, "eval_every": 3}
    config = PipelineConfig(
        name="test",
        transform=TransformSettings(canvas_size=72),
        model=ModelSettings(input_size=64, depth_multiplier=0.125),
        training=TrainingSettings(
            **({"steps": 9, "quantization_delay": 6, "warmup_steps": 3} | few | changes)
        ),
    )
    sections = ("model", "augmentation", "training", "warm_start", "quantization")
    settings = config.model_dump(mode="json")
    trainer.run_fn(
        SimpleNamespace(
            custom_config={
                "settings": {name: settings[name] for name in (*sections, "post_processing")},
                "canvas_size": 72,
                "state_dir": str(folder / "state"),
            },
            train_files=[examples],
            eval_files=[examples],
            schema_path=str(ROOT / "schema" / "demo" / "schema.pbtxt"),
            serving_model_dir=str(folder / "model"),
            model_run_dir=str(folder / "logs"),
        )
    )
    with np.load(folder / "model" / "weights.npz") as arrays:
        weights = dict(arrays)
    return weights, json.loads((folder / "model" / "detector.json").read_text())["facts"]


@pytest.mark.slow
def test_repeating_a_planned_run_with_its_settings_gives_the_same_weights(
    tmp_path, examples, monkeypatch, caplog
):
    measured = []

    def measure_but_plan_with_known_rates(*args, **kwargs):
        measured.append(measure_rates(*args, **kwargs))
        return Rates(float_step=10.0, quantized_step=10.0, evaluation=1.0)

    monkeypatch.setattr(trainer, "measure_rates", measure_but_plan_with_known_rates)
    with caplog.at_level(logging.INFO, "detector"):
        planned, facts = run_trainer(tmp_path / "planned", examples, minutes=5)
    plan = facts["plan"]
    assert 20 <= plan["steps"] < 30
    (rates,) = measured
    assert min(rates.float_step, rates.quantized_step, rates.evaluation, rates.set_up) > 0
    # The throwaway run reported nothing and left nothing behind.
    steps, delay, every = (plan[name] for name in ("steps", "quantization_delay", "eval_every"))
    intervals = [*range(every, delay, every), delay, *range(delay + every, steps, every), steps]
    reported = [line.split()[2] for line in caplog.messages if "lr" in line.split()]
    assert reported == [f"{step}/{steps}" for step in intervals]
    (state,) = (tmp_path / "planned" / "state").iterdir()
    assert not (state / "measuring").exists()

    settings = {name: plan[name] for name in PLANNED}
    repeated, facts = run_trainer(tmp_path / "repeated", examples, **settings)
    assert len(measured) == 1
    assert facts["plan"] is None
    assert planned.keys() == repeated.keys()
    for name in planned:
        np.testing.assert_array_equal(planned[name], repeated[name], err_msg=name)


@pytest.mark.slow
def test_too_few_minutes_stop_the_trainer_before_the_first_step(tmp_path, examples, monkeypatch):
    monkeypatch.setattr(trainer, "measure_rates", lambda *args, **kwargs: Rates(60, 60, 1.0))
    with pytest.raises(UserError, match="Too little time to train: 20 steps"):
        run_trainer(tmp_path, examples, minutes=5)
    assert not (tmp_path / "model").exists()
