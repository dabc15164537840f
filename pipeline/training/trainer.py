"""The Trainer's module: trains a network on transformed examples."""

import contextlib
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
from models.training.distribution import choose_strategy, scope_of, use_xla
from models.training.plan import Rates
from models.training.rates import measure_rates
from models.training.watch import Interval, NonFiniteLossError
from models.weights.zoo import with_anchors
from pipeline import features
from pipeline.data.schema import class_names_of
from pipeline.errors import UserError
from pipeline.fingerprint import fingerprint_of
from pipeline.training import initial_weights, time_budget
from pipeline.training.tensorboard_log import TensorBoardLog
from pipeline.training.transformed_examples import TransformedExamples, read_transformed_examples

RUN_FN = "pipeline.training.trainer.run_fn"
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
      UserError: no labelled objects, a batch that can't be divided among the replicas, a warm start
        that does not fit, a loss that is not finite, or too few minutes to train.
    """
    started = time.monotonic()
    config = fn_args.custom_config
    settings = config["settings"]
    training_settings = training_settings_of(settings)
    post_processing = PostProcessing(**settings["post_processing"])
    schema = io_utils.SchemaReader().read(fn_args.schema_path)
    class_names = class_names_of(schema)
    model_settings = ModelSettings(**settings["model"])
    train = read_transformed_examples(fn_args.train_files, features.CANVAS, config["canvas_size"])
    held_out = read_transformed_examples(
        fn_args.eval_files,
        features.PICTURE,
        model_settings.input_size,
        training_settings.eval_images,
    )
    _check_classes(train, class_names)
    weights = initial_weights.read_zoo(settings["warm_start"])
    if weights is not None:
        model_settings = with_anchors(model_settings, weights)
    detector = detector_config(model_settings, len(class_names), train)
    max_boxes = -(-train.max_boxes // _BOXES_MULTIPLE) * _BOXES_MULTIPLE
    _say(
        f"{len(train.image_ids)} training images, {len(held_out.image_ids)} to evaluate on, "
        f"{len(class_names)} classes, {len(detector.anchors)} anchors of scale "
        f"{anchor_scale(detector):.2f}, at most {train.max_boxes} boxes an image"
    )

    eval_batches = input_pipeline.evaluation_batches(
        held_out.records,
        input_size=detector.input_size,
        batch_size=training_settings.batch_size,
        # Evaluation keeps every box, however many an image has.
        max_boxes=max(max_boxes, _most_boxes(held_out)),
    )
    eval_batches = eval_batches.cache()
    state_dir = os.path.join(config["state_dir"], _state_key(fn_args, config))
    log = TensorBoardLog(os.path.join(state_dir, "tensorboard"), class_names)
    quantization_aware = settings["quantization"] == "aware"

    def evaluate(interval: Interval, log: TensorBoardLog) -> scoring.Scores:
        scores = scoring.score(
            interval.network, detector, eval_batches, post_processing, class_names
        )
        log.write(interval, scores, eval_batches)
        return scores

    def score(interval: Interval) -> float:
        scores = evaluate(interval, log)
        losses = "  ".join(f"{name} {value:.3f}" for name, value in interval.losses.items())
        _say(
            f"step {interval.step}/{training_settings.steps}  {losses}  "
            f"lr {interval.learning_rate:.5f}  mAP@.5 {scores.metrics['mAP50']:.3f}  "
            f"{interval.images_per_second:.0f} images/s"
        )
        return float(np.nan_to_num(scores.metrics["mAP50"]))

    def batches(step: int):
        return input_pipeline.training_batches(
            train.records,
            input_size=detector.input_size,
            batch_size=training_settings.batch_size,
            max_boxes=max_boxes,
            augmentation=Augmentation(**settings["augmentation"]),
            seed=training_settings.seed,
            num_records=len(train.image_ids),
            start_step=step,
            mosaic_steps=training_settings.steps - training_settings.steps // 10,
        )

    def make_run(
        training_settings: TrainingSettings, folder: str, score: Callable[[Interval], float]
    ) -> training.TrainingRun:
        return training.TrainingRun(
            detector,
            training_settings,
            quantization_aware=quantization_aware,
            folder=folder,
            batches=batches,
            score=score,
            initialize=lambda network: initial_weights.set_initial_weights(
                network,
                detector,
                settings["warm_start"],
                weights=weights,
                class_names=class_names,
                training=training_settings,
                batches=lambda: batches(0),
                state_dir=folder,
            ),
            say=_say,
            image_name=lambda index: train.image_ids[index],
            strategy_scope=lambda: scope_of(strategy),
            replicas=strategy.num_replicas_in_sync if strategy else 1,
            jit_compile=use_xla(training_settings.jit_compile),
        )

    def measure() -> Rates:
        with (
            _silent(),
            tempfile.TemporaryDirectory() as events,
            contextlib.closing(TensorBoardLog(events, class_names)) as throwaway,
        ):
            return measure_rates(
                make_run,
                training_settings,
                quantization_aware=quantization_aware,
                evaluate=lambda interval: evaluate(interval, throwaway),
                folder=os.path.join(state_dir, "measuring"),
            )

    plan = None
    try:
        strategy = choose_strategy(training_settings.distribution, training_settings.batch_size)
        if training_settings.minutes:
            plan = time_budget.make_plan(
                training_settings,
                quantization_aware=quantization_aware,
                measure=measure,
                state_dir=state_dir,
                trainer_started=started,
            )
            training_settings = time_budget.apply_plan(training_settings, plan)
        run = make_run(training_settings, state_dir, score)
        network, facts = run.train()
    except (NonFiniteLossError, ValueError) as error:
        raise UserError(str(error)) from error
    facts |= {"class_names": class_names, "state_dir": state_dir, "plan": plan}
    checkpoint.save_detector(fn_args.serving_model_dir, network, detector, facts)
    initial_weights.copy_table(state_dir, fn_args.serving_model_dir)
    run.copy_float_network(os.path.join(fn_args.serving_model_dir, checkpoint.FLOAT_FOLDER))
    log.close()
    io_utils.copy_dir(log.folder, fn_args.model_run_dir)


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
    """Names a training run, so that only the same run resumes an interrupted one."""
    inputs = [fn_args.train_files, fn_args.eval_files, fn_args.schema_path, config]
    return fingerprint_of(inputs)[:16]


def _most_boxes(examples: TransformedExamples) -> int:
    most = 1
    for record in examples.records:
        most = max(most, len(record["class_ids"]))
    return most


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
