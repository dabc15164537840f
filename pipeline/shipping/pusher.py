"""Pusher: publishes a shipping model that both the Evaluator and DeviceCheck have blessed.

TFX's own Pusher copies a SavedModel; an app wants one file with its labels and its manifest, and a
`latest` that never names half of them. The output artifact is TFX's PushedModel all the same.
"""

import datetime
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from absl import logging
from tfx import types
from tfx.components.pusher import executor as tfx_pusher
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import io_utils

from models.labels import parse_labels
from pipeline.files import (
    FORMS,
    HASH_PROPERTY,
    LABELS_FILE,
    MANIFEST_FILE,
    PUSHED_MODEL_FILE,
    write_whole,
)
from pipeline.shipping.destination import publisher_for
from pipeline.shipping.device_check import read_device_report
from pipeline.shipping.gate import read_evaluation
from pipeline.shipping.held_back import score_on_test
from pipeline.shipping.judged_files import read_judged_files, require_same
from pipeline.shipping.judged_pictures import read_thresholds

_FIGURES = {"mAP50", "mAP"}


class Executor(tfx_pusher.Executor):
    """Publishes, with the score on the test images, or marks the output artifact as not pushed."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `Pusher`; the inputs, outputs and properties are those of `PusherSpec`."""
        inputs = {
            key: artifact_utils.get_single_instance(value) for key, value in input_dict.items()
        }
        pushed_model = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed_model)
            logging.warning("The model is not blessed: nothing is pushed.")
            return
        model = inputs["model"]
        files = read_judged_files(model)
        require_same(files, inputs["model_blessing"], "Evaluator", model.uri)
        judged = require_same(files, inputs["infra_blessing"], "DeviceCheck", model.uri)
        run_id = (self._context and self._context.pipeline_run_id) or ""
        manifest = build_manifest(
            inputs, files, run_id, json.loads(exec_properties["fingerprints"])
        )
        if test := score_on_test(model, inputs["examples"]):
            manifest["test"] = test
            pushed_model.set_int_custom_property("test_images", test["images"])
            for name in _FIGURES & test["metrics"].keys():
                pushed_model.set_float_custom_property(f"test_{name}", test["metrics"][name])
            logging.info("On the %d test images: %s", test["images"], test["metrics"])
        publisher = publisher_for(exec_properties["push_destination"])
        published = publisher.publish(files, manifest)
        # The artifact keeps a copy, as with TFX: others can change what is at the destination.
        for name, content in {**files, MANIFEST_FILE: published.manifest}.items():
            write_whole(os.path.join(pushed_model.uri, name), content)
        self._MarkPushed(pushed_model, published.path, published.version)
        facts = published.files[PUSHED_MODEL_FILE]
        pushed_model.set_string_custom_property("sha256", facts["sha256"])
        pushed_model.set_string_custom_property(HASH_PROPERTY, judged)
        pushed_model.set_int_custom_property("size_bytes", facts["size_bytes"])
        for name in FORMS.keys() & published.files.keys():
            sha256 = published.files[name]["sha256"]
            pushed_model.set_string_custom_property(FORMS[name], sha256)
        for name in _FIGURES:
            pushed_model.set_float_custom_property(name, manifest["metrics"][name])
        logging.info("Pushed version %s to %s.", published.version, published.path)


def build_manifest(
    inputs: Mapping[str, types.Artifact],
    files: Mapping[str, bytes],
    run_id: str,
    fingerprints: Mapping[str, str],
) -> dict[str, Any]:
    """Content of manifest.json, except what the publisher adds.

    Args:
      inputs: artifacts by the names of `PusherSpec`.
      files: contents by published name.
      run_id: of the pipeline's run; empty if the orchestrator does not tell.
      fingerprints: from the runner, by name.

    Returns:
      {run_id, pushed_at, classes, metrics, score_thresholds, gate, device_check, fingerprints,
      artifacts}.
    """
    evaluation = read_evaluation(inputs["evaluation"].uri)
    labels_text = files[LABELS_FILE].decode()
    schema_path = io_utils.get_only_uri_in_dir(inputs["schema"].uri)
    return {
        "run_id": run_id,
        "pushed_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "classes": list(parse_labels(labels_text, LABELS_FILE)),
        "metrics": evaluation.metrics,
        "score_thresholds": read_thresholds(inputs["evaluation"].uri),
        "gate": {
            "blessed": evaluation.blessed,
            "baseline_metrics": evaluation.baseline_metrics,
            "conditions": [
                {**condition, "text": str(threshold)}
                for condition, threshold in zip(
                    evaluation.to_json()["thresholds"], evaluation.thresholds, strict=True
                )
            ],
        },
        "device_check": read_device_report(inputs["infra_blessing"].uri),
        "fingerprints": {
            **fingerprints,
            "schema": hashlib.sha256(_read(schema_path)).hexdigest(),
            "data": inputs["examples"].get_string_custom_property("data_fingerprint"),
        },
        "artifacts": {
            name: {"id": artifact.id, "type": artifact.type_name, "uri": artifact.uri}
            for name, artifact in sorted(inputs.items())
        },
    }


def _read(path):
    with fileio.open(path, "rb") as file:
        return file.read()


class PusherSpec(ComponentSpec):
    """Inputs, outputs and properties of `Pusher`."""

    PARAMETERS = {
        "push_destination": ExecutionParameter(type=str),
        "fingerprints": ExecutionParameter(type=str),
        "lost_versions": ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_blessing": ChannelParameter(type=standard_artifacts.ModelBlessing),
        "infra_blessing": ChannelParameter(type=standard_artifacts.InfraBlessing),
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS = {
        "pushed_model": ChannelParameter(type=standard_artifacts.PushedModel),
    }


class Pusher(base_component.BaseComponent):
    """Publishes a shipping model if, and only if, both judges bless it.

    Its output `pushed_model` has the custom properties `pushed` (1 or 0) and, if pushed,
    `pushed_destination` (the version's folder), `pushed_version`, `sha256`, those of `FORMS`,
    `files_sha256` (of all), `size_bytes`, `mAP50` and `mAP`; with test images also `test_images`,
    `test_mAP50` and `test_mAP`.

    Args:
      model: the shipping model, see `pipeline.files`.
      model_blessing: the Evaluator's.
      infra_blessing: the DeviceCheck's.
      evaluation: the Evaluator's figures, for the manifest.
      examples: the raw examples, for the manifest's data fingerprint.
      schema: for the manifest's schema fingerprint.
      push_destination: see `pipeline.shipping.destination.publisher_for`.
      fingerprints: of the code, the configuration and the environment, for the manifest. Part of
        the cache key.
      lost_versions: see `pipeline.shipping.folder_publisher.lost_versions`. Only part of the cache
        key.
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        model_blessing: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        evaluation: types.BaseChannel,
        examples: types.BaseChannel,
        schema: types.BaseChannel,
        push_destination: str,
        fingerprints: Mapping[str, str],
        lost_versions: Sequence[str] = (),
    ):
        super().__init__(
            PusherSpec(
                model=model,
                model_blessing=model_blessing,
                infra_blessing=infra_blessing,
                evaluation=evaluation,
                examples=examples,
                schema=schema,
                push_destination=push_destination,
                fingerprints=json.dumps(dict(fingerprints), sort_keys=True),
                lost_versions=json.dumps(list(lost_versions)),
                pushed_model=types.Channel(type=standard_artifacts.PushedModel),
            )
        )
