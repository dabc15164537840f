"""Runs a task of a compiled job as Vertex AI does: by its container's command."""

import dataclasses
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UserError
from pipeline.fingerprint import ROOT
from pipeline.vertex.rehearsal.process import run_module
from pipeline.vertex.rehearsal.store import RehearsalStore, cache_key
from pipeline.vertex.results import Artifacts, TaskResult

_EXECUTOR_INPUT = "{{$}}"
_TRAINING_SERVICE = "tfx.extensions.google_cloud_ai_platform.trainer.executor.GenericExecutor"
# What a container would get from its image. Nothing else of this environment is passed on.
_KEPT_ENVIRONMENT = (
    *("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH"),
    *("KERAS_HOME", "MPLCONFIGDIR"),  # which `models` sets
)


@dataclasses.dataclass(frozen=True)
class Task:
    """A task, with everything that the job says about it.

    Attributes:
      name: of the task.
      parameters: values in the form of the spec, {"stringValue": ...}.
      component: definition of the component.
      executor: from the deployment, with `container`, `resolver` or `importer`.
      caching: whether identical tasks may share outputs.
    """

    name: str
    parameters: dict[str, Any]
    component: Mapping[str, Any]
    executor: Mapping[str, Any]
    caching: bool


def run_task(
    task: Task, inputs: Artifacts, folder: Path, store: RehearsalStore, log: Path
) -> TaskResult:
    """Runs a task.

    Args:
      task: to run.
      inputs: artifacts by input.
      folder: for the task's outputs; does not exist yet.
      store: answers resolvers, and gets the outputs.
      log: gets the output of the container's processes.

    Raises:
      UserError: a command failed.
    """
    started = time.time()
    if "resolver" in task.executor:
        queries = task.executor["resolver"]["outputArtifactQueries"]
        outputs = {name: store.query(query["filter"], inputs) for name, query in queries.items()}
        return TaskResult(task.name, "complete", started, time.time(), outputs)
    if "importer" in task.executor:
        outputs = _import(task, store)
        return TaskResult(task.name, "complete", started, time.time(), outputs)

    container = task.executor["container"]
    outputs = {
        name: [_new_artifact(store.new_name(), f"{folder}/{name}", definition)]
        for name, definition in task.component.get("outputDefinitions", {})
        .get("artifacts", {})
        .items()
    }
    parameters = dict(task.parameters)
    output_file = folder / "executor_output.json"
    executor_input = _executor_input(parameters, inputs, outputs, output_file)
    driver = container.get("lifecycle", {}).get("preCacheCheck")
    if driver:
        _run([*driver["command"], *driver["args"]], executor_input, task.name, log)
        parameters |= _apply(json.loads(output_file.read_text()), outputs)
        # The driver has fingerprinted the data, which thereby becomes part of the cache key.
        executor_input = _executor_input(parameters, inputs, outputs, output_file)
    names = {key: [artifact["name"] for artifact in listed] for key, listed in inputs.items()}
    command = [container["image"], *container["command"], *container["args"]]
    key = cache_key(task.name, command, parameters, names, task.component)
    cached = store.cached(key) if task.caching else None
    if cached is not None:
        return TaskResult(task.name, "cached", started, time.time(), cached)
    # A bucket has no folders; here they must exist before something is written into them.
    for listed in outputs.values():
        for artifact in listed:
            Path(artifact["uri"]).mkdir(parents=True, exist_ok=True)
    _run([*container["command"], *container["args"]], executor_input, task.name, log)
    _apply(json.loads(output_file.read_text()), outputs)
    store.record(key, outputs)
    return TaskResult(task.name, "complete", started, time.time(), outputs)


def _import(task: Task, store: RehearsalStore) -> Artifacts:
    """The artifact at a given uri; the one that an earlier rehearsal imported or made there."""
    uri = task.executor["importer"]["artifactUri"]["constantValue"]["stringValue"]
    [(output, definition)] = task.component["outputDefinitions"]["artifacts"].items()
    artifact = _new_artifact("", uri, definition)
    earlier = store.known(artifact)
    if earlier is None:
        artifact["name"] = store.new_name()
        store.record(cache_key(task.name, uri, definition), {output: [artifact]})
    return {output: [earlier or artifact]}


def _new_artifact(name: str, uri: str, definition: Mapping[str, Any]) -> dict[str, Any]:
    schema = yaml.safe_load(definition["artifactType"]["instanceSchema"])
    return {
        "name": name,
        "uri": uri,
        "type": definition["artifactType"],
        "schema_title": schema["title"],
        "state": "LIVE",
        "metadata": dict(definition.get("metadata", {})),
    }


def _executor_input(
    parameters: Mapping[str, Any], inputs: Artifacts, outputs: Artifacts, output_file: Path
) -> str:
    """The ExecutorInput as JSON, checked against its published schema."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    def listed(artifacts: Artifacts) -> dict[str, Any]:
        fields = ("name", "uri", "type", "metadata")
        return {
            key: {"artifacts": [{field: one[field] for field in fields} for one in group]}
            for key, group in artifacts.items()
        }

    message = {
        "inputs": {"parameters": dict(parameters), "artifacts": listed(inputs)},
        "outputs": {"artifacts": listed(outputs), "outputFile": str(output_file)},
    }
    json_format.ParseDict(message, pipeline_spec_pb2.ExecutorInput())
    return json.dumps(message)


def _apply(executor_output: Mapping[str, Any], outputs: Artifacts) -> dict[str, Any]:
    """Updates artifacts from an ExecutorOutput; returns its parameters."""
    for key, listed in executor_output.get("artifacts", {}).items():
        for artifact, update in zip(outputs[key], listed["artifacts"], strict=True):
            artifact["uri"] = update.get("uri", artifact["uri"])
            artifact["metadata"] |= update.get("metadata", {})
    values = {}
    for name, value in executor_output.get("parameterValues", {}).items():
        kind = "stringValue" if isinstance(value, str) else "intValue"
        values[name] = {kind: value if isinstance(value, str) else int(value)}
    return values


def _run(command: list[str], executor_input: str, task: str, log: Path) -> None:
    # This environment's Python replaces the image's.
    python, option, module, *arguments = command
    if (python, option) != ("python", "-m"):
        raise ValueError(f"Expected the command python -m MODULE. Received: {command[:3]}.")
    arguments = [argument.replace(_EXECUTOR_INPUT, executor_input) for argument in arguments]
    if _TRAINING_SERVICE in arguments:
        module = "pipeline.vertex.rehearsal.training"
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    environment |= {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"}
    code = run_module(module, arguments, environment, ROOT, log)
    if code:
        raise UserError(f"{task} failed with exit code {code}: {_last_line(log)} (log: {log})")


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:500] if lines else "it printed nothing"
