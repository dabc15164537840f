"""Training within `training.minutes`: the time that is left, and the plan that is made for it.

The plan is kept beside the checkpoints, so an interrupted run resumes with it. Imports nothing
heavy: the local runner starts the clock before it loads TensorFlow.
"""

import dataclasses
import json
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from models.files import write_whole
from models.settings import TrainingSettings
from models.training.plan import PLANNED, Rates, describe, fit_into

PLAN_FILE = "plan.json"
# What follows the Trainer runs the evaluation images one by one, with network and file. On two
# cores: 14 s for 67 images (an evaluation took 1.5 s), 28 s for 120 (6.5 s). The report takes
# another 6 s, for 800 small drawings or 200 photographs.
_AFTER_TRAINING = 26.0
_EVALUATIONS_AFTER_TRAINING = 4.0
_MOST_AFTER_TRAINING = 300.0

_log = logging.getLogger("detector")
# Not a setting: it would be part of the Trainer's cache key.
_run_started: float | None = None


def start_clock() -> None:
    """Counts the minutes from here. Without a call, as on Vertex AI, they are the Trainer's own."""
    global _run_started
    _run_started = time.monotonic()


def time_left(minutes: float, trainer_started: float, rates: Rates) -> float:
    """Seconds that training may still take.

    Args:
      minutes: the setting.
      trainer_started: when the Trainer started, by `time.monotonic()`.
      rates: measured; evaluations tell what the components after the Trainer will take.
    """
    if _run_started is None:
        return 60 * minutes - (time.monotonic() - trainer_started)
    after = _AFTER_TRAINING + _EVALUATIONS_AFTER_TRAINING * rates.evaluation
    elapsed = time.monotonic() - _run_started
    return 60 * minutes - elapsed - min(after, _MOST_AFTER_TRAINING)


def make_plan(
    settings: TrainingSettings,
    *,
    quantization_aware: bool,
    measure: Callable[[], Rates],
    state_dir: str,
    trainer_started: float,
) -> dict[str, Any]:
    """The plan of a run: the one that it has, or a new one for the time that is left.

    Args:
      settings: with `minutes` above 0.
      quantization_aware: whether the run ends with quantization-aware steps.
      measure: the rates of this machine.
      state_dir: of the run.
      trainer_started: when the Trainer started, by `time.monotonic()`.

    Returns:
      JSON: `minutes`, the settings named in `PLANNED`, and the measured `rates`.

    Raises:
      models.training.plan.TooLittleTimeError: when no training fits.
    """
    from tensorflow.io import gfile

    path = os.path.join(state_dir, PLAN_FILE)
    if gfile.exists(path):
        with gfile.GFile(path) as file:
            plan = json.load(file)
    else:
        _log.info("Trainer: measuring how fast this machine trains ...")
        rates = measure()
        left = time_left(settings.minutes, trainer_started, rates)
        planned = fit_into(left, settings, rates, quantization_aware)
        plan = {
            "minutes": settings.minutes,
            **{name: getattr(planned, name) for name in PLANNED},
            "rates": dataclasses.asdict(rates),
        }
        write_whole(path, json.dumps(plan, indent=1))
    rates = Rates(**plan["rates"])
    text = describe(apply_plan(settings, plan), rates, quantization_aware)
    _log.info("Trainer: planned for %g minutes: %s", settings.minutes, text)
    _log.info("Trainer: the same file without measuring: --set %s", assignments(plan))
    return plan


def apply_plan(settings: TrainingSettings, plan: dict[str, Any] | None) -> TrainingSettings:
    """The settings with those of the plan; without a plan, as they are."""
    if plan is None:
        return settings
    return settings.model_copy(update={"minutes": 0.0, **{name: plan[name] for name in PLANNED}})


def assignments(plan: dict[str, Any]) -> str:
    """The plan for `--set`: "training.steps=412 ..."."""
    return " ".join(f"training.{name}={plan[name]}" for name in PLANNED)
