"""The configuration of a run: typed, immutable, checked before anything starts.

Light on purpose: `--help` and configuration errors do not wait for TensorFlow.
"""

import json
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Field, ValidationError, model_validator

from models.settings import (
    Augmentation,
    ModelSettings,
    PostProcessing,
    Settings,
    TrainingSettings,
)
from pipeline.errors import UserError
from pipeline.settings import (
    DataSettings,
    DeviceSettings,
    EvaluationSettings,
    ExecutionSettings,
    PushSettings,
    ReportSettings,
    RewriterSettings,
    TransformSettings,
    VertexSettings,
    WarmStart,
)

_LEAST_MINUTES = 2
_ALL_BUT_PLACES = set(WarmStart.model_fields) - {"weights", "labels"}


class PipelineConfig(Settings):
    """Everything that decides what a run does, besides its data and code."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    """Name of the pipeline in ML Metadata. Models of one name are compared with each other."""
    preset: str = ""
    """The preset that this configuration came from."""
    data: DataSettings = DataSettings()
    schema_dir: str = ""
    """Folder of the curated schema.pbtxt; empty infers a schema from the data."""
    transform: TransformSettings = TransformSettings()
    model: ModelSettings = ModelSettings()
    augmentation: Augmentation = Augmentation()
    training: TrainingSettings = TrainingSettings()
    warm_start: WarmStart = WarmStart()
    quantization: Literal["aware", "post_training", "none"] = "aware"
    """How the shipped file gets its 8 bits; none keeps it in floating point."""
    post_processing: PostProcessing = PostProcessing()
    rewriter: RewriterSettings = RewriterSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    device: DeviceSettings = DeviceSettings()
    push: PushSettings = PushSettings()
    report: ReportSettings = ReportSettings()
    execution: ExecutionSettings = ExecutionSettings()
    vertex: VertexSettings = VertexSettings()

    @model_validator(mode="after")
    def _check(self):
        if self.transform.canvas_size < self.model.input_size:
            raise ValueError(
                f"transform.canvas_size ({self.transform.canvas_size}) must be at least "
                f"model.input_size ({self.model.input_size})"
            )
        training = self.training
        if 0 < training.minutes < _LEAST_MINUTES:
            raise ValueError(
                f"training.minutes ({training.minutes:g}) must be at least {_LEAST_MINUTES}, or 0: "
                "a run takes about one and a half without any training"
            )
        if self.quantization == "aware" and training.quantization_delay >= training.steps:
            raise ValueError(
                f"training.quantization_delay ({training.quantization_delay}) must be below "
                f"training.steps ({training.steps}) when quantization is aware"
            )
        if training.warmup_steps >= training.steps:
            raise ValueError(
                f"training.warmup_steps ({training.warmup_steps}) must be below "
                f"training.steps ({training.steps})"
            )
        # A program always runs all of its steps, so every phase and interval must end with one.
        counts = ["steps", "eval_every"]
        if self.quantization == "aware":
            counts.append("quantization_delay")
        for name in counts:
            if getattr(training, name) % training.steps_per_execution:
                raise ValueError(
                    f"training.{name} ({getattr(training, name)}) must be a multiple of "
                    f"training.steps_per_execution ({training.steps_per_execution})"
                )
        return self

    def decisive(self) -> dict[str, Any]:
        """The settings that decide the result, as JSON: all but locations, report and Vertex AI."""
        others = {"preset", "push", "report", "execution", "vertex"}
        return self.model_dump(mode="json", exclude=others)

    def making(self) -> dict[str, Any]:
        """The settings that make a file out of data, as JSON.

        Data and weights count by their content, wherever they are, and judges make no file.
        """
        return self.model_dump(
            mode="json",
            include={
                "transform": True,
                "model": True,
                "augmentation": True,
                "training": True,
                "warm_start": _ALL_BUT_PLACES if self.warm_start.sha256 else True,
                "quantization": True,
                "post_processing": True,
            },
        )

    def flat(self) -> dict[str, Any]:
        """All settings as `section.key` -> value."""
        return flatten(self.model_dump())


def require_threshold(config: PipelineConfig) -> None:
    """Some presets leave the gate's threshold to the user.

    Raises:
      UserError: there is none.
    """
    if config.evaluation.min_map50 is None:
        raise UserError(
            "Expected a threshold for the gate. Received: none. Set the lowest mAP@.5 at which a "
            "model may be pushed, for example --set evaluation.min_map50=0.8"
        )


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
      config: not changed.
      assignments: `section.key` -> value. A string is parsed as JSON unless the setting itself is
        a string, so that "0.5", "true" and "null" work from a command line.

    Returns:
      A new, checked configuration.

    Raises:
      UserError: an unknown name (the message lists the known ones), or an invalid value.
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
        return value  # the type check reports what it expected
    # Python takes true for 1. A numeric setting gets the text instead, and rejects it.
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
    """A pydantic error as sentences for users of the command line."""
    sentences = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "value_error":
            sentences.append(str(problem["ctx"]["error"]) + ".")
        else:
            message = problem["msg"].replace("Input should be", "Expected").strip()
            sentences.append(f"{name}: {message}. Received: {problem['input']!r}.")
    return " ".join(sentences)


# The runners fill in the other settings of `execution`, overwriting anything from the command line.
_EXECUTION_SETTINGS_OF_USERS = ("beam_args", "record_host_and_user")


def parse_assignments(pairs: list[str]) -> dict[str, str]:
    """["section.key=value", ...] -> {"section.key": "value"}.

    Raises:
      UserError: a pair without "=", or a setting that only the runners set.
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
            f"Expected a setting that users can set. Received: execution.{key}, which the runner "
            "fills in. To choose where a run keeps its files, use --workdir, --push-to and "
            "--metadata, or on Vertex AI --bucket."
        )
