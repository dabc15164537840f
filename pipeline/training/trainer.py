"""The Trainer's module: trains a network on transformed examples."""

import contextlib
import functools
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
from tfx.utils import io_utils

from models.networks.families import DetectorConfig, anchor_scale, fit_anchors
from models.settings import Augmentation, ModelSettings, PostProcessing, TrainingSettings
from models.training import checkpoint, input_pipeline, scoring
from models.training import run as training
from models.training.distribution import (
    choose_strategy,
    make_repeatable,
    require_devices,
    scope_of,
    use_xla,
)
from models.training.plan import Rates
from models.training.rates import measure_rates
from models.training.watch import Interval, NonFiniteLossError
from models.weights.zoo import with_anchors
from pipeline import features, lane
from pipeline.data.schema import class_names_of
from pipeline.errors import UserError
from pipeline.fingerprint import fingerprint_of
from pipeline.settings import REQUIRED_DEVICES
from pipeline.training import initial_weights, lease, time_budget
from pipeline.training.tensorboard_log import TensorBoardLog
from pipeline.training.transformed_examples import TransformedExamples, read_transformed_examples

RUN_FN = "pipeline.training.trainer.run_fn"
# TFX's prefix of what it needs to have a service train.
_SERVICE = "ai_platform_"
# Static shapes pad every image's boxes to a multiple of this.
_BOXES_MULTIPLE = 4
# Of the quantiles 0, 0.05 ... 1, those for which the anchors are chosen.
_TYPICAL = slice(2, 20, 4)

_log = logging.getLogger("detector")


def run_fn(fn_args) -> None:
    """TFX's entry point.

    Args:
      fn_args: TFX's; its `custom_config` holds `settings` (the sections of the configuration that
        training depends on), `canvas_size`, `state_dir` and the fingerprints.

    Raises:
      UserError: no accelerator where one is paid for, no labelled objects, a batch that can't be
        divided among the replicas, a warm start that does not fit, a loss that is not finite, too
        few minutes to train, or another run that trains in the same folder.
    """
    started = time.monotonic()
    try:
        job = _Job(fn_args)
        with lease.hold(job.state_dir, _run_of(fn_args.custom_config)) as check_lease:
            _train(job, fn_args, started, check_lease)
    except (NonFiniteLossError, ValueError) as error:
        raise UserError(str(error)) from error


def _train(job: "_Job", fn_args, started: float, before_saving: Callable[[], None]) -> None:
    plan = None
    training_settings = job.training_settings
    if training_settings.minutes:
        plan = time_budget.make_plan(
            training_settings,
            quantization_aware=job.quantization_aware,
            measure=job.measure,
            state_dir=job.state_dir,
            trainer_started=started,
        )
        training_settings = time_budget.apply_plan(training_settings, plan)
    log = TensorBoardLog(os.path.join(job.state_dir, "tensorboard"), job.class_names)

    def score(interval: Interval) -> float:
        before_saving()
        scores = job.evaluate(interval, log)
        _say(interval.line(training_settings.steps, scores.metrics["mAP50"]))
        return float(np.nan_to_num(scores.metrics["mAP50"]))

    run = job.make_run(training_settings, job.state_dir, score)
    network, facts = run.train()
    facts |= {"class_names": job.class_names, "state_dir": job.state_dir, "plan": plan}
    checkpoint.save_detector(fn_args.serving_model_dir, network, job.detector, facts)
    initial_weights.copy_table(job.state_dir, fn_args.serving_model_dir)
    run.copy_float_network(os.path.join(fn_args.serving_model_dir, checkpoint.FLOAT_FOLDER))
    log.close()
    io_utils.copy_dir(log.folder, fn_args.model_run_dir)


class _Job:
    """What a training run is made of: the settings, the data and the network to train.

    Args:
      fn_args: see `run_fn`.

    Raises:
      UserError, ValueError: see `run_fn`.
    """

    def __init__(self, fn_args):
        config = fn_args.custom_config
        self.settings = settings = config["settings"]
        self.training_settings = training_settings_of(settings)
        lane.require(os.environ.get(lane.REQUIRED_TFX, ""))
        # Before the data is read, which takes minutes of a machine that may lack its accelerator.
        self.strategy = choose_strategy(
            self.training_settings.distribution, self.training_settings.batch_size
        )
        require_devices(os.environ.get(REQUIRED_DEVICES, ""))
        make_repeatable()
        self.quantization_aware = settings["quantization"] == "aware"
        self.class_names = class_names_of(io_utils.SchemaReader().read(fn_args.schema_path))
        self.state_dir = os.path.join(config["state_dir"], _state_key(fn_args, config))
        model_settings = ModelSettings(**settings["model"])
        self.train = read_transformed_examples(fn_args.train_files, features.CANVAS, keep=True)
        held_out = read_transformed_examples(
            fn_args.eval_files,
            features.IMAGE_ENCODED,
            limit=self.training_settings.eval_images,
        )
        _check_classes(self.train, self.class_names)
        self.weights = initial_weights.read_zoo(settings["warm_start"])
        if self.weights is not None:
            model_settings = with_anchors(model_settings, self.weights)
        self.detector = detector_config(model_settings, len(self.class_names), self.train)
        self.max_boxes = -(-self.train.max_boxes // _BOXES_MULTIPLE) * _BOXES_MULTIPLE
        self.eval_batches = input_pipeline.evaluation_batches(
            held_out.records,
            input_size=self.detector.input_size,
            batch_size=self.training_settings.batch_size,
            # Evaluation keeps every box, however many an image has.
            max_boxes=max(self.max_boxes, held_out.most_boxes),
        ).cache()
        _say(
            f"{len(self.train.image_ids)} training images, {len(held_out.image_ids)} to evaluate "
            f"on, {len(self.class_names)} classes, {len(self.detector.anchors)} anchors of scale "
            f"{anchor_scale(self.detector):.2f}, at most {self.train.max_boxes} boxes an image"
        )

    def batches(self, training_settings: TrainingSettings, step: int):
        """The endless training batches from a step on."""
        return input_pipeline.training_batches(
            self.train.records,
            input_size=self.detector.input_size,
            batch_size=training_settings.batch_size,
            max_boxes=self.max_boxes,
            augmentation=Augmentation(**self.settings["augmentation"]),
            seed=training_settings.seed,
            num_records=len(self.train.image_ids),
            start_step=step,
            mosaic_steps=training_settings.steps - training_settings.steps // 10,
        )

    def make_run(
        self, training_settings: TrainingSettings, folder: str, score: Callable[[Interval], float]
    ) -> training.TrainingRun:
        """A run of these settings, with its state in the folder."""
        batches = functools.partial(self.batches, training_settings)
        return training.TrainingRun(
            self.detector,
            training_settings,
            quantization_aware=self.quantization_aware,
            folder=folder,
            batches=batches,
            score=score,
            initialize=lambda network: initial_weights.set_initial_weights(
                network,
                self.detector,
                self.settings["warm_start"],
                weights=self.weights,
                class_names=self.class_names,
                training=training_settings,
                batches=lambda: batches(0),
                state_dir=folder,
            ),
            say=_say,
            image_name=lambda index: self.train.image_ids[index],
            strategy_scope=lambda: scope_of(self.strategy),
            replicas=self.strategy.num_replicas_in_sync if self.strategy else 1,
            jit_compile=use_xla(training_settings.jit_compile),
        )

    def evaluate(self, interval: Interval, log: TensorBoardLog) -> scoring.Scores:
        """Scores the network of an interval on the evaluation images, and logs it."""
        post_processing = PostProcessing(**self.settings["post_processing"])
        scores = scoring.score(
            interval.network, self.detector, self.eval_batches, post_processing, self.class_names
        )
        log.write(interval, scores, self.eval_batches)
        return scores

    def measure(self) -> Rates:
        """How fast this machine trains; leaves nothing behind."""
        with (
            _silent(),
            tempfile.TemporaryDirectory() as events,
            contextlib.closing(TensorBoardLog(events, self.class_names)) as throwaway,
        ):
            return measure_rates(
                self.make_run,
                self.training_settings,
                quantization_aware=self.quantization_aware,
                evaluate=lambda interval: self.evaluate(interval, throwaway),
                folder=os.path.join(self.state_dir, "measuring"),
            )


def training_settings_of(settings: dict) -> TrainingSettings:
    """The settings of the optimisation; without a warm start nothing is frozen.

    Args:
      settings: with the sections `training` and `warm_start`.
    """
    training_settings = TrainingSettings(**settings["training"])
    freezes = training_settings.frozen_blocks or training_settings.frozen_batch_norms
    if freezes and not settings["warm_start"]["weights"]:
        _say("nothing is frozen: the initial weights are random")
        return training_settings.model_copy(
            update={"frozen_blocks": 0, "frozen_batch_norms": False}
        )
    return training_settings


def detector_config(
    settings: ModelSettings, num_classes: int, train: TransformedExamples
) -> DetectorConfig:
    """The network's config, completed from the data.

    Args:
      settings: as configured.
      num_classes: in the schema.
      train: the training split; its boxes decide the anchors' scale if that is None.

    Returns:
      A complete config.
    """
    fitted = fit_anchors(settings, train.box_sizes[_TYPICAL], train.box_ratios[_TYPICAL])
    return DetectorConfig(num_classes=num_classes, **fitted.model_dump())


def _say(line: str) -> None:
    _log.info("Trainer: %s", line)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keeps a throwaway run from reporting its progress as if it were the real one's."""
    level = _log.level
    _log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        _log.setLevel(level)


def _state_key(fn_args, config: dict) -> str:
    """Names a training run, so that only the same run resumes an interrupted one.

    On which machine, within which limits and for which run of the pipeline makes no difference.
    """
    config = {name: value for name, value in config.items() if not name.startswith(_SERVICE)}
    inputs = [fn_args.train_files, fn_args.eval_files, fn_args.schema_path, config]
    # The workdir may be moved.
    root = json.dumps(os.path.dirname(config["state_dir"]))[1:-1]
    return fingerprint_of(json.dumps(inputs, sort_keys=True).replace(root, ""))[:16]


def _run_of(config: dict) -> str:
    """The run of the pipeline on Vertex AI; empty elsewhere."""
    return config.get(f"{_SERVICE}training_args", {}).get("labels", {}).get("run", "")


def _check_classes(train: TransformedExamples, class_names: list[str]) -> None:
    if not len(train.class_ids):
        raise UserError(
            "Expected labelled objects in the training images. Received: none in "
            f"{len(train.image_ids)} images. Check the annotations."
        )
    counts = np.bincount(train.class_ids, minlength=len(class_names))
    missing = [name for name, count in zip(class_names, counts, strict=True) if not count]
    if missing:
        _log.warning(
            "Trainer: no training image shows %s; the detector will not learn %s",
            ", ".join(missing),
            "it" if len(missing) == 1 else "them",
        )
