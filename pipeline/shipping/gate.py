"""The gate: the model to compare with, the thresholds that bless, and the Evaluator's decision."""

import dataclasses
import json
import logging
import math
from collections.abc import Sequence

import tfx.v1  # noqa: F401 - TFX patches EvalConfig into TFMA, so it comes first
from google.protobuf import wrappers_pb2
from ml_metadata import metadata_store
from tensorflow_model_analysis.api import model_eval_lib
from tensorflow_model_analysis.constants import BASELINE_KEY
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.writers import eval_config_writer
from tfx import types
from tfx.dsl.components.common import resolver
from tfx.types import standard_artifacts

from pipeline.errors import UserError
from pipeline.metadata.facts import damage, withdrawals

GATED_METRIC = "mAP50"
EXTRACTOR_MODULE = "pipeline.shipping.tflite_extractor"
"""The Evaluator's `module_path`."""


_log = logging.getLogger("detector")


class BlessedBeforeStrategy(resolver.ResolverStrategy):
    """Chooses the baseline: the latest blessed model before the candidate that is still whole.

    Models that DeviceCheck refused or that were withdrawn, and those whose files are gone or have
    changed, are left out, with a warning.

    Once a candidate is blessed, TFX's LatestBlessedModelStrategy would compare it with itself in
    the next run: the Evaluator's inputs would have changed, and an unchanged run would not be
    cached.

    Inputs: `candidate` (one Model), `model` and `model_blessing` (all of them). Outputs: the same
    keys, `model` and `model_blessing` with one artifact or none.
    """

    def resolve_artifacts(self, store, input_dict):
        """Called by the Resolver; see the class."""
        (candidate,) = input_dict["candidate"]
        blessings = {
            blessing.get_int_custom_property("current_model_id"): blessing
            for blessing in input_dict["model_blessing"]
            if blessing.get_int_custom_property("blessed") == 1
        }
        earlier = [
            model
            for model in input_dict["model"]
            if model.id in blessings and model.id < candidate.id
        ]
        result: dict[str, list[types.Artifact]] = {
            "candidate": [candidate],
            "model": [],
            "model_blessing": [],
        }
        withdrawn, refused = withdrawals(store), _device_refusals(store)
        for model in sorted(earlier, key=lambda artifact: artifact.id, reverse=True):
            sha256 = model.get_string_custom_property("sha256")
            if facts := withdrawn.get(sha256):
                reason = f"it was withdrawn at {facts['at']} ({facts['reason']})"
            elif sha256 in refused:  # users never had it
                reason = f"DeviceCheck refused it ({refused[sha256]})"
            else:
                reason = damage(store, model.id, model.uri) if "://" not in model.uri else None
            if reason is None:
                result |= {"model": [model], "model_blessing": [blessings[model.id]]}
                break
            _log.warning("no comparison with blessed model %s: %s", model.id, reason)
        return result


def _device_refusals(store: metadata_store.MetadataStore) -> dict[str, str]:
    """Why DeviceCheck refused files that it never blessed, by sha256."""
    reports = [
        report.custom_properties
        for report in store.get_artifacts_by_type(standard_artifacts.InfraBlessing.TYPE_NAME)
        if "sha256" in report.custom_properties
    ]
    blessed = {one["sha256"].string_value for one in reports if one["blessed"].int_value}
    return {
        one["sha256"].string_value: "; ".join(json.loads(one["reasons"].string_value))
        for one in reports
        if one["sha256"].string_value not in blessed
    }


def eval_config(
    class_names: Sequence[str] | None,
    min_map50: float | None,
    max_drop: float,
    code_fingerprint: str = "",
) -> config_pb2.EvalConfig:
    """What the Evaluator measures, and which thresholds a blessing takes.

    Args:
      class_names: see `pipeline.shipping.coco_metric.CocoMetrics`; may be None.
      min_map50: a model below this is not blessed; 0 < min_map50 <= 1.
      max_drop: a model whose mAP50 is more than this below the last blessed model's, on the same
        pictures, is not blessed; 0 <= max_drop <= 1. Ignored if there is no such model.
      code_fingerprint: of the code that judges; part of the Evaluator's cache key.

    Returns:
      A `tfma.EvalConfig` for one candidate; the Evaluator adds the baseline if it is given one.

    Raises:
      UserError: a bound is missing or out of range. Without the absolute one TFX would write no
        blessing at all.
    """
    if min_map50 is None or not 0 < min_map50 <= 1:
        raise UserError(
            "Expected a minimum mAP50 for the gate, above 0 and at most 1. "
            f"Received: {min_map50}. Set evaluation.min_map50 in the preset or with --set."
        )
    if max_drop is None or not 0 <= max_drop <= 1:
        raise UserError(
            "Expected the largest allowed drop of mAP50 below the last blessed model's, from 0 "
            f"to 1. Received: {max_drop}. Set evaluation.max_drop in the preset or with --set."
        )
    threshold = config_pb2.MetricThreshold(
        value_threshold=config_pb2.GenericValueThreshold(lower_bound=_double(min_map50)),
        change_threshold=config_pb2.GenericChangeThreshold(
            absolute=_double(-max_drop), direction=config_pb2.MetricDirection.HIGHER_IS_BETTER
        ),
    )
    metric = config_pb2.MetricConfig(
        module="pipeline.shipping.coco_metric",
        class_name="CocoMetrics",
        config=json.dumps(
            {
                "class_names": None if class_names is None else list(class_names),
                "code_fingerprint": code_fingerprint,
            }
        ),
    )
    return config_pb2.EvalConfig(
        model_specs=[config_pb2.ModelSpec(model_type="tf_lite")],
        slicing_specs=[config_pb2.SlicingSpec()],
        metrics_specs=[
            config_pb2.MetricsSpec(metrics=[metric], thresholds={GATED_METRIC: threshold})
        ],
    )


def _double(value):
    return wrappers_pb2.DoubleValue(value=value)


@dataclasses.dataclass(frozen=True)
class Threshold:
    """One condition of the gate, with the numbers behind it.

    Attributes:
      metric: name of the metric.
      kind: "value", a bound on the metric, or "change", on its difference to the baseline's.
      value: what was measured; None if it is not a number.
      bound: the smallest value that passes.
      passed: whether the condition holds.
    """

    metric: str
    kind: str
    value: float | None
    bound: float
    passed: bool

    def __str__(self) -> str:
        what = self.metric if self.kind == "value" else f"change of {self.metric}"
        value = "not a number" if self.value is None else f"{self.value:.4f}"
        return f"{what} {value}, at least {self.bound:.4f}: {'passed' if self.passed else 'failed'}"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What the Evaluator found.

    Attributes:
      metrics: the candidate's figures by name; those that are not a number (classes without
        ground truth) are absent.
      baseline_metrics: those of the last blessed model; None if there was none.
      thresholds: the conditions that applied; a change only if there was a baseline.
      blessed: the decision. TFMA may have reasons of its own to refuse.
    """

    metrics: dict[str, float]
    baseline_metrics: dict[str, float] | None
    thresholds: tuple[Threshold, ...]
    blessed: bool

    def to_json(self) -> dict:
        """Plain values for `json.dump`."""
        return dataclasses.asdict(self)


def read_evaluation(evaluation_uri: str) -> Evaluation:
    """Reads a ModelEvaluation artifact.

    Args:
      evaluation_uri: the artifact's uri, a folder or a URL.

    Returns:
      The figures of the whole eval split and the decision.

    Raises:
      UserError: there is no finished evaluation with exactly one slice.
    """
    config, *_ = eval_config_writer.load_eval_run(evaluation_uri)
    slices = list(model_eval_lib.load_metrics(evaluation_uri)) if config else []
    if len(slices) != 1:
        raise UserError(
            f"Expected a finished evaluation with one slice in {evaluation_uri}. "
            f"Received: {len(slices)} slices."
        )
    metrics, baseline, change = {}, {}, {}
    for entry in slices[0].metric_keys_and_values:
        value = entry.value.double_value.value
        if entry.key.is_diff:
            group = change
        else:
            group = baseline if entry.key.model_name == BASELINE_KEY else metrics
        if math.isfinite(value):
            group[entry.key.name] = value
    has_baseline = any(spec.is_baseline for spec in config.model_specs)
    return Evaluation(
        metrics=metrics,
        baseline_metrics=baseline if has_baseline else None,
        thresholds=tuple(_thresholds(config, metrics, change)),
        blessed=model_eval_lib.load_validation_result(evaluation_uri).validation_ok,
    )


def _thresholds(config, metrics, change):
    for spec in config.metrics_specs:
        for name, threshold in spec.thresholds.items():
            if threshold.HasField("value_threshold"):
                bound = threshold.value_threshold.lower_bound.value
                yield _threshold(name, "value", metrics.get(name), bound)
            if threshold.HasField("change_threshold"):
                bound = threshold.change_threshold.absolute.value
                yield _threshold(name, "change", change.get(name), bound)


def _threshold(metric, kind, value, bound):
    return Threshold(metric, kind, value, bound, passed=value is not None and value >= bound)
