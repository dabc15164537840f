"""Whole training runs of a few steps."""

import contextlib
import math
import os

import numpy as np
import pytest

from models.settings import Augmentation
from models.training import checkpoint
from models.training.input_pipeline import training_batches
from models.training.optimizer import LearningRate
from models.training.run import TrainingRun
from models.training.watch import NonFiniteLossError
from tests.models.helpers import TINY, records, training

# The delay and the end fall between two evaluations.
SETTINGS = training(steps=7, quantization_delay=3, eval_every=2, learning_rate=0.02)
SCORES = {2: 0.9, 3: 0.95, 5: 0.5, 7: 0.4}


def batches(step, settings=SETTINGS):
    return training_batches(
        records(),
        input_size=64,
        batch_size=settings.batch_size,
        max_boxes=4,
        augmentation=Augmentation(flip=True, crop_probability=0.5, brightness=0.1),
        seed=settings.seed,
        num_records=10,
        start_step=step,
    )


class Recorder:
    """Records what a run reports, and interrupts it at one of its evaluations."""

    def __init__(self, fail_at=None):
        self.fail_at = fail_at
        self.intervals, self.lines, self.initialized = [], [], 0

    def score(self, interval):
        if interval.step == self.fail_at:
            raise KeyboardInterrupt
        self.intervals.append(interval)
        return SCORES.get(interval.step, 0.5)

    def initialize(self, network):
        self.initialized += 1


def make_run(folder, recorder, settings=SETTINGS, quantization_aware=True, batches=batches):
    return TrainingRun(
        TINY,
        settings,
        quantization_aware=quantization_aware,
        folder=str(folder),
        batches=batches,
        score=recorder.score,
        initialize=recorder.initialize,
        say=recorder.lines.append,
        image_name="picture {}".format,
        strategy_scope=contextlib.nullcontext,
        jit_compile=False,
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A run from the first to the last step: its folder, network, facts and recorder."""
    folder, recorder = tmp_path_factory.mktemp("uninterrupted"), Recorder()
    run = make_run(folder, recorder)
    network, facts = run.train()
    run.copy_float_network(str(folder / "copy"))
    return folder, network, facts, recorder


@pytest.mark.slow
def test_intervals_end_at_the_delay_and_at_the_end(uninterrupted):
    *_, recorder = uninterrupted
    assert [interval.step for interval in recorder.intervals] == [2, 3, 5, 7]
    forms = [interval.network.name.rpartition("_")[2] for interval in recorder.intervals]
    assert forms == ["float", "float", "quantized", "quantized"]
    assert recorder.initialized == 1
    for interval in recorder.intervals:
        assert all(math.isfinite(value) for value in interval.losses.values())
        schedule = LearningRate(SETTINGS)
        assert interval.learning_rate == pytest.approx(float(schedule(interval.step)), rel=1e-5)


@pytest.mark.slow
def test_only_the_form_that_ships_can_be_the_best(uninterrupted):
    folder, network, facts, _ = uninterrupted
    assert network.name.endswith("quantized")
    assert facts == {"step": 5, "score": 0.5, "float_score": 0.95, "resumed_at": []}
    float_network, config, saved = checkpoint.load_detector(str(folder / "copy"))
    assert float_network.name.endswith("float")
    assert (config, saved["step"]) == (TINY, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fail_at", "resumed_at"), [(2, []), (5, [3]), (7, [5])], ids=["first", "at the delay", "last"]
)
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    uninterrupted, tmp_path, fail_at, resumed_at
):
    first = Recorder(fail_at)
    with pytest.raises(KeyboardInterrupt):
        make_run(tmp_path, first).train()
    second = Recorder()
    network, facts = make_run(tmp_path, second).train()
    folder, expected, *_ = uninterrupted
    assert facts == uninterrupted[2] | {"resumed_at": resumed_at}
    assert second.initialized == (not resumed_at)
    for a, b in zip(expected.variables, network.variables, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5, err_msg=a.path)
    with (
        np.load(folder / "state.npz") as state,
        np.load(tmp_path / "state.npz") as resumed,
    ):
        for name in state.files[:-1]:
            np.testing.assert_allclose(resumed[name], state[name], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_run_resumes_from_the_state_before_a_truncated_one(uninterrupted, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make_run(tmp_path, Recorder(fail_at=7)).train()
    os.truncate(tmp_path / "state.npz", 100)
    recorder = Recorder()
    network, facts = make_run(tmp_path, recorder).train()
    _, expected, expected_facts, _ = uninterrupted
    assert facts == expected_facts | {"resumed_at": [3]}
    assert any("state.npz is damaged" in line for line in recorder.lines)
    for a, b in zip(expected.variables, network.variables, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5, err_msg=a.path)


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(uninterrupted):
    folder, network, facts, _ = uninterrupted
    recorder = Recorder()
    again, facts_again = make_run(folder, recorder).train()
    assert not recorder.intervals
    assert facts_again == facts | {"resumed_at": [7]}
    for a, b in zip(network.variables, again.variables, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_without_quantization_the_float_network_ships(tmp_path):
    recorder = Recorder()
    run = make_run(tmp_path, recorder, training(steps=3, quantization_delay=1), False)
    network, facts = run.train()
    run.copy_float_network(str(tmp_path / "copy"))
    assert [interval.step for interval in recorder.intervals] == [2, 3]
    assert network.name.endswith("float")
    assert (facts["step"], facts["score"], facts["float_score"]) == (3, 0.95, 0.95)
    assert not (tmp_path / "copy").exists()


@pytest.mark.slow
def test_quantization_from_the_first_step(tmp_path):
    settings = training(steps=2, quantization_delay=0)
    network, facts = make_run(tmp_path, Recorder(), settings).train()
    assert network.name.endswith("quantized")
    assert facts["float_score"] is None


@pytest.mark.slow
def test_a_warm_start_survives_averaging_from_the_first_step(tmp_path):
    class WarmStart(Recorder):
        def initialize(self, network):
            kernel = network.get_layer("conv_pw_13").kernel
            kernel.assign(np.ones(kernel.shape))

    settings = training(steps=1, quantization_delay=0, ema_momentum=0.9)
    make_run(tmp_path, WarmStart(), settings).train()
    float_network, *_ = checkpoint.load_detector(str(tmp_path / checkpoint.FLOAT_FOLDER))
    assert np.all(float_network.get_layer("conv_pw_13").kernel == 1)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_names_its_terms_and_its_image(tmp_path):
    def poisoned(step):
        def poison(images, targets):
            import tensorflow as tf

            bad = tf.equal(targets["image_index"], 4)[:, None, None]
            boxes = tf.where(bad, float("nan"), targets["boxes"])
            return images, targets | {"boxes": boxes}

        return batches(step).map(poison)

    recorder = Recorder()
    with pytest.raises(NonFiniteLossError) as error:
        make_run(tmp_path, recorder, batches=poisoned).train()
    message = str(error.value)
    assert "localization_loss nan" in message
    assert "classification_loss" in message
    assert "image: picture 4" in message
    assert not (tmp_path / "best").exists()


@pytest.mark.slow
def test_an_interrupted_run_with_averages_ends_as_an_uninterrupted_one(tmp_path):
    settings = training(steps=7, quantization_delay=3, eval_every=2, ema_momentum=0.5)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    network, _ = make_run(whole, Recorder(), settings).train()
    with pytest.raises(KeyboardInterrupt):
        make_run(parts, Recorder(fail_at=5), settings).train()
    resumed, facts = make_run(parts, Recorder(), settings).train()
    assert facts["resumed_at"] == [3]
    for expected, received in zip(network.variables, resumed.variables, strict=True):
        np.testing.assert_allclose(
            np.asarray(received), np.asarray(expected), rtol=1e-4, atol=1e-5, err_msg=expected.path
        )
