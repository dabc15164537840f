"""How many steps a number of minutes buys: the settings of a training run that ends in time."""

import dataclasses

from models.settings import TrainingSettings

_LEAST_STEPS = 20
# Evaluations may take this share of the time; a preset that asks for more gets fewer.
_EVALUATION_SHARE = 0.15
# Rates vary while others use the machine.
_MARGIN = 0.95


@dataclasses.dataclass(frozen=True)
class Rates:
    """Measured on the machine that trains, in seconds.

    Attributes:
      float_step: of one float training step.
      quantized_step: of one quantization-aware step; of a float one when there are none.
      evaluation: of one evaluation, with the checkpoint that it writes.
    """

    float_step: float
    quantized_step: float
    evaluation: float


class TooLittleTimeError(ValueError):
    """The time does not suffice for a training run worth its name."""


def fit_into(
    seconds: float, settings: TrainingSettings, rates: Rates, quantization_aware: bool
) -> TrainingSettings:
    """Scales a schedule to the time that there is.

    The proportions of the schedule stay as they are: the share of quantization-aware steps, of
    warm-up, and the number of evaluations, which only falls when they would take too long.

    Args:
      seconds: that training may take, tracing excluded.
      settings: the schedule whose proportions are kept.
      rates: of this machine.
      quantization_aware: whether the steps from `settings.quantization_delay` on are.

    Returns:
      The settings with `steps`, `quantization_delay`, `warmup_steps` and `eval_every` replaced,
      each a multiple of `steps_per_execution` where it must be, and `minutes` 0.

    Raises:
      TooLittleTimeError: when fewer than 20 steps fit.
    """
    seconds *= _MARGIN
    float_share = settings.quantization_delay / settings.steps if quantization_aware else 1.0
    mean_step = float_share * rates.float_step + (1.0 - float_share) * rates.quantized_step
    # Each phase ends with an evaluation, whether or not the interval is full.
    least = 1 + quantization_aware
    evaluations = settings.steps / settings.eval_every
    affordable = _EVALUATION_SHARE * seconds / rates.evaluation
    evaluations = max(least, min(evaluations, affordable))
    unit = settings.steps_per_execution
    steps = int((seconds - evaluations * rates.evaluation) / mean_step) // unit * unit
    if steps < max(_LEAST_STEPS, 4 * unit):
        needed = (max(_LEAST_STEPS, 4 * unit) * mean_step + least * rates.evaluation) / _MARGIN
        raise TooLittleTimeError(
            f"Expected enough time to train. Received: {seconds / _MARGIN / 60:.1f} minutes are "
            f"left for {mean_step:.2f} s a step, which is too little for {_LEAST_STEPS} steps. "
            f"Give at least {(needed - seconds / _MARGIN) / 60 + 0.1:.1f} more minutes."
        )
    scale = steps / settings.steps

    def scaled(count: int, least: int) -> int:
        return max(least, round(count * scale / unit) * unit)

    delay = min(scaled(settings.quantization_delay, unit), steps - unit)
    return settings.model_copy(
        update={
            "minutes": 0.0,
            "steps": steps,
            "quantization_delay": delay if quantization_aware else settings.quantization_delay,
            "warmup_steps": min(round(settings.warmup_steps * scale), steps - 1),
            "eval_every": min(steps, max(unit, -(-int(steps / evaluations) // unit) * unit)),
        }
    )


def describe(settings: TrainingSettings, rates: Rates, quantization_aware: bool) -> str:
    """A planned run in one line."""
    aware = settings.steps - settings.quantization_delay if quantization_aware else 0
    return (
        f"{settings.steps} steps ({aware} of them quantization-aware) at "
        f"{rates.float_step:.2f} s and {rates.quantized_step:.2f} s, an evaluation every "
        f"{settings.eval_every} steps at {rates.evaluation:.1f} s"
    )
