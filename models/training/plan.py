"""How many steps a number of minutes buys: the schedule of a training run that ends in time.

Reads without importing Keras.
"""

import dataclasses
import math

from models.settings import TrainingSettings

# What a plan decides. The configured values of these settings are the proportions it keeps.
PLANNED = ("steps", "quantization_delay", "warmup_steps", "eval_every")

_LEAST_STEPS = 20
_LEAST_EXECUTIONS = 4
# Evaluations may take this share of the time; a schedule that asks for more gets fewer.
_EVALUATION_SHARE = 0.15
# Rates vary while others use the machine.
_MARGIN = 0.95


@dataclasses.dataclass(frozen=True)
class Rates:
    """Measured on the machine that trains, in seconds.

    Attributes:
      float_step: of one float training step.
      quantized_step: of one quantization-aware step; of a float one when there are none.
      evaluation: of one evaluation, with a checkpoint of the network.
      set_up: of what a run does once: it builds the networks, loads the initial weights and traces
        the steps.
    """

    float_step: float
    quantized_step: float
    evaluation: float
    set_up: float = 0.0


class TooLittleTimeError(ValueError):
    """The time does not suffice for a training run worth its name."""


def fit_into(
    seconds: float, settings: TrainingSettings, rates: Rates, quantization_aware: bool
) -> TrainingSettings:
    """Scales a schedule to the time that is left for it.

    The shares of quantization-aware steps and of warm-up stay as they are, and so does the number
    of evaluations unless they would take more than 15% of the time.

    Args:
      seconds: that training may take, set-up included.
      settings: the schedule whose proportions are kept.
      rates: of this machine.
      quantization_aware: whether the steps from `settings.quantization_delay` on are.

    Returns:
      The settings with `PLANNED` replaced, each a multiple of `steps_per_execution` where it must
      be, and `minutes` 0.

    Raises:
      TooLittleTimeError: when fewer than 20 steps, or four calls of the compiled program, fit.
    """
    usable = _MARGIN * (seconds - rates.set_up)
    float_share = settings.quantization_delay / settings.steps if quantization_aware else 1.0
    mean_step = float_share * rates.float_step + (1.0 - float_share) * rates.quantized_step
    # A phase ends with an evaluation whether or not its last interval is full: two phases need one
    # evaluation more than there are intervals.
    more = int(quantization_aware)
    affordable = int(_EVALUATION_SHARE * usable / rates.evaluation) - more
    intervals = max(1, min(settings.steps // settings.eval_every, affordable))
    unit = settings.steps_per_execution
    steps = int((usable - (intervals + more) * rates.evaluation) / mean_step) // unit * unit
    least = max(_LEAST_STEPS, _LEAST_EXECUTIONS * unit)
    if steps < least:
        needed = (least * mean_step + (1 + more) * rates.evaluation) / _MARGIN + rates.set_up
        minutes = settings.minutes + (needed - seconds) / 60
        raise TooLittleTimeError(
            f"Too little time to train: {least} steps, the least that makes sense, take "
            f"{needed:.0f} s on this machine, and {max(seconds, 0.0):.0f} s are left for them. Set "
            f"training.minutes (--minutes) to at least {math.ceil(10 * minutes) / 10}."
        )
    scale = steps / settings.steps
    changes = {
        "minutes": 0.0,
        "steps": steps,
        "warmup_steps": min(round(settings.warmup_steps * scale), steps - 1),
        "eval_every": math.ceil(steps / intervals / unit) * unit,
    }
    if quantization_aware and settings.quantization_delay:
        delay = round(settings.quantization_delay * scale / unit) * unit
        changes["quantization_delay"] = min(max(delay, unit), steps - unit)
    return settings.model_copy(update=changes)


def describe(settings: TrainingSettings, rates: Rates, quantization_aware: bool) -> str:
    """A planned run in one line."""
    aware = settings.steps - settings.quantization_delay if quantization_aware else 0
    kinds = f"{aware} of them quantization-aware" if aware else "none of them quantization-aware"
    return (
        f"{settings.steps} steps ({kinds}) at {rates.float_step:.2f} s and "
        f"{rates.quantized_step:.2f} s, an evaluation every {settings.eval_every} steps at "
        f"{rates.evaluation:.1f} s"
    )
