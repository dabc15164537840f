import re

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


@pytest.mark.parametrize("evaluation", [0.1, 5.0, 60.0])
@pytest.mark.parametrize("delay", [100, 450, 600, 890])
@pytest.mark.parametrize("aware", [True, False])
def test_a_run_with_slow_evaluations_ends_in_time_as_well(evaluation, delay, aware):
    rates = Rates(0.5, 0.8, evaluation)
    preset = PRESET.model_copy(update={"quantization_delay": delay})
    planned = fit_into(600, preset, rates, aware)
    assert 0.8 * 600 < seconds_of(planned, rates, aware) <= 600


def test_quantization_from_the_first_step_stays_so():
    planned = fit_into(600, PRESET.model_copy(update={"quantization_delay": 0}), RATES, True)
    assert planned.quantization_delay == 0


def test_set_up_comes_off_the_time():
    slow = Rates(0.5, 0.8, 2.0, set_up=100.0)
    assert fit_into(600, PRESET, slow, True) == fit_into(500, PRESET, RATES, True)


def test_slow_evaluations_become_rarer():
    quick = fit_into(600, PRESET, RATES, True)
    slow = fit_into(600, PRESET, Rates(0.5, 0.8, 30.0), True)
    assert slow.steps / slow.eval_every < quick.steps / quick.eval_every
    assert seconds_of(slow, Rates(0.5, 0.8, 30.0), True) <= 600


@pytest.mark.parametrize("left", [-50, 10])
@pytest.mark.parametrize("unit", [1, 10])
def test_too_little_time_says_how_many_minutes_suffice(left, unit):
    preset = PRESET.model_copy(update={"minutes": 3.0, "steps_per_execution": unit})
    rates = Rates(0.5, 0.8, 2.0, set_up=7.0)
    with pytest.raises(TooLittleTimeError, match=f"{max(left, 0)} s are left") as error:
        fit_into(left, preset, rates, True)
    enough = float(re.search(r"at least ([\d.]+)\.$", str(error.value)).group(1))
    assert fit_into(left + 60 * (enough - 3), preset, rates, True).steps >= 20
    with pytest.raises(TooLittleTimeError):
        fit_into(left + 60 * (enough - 0.2 - 3), preset, rates, True)


def test_a_plan_is_described_in_one_line():
    planned = fit_into(600, PRESET, RATES, True)
    line = describe(planned, RATES, True)
    assert f"{planned.steps} steps" in line
    assert "\n" not in line
