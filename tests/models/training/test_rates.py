import numpy as np
import pytest

from models.training.rates import measure_rates
from tests.models.helpers import training
from tests.models.training.test_run import Recorder, make_run

# With averages, whose state a run reads back after each interval.
SETTINGS = training(
    steps=7, quantization_delay=3, eval_every=2, learning_rate=0.02, ema_momentum=0.5
)


def measure(folder):
    """The rates, and the intervals that were evaluated."""
    intervals = []

    def measured_run(settings, state, score):
        recorder = Recorder()
        recorder.score = score
        return make_run(state, recorder, settings)

    rates = measure_rates(
        measured_run,
        SETTINGS,
        quantization_aware=True,
        evaluate=intervals.append,
        folder=str(folder),
    )
    return rates, intervals


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run without a measurement, the measurement, and the same run after it."""
    folder = tmp_path_factory.mktemp("state")
    without, _ = make_run(folder / "without", Recorder(), SETTINGS).train()
    (folder / "measuring").mkdir()
    (folder / "measuring" / "state.npz").write_text("of a measurement that was interrupted")
    rates, intervals = measure(folder / "measuring")
    assert not (folder / "measuring").exists()
    after, _ = make_run(folder / "after", Recorder(), SETTINGS).train()
    return without, rates, intervals, after


@pytest.mark.slow
def test_both_kinds_of_steps_are_measured(measured):
    _, rates, intervals, _ = measured
    forms = [interval.network.name.rpartition("_")[2] for interval in intervals]
    assert forms == ["float", "quantized"]
    # A step of this network takes milliseconds; tracing it, seconds.
    for seconds in (rates.float_step, rates.quantized_step, rates.evaluation):
        assert 0 < seconds < rates.set_up


@pytest.mark.slow
def test_a_run_after_the_measurement_gives_the_same_weights(measured):
    without, _, _, after = measured
    assert [v.path for v in after.variables] == [v.path for v in without.variables]
    for expected, received in zip(without.variables, after.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(received), np.asarray(expected))
