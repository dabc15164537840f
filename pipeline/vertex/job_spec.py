"""Reads compiled jobs: their tasks, and what each of them needs."""

import graphlib
from collections.abc import Mapping
from typing import Any

# With an exit handler, TFX puts all other tasks into a component of this name.
TFX_DAG = "tfx-dag"


def validate(job: dict[str, Any]) -> None:
    """Checks a job against the published schema of pipeline specs, field by field.

    Raises:
      ValueError: a field is unknown to the schema, or has the wrong type.
    """
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    spec = pipeline_spec_pb2.PipelineSpec()
    deployment = pipeline_spec_pb2.PipelineDeploymentConfig()
    try:
        json_format.ParseDict(job, pipeline_spec_pb2.PipelineJob())
        json_format.ParseDict(job["pipelineSpec"], spec)
        json_format.ParseDict(job["pipelineSpec"]["deploymentSpec"], deployment)
    except json_format.ParseError as error:
        raise ValueError(f"The job does not match the published schema: {error}") from error
    for dag in (spec.root.dag, spec.components[TFX_DAG].dag):
        for name, each in dag.tasks.items():
            component = spec.components[each.component_ref.name]
            if not component.dag.tasks and component.executor_label not in deployment.executors:
                raise ValueError(f"Task {name} has no executor.")
            unknown = [other for other in each.dependent_tasks if other not in dag.tasks]
            if unknown:
                raise ValueError(f"Task {name} depends on tasks that the job lacks: {unknown}.")


def tasks_of(spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The tasks of a job's `pipelineSpec` by name, those that end it included."""
    inner, outer = _dags(spec)
    return {**inner, **{name: each for name, each in outer.items() if name != TFX_DAG}}


def _dags(spec: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    inner = spec["components"].get(TFX_DAG, {}).get("dag", {}).get("tasks", {})
    return inner, spec["root"]["dag"]["tasks"]


def needs_of(job: Mapping[str, Any]) -> dict[str, set[str]]:
    """Of each task of a job, the names of those that it depends on or takes artifacts from."""
    spec = job["pipelineSpec"]
    needs = {}
    for name, each in tasks_of(spec).items():
        inputs = each.get("inputs", {}).get("artifacts", {}).values()
        needs[name] = {
            *each.get("dependentTasks", ()),
            *(source["taskOutputArtifact"]["producerTask"] for source in inputs),
        }
        if TFX_DAG in needs[name]:
            needs[name] = (needs[name] - {TFX_DAG}) | set(_dags(spec)[0])
    return needs


def task_graph(job: Mapping[str, Any]) -> graphlib.TopologicalSorter:
    """The names of a job's tasks, to be walked so that each comes after those that it needs."""
    return graphlib.TopologicalSorter(needs_of(job))
