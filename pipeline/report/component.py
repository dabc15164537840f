"""Report: the last component. It computes the facts of a run and writes its page.

It runs whether or not anything was pushed. On Vertex AI the page lies beside the pushed model, too.
"""

import json
import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.artifact import Artifact
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from pipeline.files import REPORT_FACTS_FILE, REPORT_FILE, write_whole
from pipeline.report.facts import make_facts
from pipeline.report.page import render


class RunReport(Artifact):
    """The facts of a run and their page, see `pipeline.report`."""

    TYPE_NAME = "pipeline.RunReport"  # and where Vertex AI's tasks find it


class Executor(base_executor.BaseExecutor):
    """Writes report.json and report.html."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `Report`; the inputs, outputs and properties are those of `ReportSpec`."""
        inputs = {
            key: artifact_utils.get_single_instance(value) for key, value in input_dict.items()
        }
        report = artifact_utils.get_single_instance(output_dict["report"])
        run_id = (self._context and self._context.pipeline_run_id) or ""
        facts = make_facts(inputs, json.loads(exec_properties["settings"]), run_id)
        page = render(facts, None).encode()
        content = json.dumps(facts, allow_nan=False).encode()
        write_whole(os.path.join(report.uri, REPORT_FACTS_FILE), content)
        write_whole(os.path.join(report.uri, REPORT_FILE), page)
        destination = facts["verdict"]["destination"] or ""
        if "://" in destination:  # a folder's own runner writes the page into the run's
            write_whole(os.path.join(destination, REPORT_FILE), page)


class ReportSpec(ComponentSpec):
    """Inputs, outputs and properties of `Report`."""

    PARAMETERS = {
        "settings": ExecutionParameter(type=str),
        "code_fingerprint": ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "transformed_examples": ChannelParameter(type=standard_artifacts.Examples),
        "model": ChannelParameter(type=standard_artifacts.Model),
        "model_run": ChannelParameter(type=standard_artifacts.ModelRun),
        "shipping_model": ChannelParameter(type=standard_artifacts.Model),
        "evaluation": ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "infra_blessing": ChannelParameter(type=standard_artifacts.InfraBlessing),
        "pushed_model": ChannelParameter(type=standard_artifacts.PushedModel),
    }
    OUTPUTS = {"report": ChannelParameter(type=RunReport)}


class Report(base_component.BaseComponent):
    """Makes the page that shows what came out; its id is `Report`.

    Args:
      inputs: channels by the names of `ReportSpec.INPUTS`: what the other components put out.
      settings: of the run: the sections `model`, `augmentation`, `training` and `report`, and
        `quantization`.
      code_fingerprint: part of the cache key, so that an edited page is made again.
    """

    SPEC_CLASS = ReportSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self, inputs: dict[str, types.BaseChannel], settings: dict[str, Any], code_fingerprint: str
    ):
        super().__init__(
            ReportSpec(
                **inputs,
                settings=json.dumps(settings, sort_keys=True),
                code_fingerprint=code_fingerprint,
                report=types.Channel(type=RunReport),
            )
        )
