"""The one configuration object: typed, immutable, checked before anything runs.

Light on purpose: `--help` and configuration errors do not wait for TensorFlow.
"""

import json
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Field, ValidationError, model_validator

from models.settings import (
    Augmentation,
    Count,
    Fraction,
    ModelSettings,
    NotNegative,
    Positive,
    PostProcessing,
    Settings,
    TrainingSettings,
)
from pipeline.errors import UserError
from pipeline.vertex.settings import VertexSettings


class DataSettings(Settings):
    """Where the labelled images are and how they are split."""

    path: str = ""
    """Folder of the data set, or the pattern of its TFRecord files; may hold {SPAN}. Empty when
    `train` and `eval` name everything."""
    format: Literal["voc", "tfrecord"] = "voc"
    """Pascal VOC folder, or TFRecords with the TF Object Detection API's keys."""
    class_from: Literal["name", "filename"] = "name"
    """VOC: the class is each object's <name>, or the file's name up to its last underscore."""
    images: str = ""
    """VOC: folder of the pictures inside the data set; empty looks for images, JPEGImages."""
    annotations: str = ""
    """VOC: folder of the XML files; empty looks for annotations/xmls, Annotations."""
    train: str = ""
    """Own split: a folder, a list of image ids (.txt), or a pattern of TFRecord files."""
    eval: str = ""
    """The same for evaluation."""
    eval_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Without an own split: share of the images, chosen by a hash of their ids, that are held
    out for evaluation. In steps of 0.01."""
    max_set_aside: Fraction = 0.01
    """The run stops when a larger share of the images can't be used."""

    @model_validator(mode="after")
    def _check(self):
        if bool(self.train) != bool(self.eval):
            raise ValueError("data.train and data.eval go together: set both, or neither")
        return self


class TransformSettings(Settings):
    """The pictures as training reads them."""

    canvas_size: Count = 448
    """Side in pixels to which pictures are resized once, for training; larger than the network's
    input, so that random crops keep their resolution."""


class WarmStart(Settings):
    """The weights that training starts from."""

    weights: str = ""
    """"imagenet" (Keras's own download), a file of the same kind (mobilenet_*_no_top.h5), a folder
    of an earlier run's model, or empty: random weights."""
    sha256: str = ""
    """Of the weights' file; the runner fills it in, so that another file is another run."""


class EvaluationSettings(Settings):
    """The gate."""

    min_map50: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """Least mAP@.5 of the .tflite that may be blessed. Has to be set."""
    max_drop: Fraction = 0.02
    """By how much mAP@.5 may be below the last blessed model's on the same images."""


class DeviceSettings(Settings):
    """What the device can take."""

    max_size_mb: Annotated[float, Field(gt=0.0)] = 4.0
    """Largest file, in MB of 1,000,000 bytes."""
    max_latency_ms: NotNegative = 0.0
    """Largest median latency on one thread where the check runs; 0 reports it only."""
    num_images: Count = 20
    """Evaluation images that the check runs."""


class RewriterSettings(Settings):
    """When the .tflite counts as broken, compared with the network it was made from."""

    num_images: Count = 500
    """Evaluation images that are compared, at most."""
    max_seconds: Positive = 300.0
    """After this time the comparison ends with the images it has, at least 16 of them."""
    max_map_drop: Fraction = 0.01
    """By how much mAP@.5 and mAP@[.5:.95] may be below the network's. A larger drop is refused
    when the 95% bootstrap interval of the drop is above this, too."""
    max_raw_box_error: NotNegative = 0.3
    """Before the post-processing: how far the box encodings may be off, as the root mean square
    of the difference relative to the values' standard deviation. Measured: 0.01 to 0.07."""
    max_raw_score_error: NotNegative = 0.3
    """The same of the class scores. Measured: 0.04 to 0.12."""


class PushSettings(Settings):
    """Where blessed models go."""

    destination: str = ""
    """Folder of the published versions; empty is `pushed` in the workdir."""


class ExecutionSettings(Settings):
    """Where a run keeps its files and on what it runs; the runners fill these in."""

    pipeline_root: str = ""
    """Folder of all artifacts; belongs to one metadata store."""
    state_dir: str = ""
    """Folder of training runs that are not finished, to go on from."""
    beam_args: tuple[str, ...] = ()
    """Beam's pipeline options."""
    stock_resolver: bool = False
    """Compare with the last blessed model whatever its age: Vertex AI resolves in no other way."""
    lost_versions: tuple[str, ...] = ()
    """Published versions that are no longer where they were pushed: they make the Pusher look
    again instead of being served from the cache."""
    training_service: dict[str, Any] | None = None
    """The custom job that trains, for TFX's Trainer for Vertex AI; null trains where the pipeline
    runs."""


class PipelineConfig(Settings):
    """Everything that decides what a run does, beside its data and its code."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """Name of the pipeline in ML Metadata. Models are compared under one name."""
    preset: str = ""
    """The preset that this configuration came from."""
    data: DataSettings = DataSettings()
    schema_dir: str = ""
    """Folder with the curated schema.pbtxt; empty infers one from the data."""
    transform: TransformSettings = TransformSettings()
    model: ModelSettings = ModelSettings()
    augmentation: Augmentation = Augmentation()
    training: TrainingSettings = TrainingSettings()
    warm_start: WarmStart = WarmStart()
    quantization: Literal["aware", "post_training", "none"] = "aware"
    """How the file that ships comes to its 8 bits, or that it stays in floating point."""
    post_processing: PostProcessing = PostProcessing()
    rewriter: RewriterSettings = RewriterSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    device: DeviceSettings = DeviceSettings()
    push: PushSettings = PushSettings()
    execution: ExecutionSettings = ExecutionSettings()
    vertex: VertexSettings = VertexSettings()

    @model_validator(mode="after")
    def _check(self):
        if self.transform.canvas_size < self.model.input_size:
            raise ValueError(
                f"transform.canvas_size ({self.transform.canvas_size}) has to be at least "
                f"model.input_size ({self.model.input_size})"
            )
        training = self.training
        if self.quantization == "aware" and training.quantization_delay >= training.steps:
            raise ValueError(
                f"training.quantization_delay ({training.quantization_delay}) has to be below "
                f"training.steps ({training.steps}) when quantization is aware"
            )
        if training.warmup_steps >= training.steps:
            raise ValueError(
                f"training.warmup_steps ({training.warmup_steps}) has to be below "
                f"training.steps ({training.steps})"
            )
        # A program runs all of its steps: it can't end where a phase or an interval does.
        counts = ["steps", "eval_every"]
        if self.quantization == "aware":
            counts.append("quantization_delay")
        for name in counts:
            if getattr(training, name) % training.steps_per_execution:
                raise ValueError(
                    f"training.{name} ({getattr(training, name)}) has to be a multiple of "
                    f"training.steps_per_execution ({training.steps_per_execution})"
                )
        return self

    def decisive(self) -> dict[str, Any]:
        """The settings that decide what is made, as JSON: without places and Vertex AI's."""
        return self.model_dump(mode="json", exclude={"preset", "push", "execution", "vertex"})

    def flat(self) -> dict[str, Any]:
        """All settings as `section.key` -> value."""
        return flatten(self.model_dump())


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}."""
    flat = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def override(config: PipelineConfig, assignments: dict[str, Any]) -> PipelineConfig:
    """Changes settings by their dotted names.

    Args:
      config: stays as it is.
      assignments: `section.key` -> value. A string is read as JSON where the setting is no
        string itself, so that "0.5", "true" and "null" work from a command line.

    Returns:
      A new, checked configuration.

    Raises:
      UserError: an unknown name (lists those that exist), or a value that does not fit.
    """
    nested = config.model_dump()
    known = flatten(nested)
    for name, value in assignments.items():
        if name not in known:
            section = name.rpartition(".")[0]
            siblings = [other for other in known if other.rpartition(".")[0] == section]
            raise UserError(
                f"Expected a setting that exists. Received: {name!r}. "
                f"Settings{f' of {section}' if siblings else ''}: "
                f"{', '.join(siblings or sorted(known))}."
            )
        *sections, key = name.split(".")
        group = nested
        for section in sections:
            group = group[section]
        group[key] = _read(name, value)
    try:
        return PipelineConfig.model_validate(nested)
    except ValidationError as error:
        raise UserError(explain(error)) from error


def _read(name: str, value: Any) -> Any:
    types_of_setting = _types_of(name)
    if not isinstance(value, str) or str in types_of_setting:
        return value
    try:
        parsed = json.loads(value)
    except json.JSONDecodeError:
        return value  # the type check names what was expected
    # To Python, true is a 1: a number's setting gets the text instead, and refuses it.
    return value if isinstance(parsed, bool) and bool not in types_of_setting else parsed


def _types_of(name: str) -> set[type]:
    model: type[Settings] = PipelineConfig
    *sections, key = name.split(".")
    for section in sections:
        model = model.model_fields[section].annotation
    annotation = model.model_fields[key].annotation
    is_choice = get_origin(annotation) in (Literal, Union, types.UnionType)
    options = get_args(annotation) if is_choice else (annotation,)
    return {type(option) if isinstance(option, str) else option for option in options}


def explain(error: ValidationError) -> str:
    """A pydantic error as sentences in the words of the command line."""
    sentences = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "value_error":
            sentences.append(str(problem["ctx"]["error"]) + ".")
        else:
            message = problem["msg"].replace("Input should be", "Expected").strip()
            sentences.append(f"{name}: {message}. Received: {problem['input']!r}.")
    return " ".join(sentences)


# The runners fill in the other settings of `execution`: a value from the command line would be
# overwritten.
_EXECUTION_SETTINGS_OF_USERS = ("beam_args",)


def parse_assignments(pairs: list[str]) -> dict[str, str]:
    """["section.key=value", ...] -> {"section.key": "value"}.

    Raises:
      UserError: a pair without "=", or a setting that only runners set.
    """
    assignments = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UserError(
                f"Expected --set section.key=value. Received: --set {pair}. "
                "For example: --set training.steps=500"
            )
        section, _, key = name.strip().rpartition(".")
        if section == "execution" and key in ExecutionSettings.model_fields:
            _check_is_for_users(key)
        assignments[name.strip()] = value.strip()
    return assignments


def _check_is_for_users(key: str) -> None:
    if key not in _EXECUTION_SETTINGS_OF_USERS:
        raise UserError(
            f"Expected a setting that users can make. Received: execution.{key}, which the runner "
            "fills in. The places of a run are the flags --workdir, --push-to and --metadata, or "
            "on Vertex AI --bucket."
        )
