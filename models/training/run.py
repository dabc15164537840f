"""The training run: float steps, then quantization-aware steps, resumable at any time."""

import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from models.networks.folding import fold_batch_norms
from models.networks.mobilenet_v1 import freeze_blocks
from models.networks.ssd import SsdConfig, build_ssd
from models.settings import TrainingSettings
from models.training import averaging, checkpoint
from models.training.averaging import averaged_weights
from models.training.detector import LOSS_TERMS, Detector

STATE_FILE = "state.npz"
BEST_FOLDER = "best"
_SECONDS_BETWEEN_PROGRESS_LINES = 10.0


class NonFiniteLossError(ArithmeticError):
    """A loss that is infinite or not a number; further steps would be wasted."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """What is known at the end of each interval of training.

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


def make_optimizer(
    settings: TrainingSettings, replicas: int = 1, first_step: int = 0
) -> keras.optimizers.Optimizer:
    """The optimizer that the settings ask for.

    Args:
      settings: of the optimisation.
      replicas: how many devices share a batch.
      first_step: the training step that is this optimizer's first. Its own count starts at 0,
        as Adam's bias correction and the averages of the weights need it.
    """
    arguments: dict[str, Any] = {
        "learning_rate": LearningRate(settings, first_step),
        "use_ema": settings.ema_momentum > 0,
        "ema_momentum": settings.ema_momentum,
    }
    if settings.optimizer == "adam":
        arguments["weight_decay"] = settings.weight_decay
    else:
        arguments["momentum"] = 0.9
    sgd, adam = averaging.SGD, averaging.AdamW
    if settings.clip_norm and replicas > 1:
        from models.training.clipping import ReplicatedAdamW, ReplicatedSGD

        sgd, adam = ReplicatedSGD, ReplicatedAdamW
        arguments["clip_norm"] = settings.clip_norm
    elif settings.clip_norm:
        arguments["global_clipnorm"] = settings.clip_norm
    return (adam if settings.optimizer == "adam" else sgd)(**arguments)


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then cosine decay (Loshchilov and Hutter, "SGDR"), over all steps.

    Args:
      settings: of the optimisation.
      first_step: added to the optimizer's count of steps.
    """

    def __init__(self, settings: TrainingSettings, first_step: int = 0):
        self.first_step = first_step
        self.schedule = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if settings.warmup_steps else settings.learning_rate,
            decay_steps=max(settings.steps - settings.warmup_steps, 1),
            alpha=settings.final_learning_rate,
            warmup_target=settings.learning_rate if settings.warmup_steps else None,
            warmup_steps=settings.warmup_steps,
        )

    def __call__(self, step):
        """The learning rate of the optimizer's step, a float32 scalar."""
        return self.schedule(step + self.first_step)


class _Watch(keras.callbacks.Callback):
    """Ends each interval, stops at a loss that is not finite, and says how far training is.

    Keras calls an epoch what is an interval here: a number of steps.
    """

    def __init__(self, run: "TrainingRun", first_step: int, end_interval):
        super().__init__()
        self.step = first_step
        self.settings = run.settings
        self.say = run.say
        self.image_name = run.image_name
        self.end_interval = end_interval
        self.started = self.spoke = time.monotonic()
        self.taken = 0
        self.compiled = False

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.monotonic()
        self.taken = 0

    def on_epoch_end(self, epoch, logs=None):
        images = self.taken * self.settings.batch_size
        losses = {name: float(logs[name]) for name in LOSS_TERMS}
        seconds = max(time.monotonic() - self.started, 1e-9)
        self.end_interval(self.step, losses, images / seconds)

    def on_train_batch_end(self, batch, logs=None):
        if not self.compiled:
            # The first call traces and compiles the step: no measure of its speed.
            self.compiled = True
            self.started = time.monotonic()
            self.taken = -self.settings.steps_per_execution
        self.step += self.settings.steps_per_execution
        self.taken += self.settings.steps_per_execution
        terms = {name: float(logs[name]) for name in LOSS_TERMS}
        if not np.isfinite(list(terms.values())).all():
            index = int(self.model.non_finite_image.result())
            image = self.image_name(index) if index >= 0 else "no single one"
            raise NonFiniteLossError(
                f"Expected finite losses. Received at step {self.step}: "
                + ", ".join(f"{name} {value}" for name, value in terms.items())
                + f" (image: {image}). Lower training.learning_rate or training.clip_norm, or "
                "look at that image's boxes."
            )
        now = time.monotonic()
        if self.taken and now - self.spoke > _SECONDS_BETWEEN_PROGRESS_LINES:
            self.spoke = now
            speed = self.taken / (now - self.started)
            left = (self.settings.steps - self.step) / speed
            self.say(
                f"step {self.step}/{self.settings.steps}  loss {terms['loss']:.3f}  "
                f"{speed * self.settings.batch_size:.0f} images/s  "
                f"about {left / 60:.1f} min left"
            )


class TrainingRun:
    """A training run that keeps its state in a folder and goes on from there.

    Args:
      config: the network's.
      settings: the optimisation's.
      quantization_aware: whether the last steps are.
      folder: of this run's state; what is in it is continued.
      batches: gives endless training batches from a step on, see `models.training.input_pipeline`.
      score: the figure by which the best weights are chosen, higher is better.
      initialize: changes the weights of the float network before the first step (warm start).
      say: takes progress lines.
      image_name: names an image by its index.
      strategy_scope: context manager that makes variables on the right devices.
      replicas: how many devices share a batch.
      jit_compile: compile the step with XLA.
    """

    def __init__(
        self,
        config: SsdConfig,
        settings: TrainingSettings,
        *,
        quantization_aware: bool,
        folder: str,
        batches: Callable[[int], Any],
        score: Callable[[Interval], float],
        initialize: Callable[[keras.Model], None],
        say: Callable[[str], None],
        image_name: Callable[[int], str],
        strategy_scope: Callable[[], Any],
        jit_compile: bool,
        replicas: int = 1,
    ):
        self.config = config
        self.settings = settings
        self.delay = settings.quantization_delay if quantization_aware else settings.steps
        self.folder = folder
        self.batches = batches
        self.score = score
        self.initialize = initialize
        self.say = say
        self.image_name = image_name
        self.strategy_scope = strategy_scope
        self.jit_compile = jit_compile
        self.replicas = replicas
        self.quantization_aware = quantization_aware

    @property
    def state_file(self) -> str:
        """Where the state is kept."""
        return os.path.join(self.folder, STATE_FILE)

    def train(self) -> tuple[keras.Model, dict]:
        """Trains to the last step.

        Returns:
          The best network of the form that ships (quantized when quantization-aware), and the
          facts about it: `step` and `score` of the best weights, `float_score`, `resumed_at`.

        Raises:
          NonFiniteLossError: see there.
        """
        keras.utils.set_random_seed(self.settings.seed)
        progress = checkpoint.load_progress(self.state_file)
        resumed = progress is not None
        progress = progress or {"step": 0, "best": None, "resumed_at": []}
        if resumed:
            progress["resumed_at"].append(progress["step"])
            self.say(f"going on from step {progress['step']} ({self.state_file})")
        model = self._compile(self._quantized_at(progress["step"]))
        if resumed:
            checkpoint.restore_state(self.state_file, model)
        else:
            self.initialize(model.network)
        while progress["step"] < self.settings.steps:
            step = progress["step"]
            if step == self.delay:
                model = self._start_quantization(model, step)
            end = self.delay if step < self.delay else self.settings.steps
            # The last interval of a phase may be shorter than the others.
            whole, rest = divmod(end - step, self.settings.eval_every)
            if whole:
                self._fit(model, step, self.settings.eval_every, whole, progress)
            if rest:
                self._fit(model, end - rest, rest, 1, progress)
        network, _, _ = checkpoint.load_detector(os.path.join(self.folder, BEST_FOLDER))
        best_score, best_step = progress["best"]
        facts = {
            "step": best_step,
            "score": best_score,
            # Of the float network at its last step: what quantization had to keep. None when
            # there was no float step.
            "float_score": progress.get("float_score"),
            "resumed_at": progress["resumed_at"],
        }
        return network, facts

    def copy_float_network(self, folder: str) -> None:
        """Copies the float network that quantization started from, if it did."""
        source = os.path.join(self.folder, checkpoint.FLOAT_FOLDER)
        if self.quantization_aware:
            checkpoint.save_detector(folder, *checkpoint.load_detector(source))

    def _quantized_at(self, step: int) -> bool:
        # At the delay itself the state is still the float network's: it was saved there.
        return step > self.delay

    def _network(self, quantized: bool) -> keras.Model:
        with self.strategy_scope():
            network = build_ssd(self.config, quantized, synchronized=self.replicas > 1)
        freeze_blocks(network, self.settings.frozen_blocks)
        return network

    def _compile(self, quantized: bool) -> Detector:
        network = self._network(quantized)
        first_step = self.delay if quantized else 0
        with self.strategy_scope():
            model = Detector(network, self.config, self.settings)
            model.compile(
                optimizer=make_optimizer(self.settings, self.replicas, first_step),
                jit_compile=self.jit_compile,
                steps_per_execution=self.settings.steps_per_execution,
            )
            # Variables made while the step is traced would have it traced twice.
            model.optimizer.build(model.trainable_variables)
        return model

    def _start_quantization(self, float_model: Detector, step: int) -> Detector:
        folder = os.path.join(self.folder, checkpoint.FLOAT_FOLDER)
        model = self._compile(quantized=True)
        with averaged_weights(float_model):
            checkpoint.save_detector(folder, float_model.network, self.config, {"step": step})
            fold_batch_norms(float_model.network, model.network)
        self.say(f"step {step}: quantization-aware from here, batch norms folded")
        return model

    def _fit(self, model: Detector, start: int, steps: int, count: int, progress: dict) -> None:
        """Trains for `count` intervals of `steps` steps."""

        def end_interval(step: int, losses: dict[str, float], images_per_second: float) -> None:
            progress["step"] = step
            learning_rate = float(model.optimizer.learning_rate)
            interval = Interval(step, losses, learning_rate, model.network, images_per_second)
            with averaged_weights(model):
                self._judge(interval, progress)
            checkpoint.save_state(self.state_file, model, progress)

        model.fit(
            self.batches(start),
            steps_per_epoch=steps,
            epochs=count,
            verbose=0,
            callbacks=[_Watch(self, start, end_interval)],
        )
        if model.optimizer.use_ema:
            # Keras ends `fit` by putting the averages into the model; training goes on from the
            # weights, as it would after an interruption.
            checkpoint.restore_state(self.state_file, model)

    def _judge(self, interval: Interval, progress: dict) -> None:
        score = self.score(interval)
        quantized = interval.network.name.endswith("quantized")
        if not quantized:
            progress["float_score"] = score
        # Only the form that ships competes: float weights are no candidates for a quantized file.
        ships = quantized == self.quantization_aware
        if ships and (progress["best"] is None or score >= progress["best"][0]):
            progress["best"] = [score, interval.step]
            facts = {"step": interval.step, "score": score}
            folder = os.path.join(self.folder, BEST_FOLDER)
            checkpoint.save_detector(folder, interval.network, self.config, facts)
