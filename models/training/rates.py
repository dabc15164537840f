"""How fast this machine trains: times the first steps of a run that is thrown away."""

import os
import time
from collections.abc import Callable

import keras
import numpy as np
from tensorflow.io import gfile

from models.settings import TrainingSettings
from models.training import checkpoint
from models.training.distribution import predict
from models.training.plan import Rates
from models.training.run import TrainingRun
from models.training.watch import Interval

# Of each kind. The first call of a compiled program is not counted: it traces the steps.
_STEPS = 6
_LEAST_EXECUTIONS = 2
# So small that no loss can grow beyond bounds. The time of a step does not depend on it.
_LEARNING_RATE = 1e-9


def measure_rates(
    make_run: Callable[[TrainingSettings, str, Callable[[Interval], float]], TrainingRun],
    settings: TrainingSettings,
    *,
    quantization_aware: bool,
    evaluate: Callable[[Interval], object],
    folder: str,
) -> Rates:
    """Trains for a few steps of each kind, with an evaluation after each, and forgets them.

    Neither weights nor random numbers nor names of layers remain: a run that follows gives the
    same weights as without.

    Args:
      make_run: makes the run from its settings, the folder of its state and its score.
      settings: of the run to plan.
      quantization_aware: whether that run ends with quantization-aware steps.
      evaluate: what the run does at the end of an interval, besides its checkpoint.
      folder: for the state of the measured run; is deleted before and after.
    """
    unit = settings.steps_per_execution
    phase = unit * max(_LEAST_EXECUTIONS, -(-_STEPS // unit))
    phases = 1 + quantization_aware
    few = settings.model_copy(
        update={
            "steps": phases * phase,
            "quantization_delay": phase,
            "warmup_steps": 0,
            "eval_every": phase,
            "learning_rate": _LEARNING_RATE,
        }
    )
    steps: list[float] = []
    evaluations: list[float] = []

    def score(interval: Interval) -> float:
        steps.append(settings.batch_size / interval.images_per_second)
        # Traces the prediction of a full batch, and of any other.
        for count in (settings.batch_size, 1):
            shape = (count, *interval.network.input_shape[1:])
            predict(interval.network, np.zeros(shape, np.uint8))
        started = time.monotonic()
        evaluate(interval)
        checkpoint.save_detector(os.path.join(folder, "timed"), interval.network, run.config, {})
        evaluations.append(time.monotonic() - started)
        return 0.0

    _delete(folder)
    started = time.monotonic()
    run = make_run(few, folder, score)
    run.train()
    seconds = time.monotonic() - started
    _delete(folder)
    keras.utils.clear_session()
    return Rates(
        float_step=steps[0],
        quantized_step=steps[-1],
        evaluation=evaluations[-1],
        set_up=max(seconds - phase * sum(steps) - sum(evaluations), 0.0),
    )


def _delete(folder: str) -> None:
    if gfile.exists(folder):
        gfile.rmtree(folder)
