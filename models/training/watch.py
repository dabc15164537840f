"""Watches a training run: ends its intervals, reports progress, stops at a non-finite loss."""

import dataclasses
import time
from collections.abc import Callable

import keras
import numpy as np

from models.settings import TrainingSettings
from models.training.detector import LOSS_TERMS

_SECONDS_BETWEEN_PROGRESS_LINES = 10.0


class NonFiniteLossError(ArithmeticError):
    """A loss that is infinite or not a number; further steps would be wasted."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """The state of training at the end of an interval.

    Attributes:
      step: steps taken so far.
      losses: each loss term, averaged over the interval.
      learning_rate: at this step.
      network: the network as it would ship.
      images_per_second: over the interval, without the evaluation.
    """

    step: int
    losses: dict[str, float]
    learning_rate: float
    network: keras.Model
    images_per_second: float

    def line(self, steps: int, map50: float) -> str:
        """The interval in one line; `steps` of the whole run, mAP@.5 of the network now."""
        losses = "  ".join(f"{name} {value:.3f}" for name, value in self.losses.items())
        return (
            f"step {self.step}/{steps}  {losses}  lr {self.learning_rate:.5f}  "
            f"mAP@.5 {map50:.3f}  {self.images_per_second:.0f} images/s"
        )


class Watch(keras.callbacks.Callback):
    """The callback that connects `fit` with a training run. An epoch of Keras is an interval here.

    Args:
      settings: of the optimisation.
      first_step: steps taken before this call of `fit`.
      end_interval: called with the step, the losses averaged over the interval, and the images
        per second.
      say: takes progress lines.
      image_name: names an image by its index.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        first_step: int,
        end_interval: Callable[[int, dict[str, float], float], None],
        say: Callable[[str], None],
        image_name: Callable[[int], str],
    ):
        super().__init__()
        self.step = first_step
        self.settings = settings
        self.say = say
        self.image_name = image_name
        self.end_interval = end_interval
        self.started = self.spoke = time.monotonic()
        self.taken = 0
        self.compiled = False

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the clock of an interval."""
        self.started = time.monotonic()
        self.taken = 0

    def on_epoch_end(self, epoch, logs=None):
        """Ends an interval."""
        images = self.taken * self.settings.batch_size
        losses = {name: float(logs[name]) for name in LOSS_TERMS}
        seconds = max(time.monotonic() - self.started, 1e-9)
        self.end_interval(self.step, losses, images / seconds)

    def on_train_batch_end(self, batch, logs=None):
        """Checks the losses of a step and reports progress now and then."""
        if not self.compiled:
            # The first call traces and compiles the step: it says nothing about its speed.
            self.compiled = True
            self.started = time.monotonic()
            self.taken = -self.settings.steps_per_execution
        self.step += self.settings.steps_per_execution
        self.taken += self.settings.steps_per_execution
        terms = {name: float(logs[name]) for name in LOSS_TERMS}
        if not np.isfinite(list(terms.values())).all():
            raise NonFiniteLossError(self._explain(terms))
        self._report(terms["loss"])

    def _explain(self, terms: dict[str, float]) -> str:
        index = int(self.model.non_finite_image.result())
        image = self.image_name(index) if index >= 0 else "more than one"
        values = ", ".join(f"{name} {value}" for name, value in terms.items())
        return (
            f"Expected finite losses. Received at step {self.step}: {values} (image: {image}). "
            "Lower training.learning_rate or training.clip_norm, or check that image's boxes."
        )

    def _report(self, loss: float) -> None:
        now = time.monotonic()
        if self.taken and now - self.spoke > _SECONDS_BETWEEN_PROGRESS_LINES:
            self.spoke = now
            speed = self.taken / (now - self.started)
            left = (self.settings.steps - self.step) / speed
            self.say(
                f"step {self.step}/{self.settings.steps}  loss {loss:.3f}  "
                f"{speed * self.settings.batch_size:.0f} images/s  about {left / 60:.1f} min left"
            )
