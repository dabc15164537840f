"""The training run: float steps, then quantization-aware steps; resumes after an interruption."""

import os
from collections.abc import Callable
from typing import Any

import keras

from models.networks.families import DetectorConfig, build_network, freeze_backbone
from models.networks.folding import fold_batch_norms
from models.settings import TrainingSettings
from models.training import checkpoint
from models.training.detector import Detector
from models.training.optimizer import averaged_weights, make_optimizer
from models.training.watch import Interval, Watch

STATE_FILE = "state.npz"
BEST_FOLDER = "best"


class TrainingRun:
    """A training run that keeps its state in a folder and resumes from it.

    Args:
      config: the network's.
      settings: the optimisation's.
      quantization_aware: whether the last steps are.
      folder: of this run's state; a run that was interrupted resumes from it.
      batches: the endless training batches from a given step on, see
        `models.training.input_pipeline`.
      score: by which the best weights are chosen, higher is better.
      initialize: sets the float network's weights before the first step (warm start).
      say: takes progress lines.
      image_name: names an image by its index.
      strategy_scope: the context in which variables are made on the right devices.
      replicas: how many devices share a batch.
      jit_compile: compile the step with XLA.
    """

    def __init__(
        self,
        config: DetectorConfig,
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
        """The file that holds the state."""
        return os.path.join(self.folder, STATE_FILE)

    def train(self) -> tuple[keras.Model, dict]:
        """Trains to the last step.

        Returns:
          The best network of the form that ships (quantized when quantization-aware), and the
          facts about it: `step` and `score` of the best weights, `float_score`, `resumed_at`.

        Raises:
          models.training.watch.NonFiniteLossError: a loss is infinite or not a number.
        """
        keras.utils.set_random_seed(self.settings.seed)
        progress = checkpoint.load_progress(self.state_file, self.say)
        resumed = progress is not None
        progress = progress or {"step": 0, "best": None, "resumed_at": []}
        if resumed:
            progress["resumed_at"].append(progress["step"])
            self.say(f"resuming from step {progress['step']} ({self.state_file})")
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
            # Of the float network at its last step, to compare the quantized one with. None without
            # float steps.
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
            network = build_network(self.config, quantized, synchronized=self.replicas > 1)
        freeze_backbone(
            network, self.config, self.settings.frozen_blocks, self.settings.frozen_batch_norms
        )
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
            shuffle=False,  # the batches are; Keras 3.15 warns if it is asked to do it again
            verbose=0,
            callbacks=[Watch(self.settings, start, end_interval, self.say, self.image_name)],
        )
        if model.optimizer.use_ema:
            # Keras ends `fit` by putting the averages into the model; training continues from the
            # weights, as it would after an interruption.
            checkpoint.restore_state(self.state_file, model)

    def _judge(self, interval: Interval, progress: dict) -> None:
        score = self.score(interval)
        quantized = interval.network.name.endswith("quantized")
        if not quantized:
            progress["float_score"] = score
        # Only the form that ships competes: float weights cannot become a quantized file.
        ships = quantized == self.quantization_aware
        if ships and (progress["best"] is None or score >= progress["best"][0]):
            progress["best"] = [score, interval.step]
            facts = {"step": interval.step, "score": score}
            folder = os.path.join(self.folder, BEST_FOLDER)
            checkpoint.save_detector(folder, interval.network, self.config, facts)
