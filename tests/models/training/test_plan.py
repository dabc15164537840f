import pytest

from models.settings import TrainingSettings
from models.training.plan import Rates, TooLittleTimeError, describe, fit_into

PRESET = TrainingSettings(
    steps=900, quantization_delay=600, warmup_steps=50, eval_every=25, learning_rate=0.002
)
RATES = Rates(float_step=0.5, quantized_step=0.8, evaluation=2.0)


def seconds_of(planned: TrainingSettings, rates: Rates, aware: bool) -> float:
    """The time of a run, counted interval by interval as the training loop runs it."""
    delay = planned.quantization_delay if aware else planned.steps
    evaluations = 0
    for phase in (delay, planned.steps - delay):
        evaluations += -(-phase // planned.eval_every)
    aware_steps = planned.steps - delay
    return (
        delay * rates.float_step
        + aware_steps * rates.quantized_step
        + evaluations * rates.evaluation
    )


@pytest.mark.parametrize("minutes", [2, 8, 30, 240])
@pytest.mark.parametrize("aware", [True, False])
@pytest.mark.parametrize("unit", [1, 5])
def test_a_planned_run_uses_its_time_and_ends_within_it(minutes, aware, unit):
    preset = PRESET.model_copy(update={"steps_per_execution": unit})
    planned = fit_into(60 * minutes, preset, RATES, aware)
    taken = seconds_of(planned, RATES, aware)
    assert 0.85 * 60 * minutes < taken <= 60 * minutes
    assert planned.steps % unit == planned.eval_every % unit == 0
    if aware:
        assert planned.quantization_delay % unit == 0
        assert planned.quantization_delay / planned.steps == pytest.approx(2 / 3, abs=0.05)
    assert planned.warmup_steps / planned.steps == pytest.approx(1 / 18, abs=0.02)
    assert (planned.learning_rate, planned.minutes) == (preset.learning_rate, 0.0)


def test_slow_evaluations_become_rarer():
    quick = fit_into(600, PRESET, RATES, True)
    slow = fit_into(600, PRESET, Rates(0.5, 0.8, 30.0), True)
    assert slow.steps / slow.eval_every < quick.steps / quick.eval_every
    assert seconds_of(slow, Rates(0.5, 0.8, 30.0), True) <= 600


def test_too_little_time_says_how_much_is_missing():
    with pytest.raises(TooLittleTimeError, match=r"0.2 minutes are left .* at least 0.\d more"):
        fit_into(10, PRESET, RATES, True)
    fit_into(10 + 60 * 0.5, PRESET, RATES, True)


def test_a_plan_is_described_in_one_line():
    planned = fit_into(600, PRESET, RATES, True)
    line = describe(planned, RATES, True)
    assert f"{planned.steps} steps" in line
    assert "\n" not in line
