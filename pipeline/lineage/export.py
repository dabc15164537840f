"""`export`: the lineage of X for other tools: OpenLineage events, or an in-toto statement.

OpenLineage (https://openlineage.io/spec/2-0-2/OpenLineage.json): a START and a COMPLETE or FAIL
event for every execution, one JSON object a line. Artifacts are datasets, named by their uris.

in-toto (https://in-toto.io/Statement/v1) with a SLSA provenance
(https://slsa.dev/spec/v1.0/provenance): what a pushed model was made from, how, and by what. What a
store does not record is left out. Given a key, it is signed: see `pipeline.lineage.signature`.

Both are written without their official Python classes, which the tests check them against:
in-toto's are protobuf messages and would turn every integer of the settings into a float, and
OpenLineage's take longer to import than any question takes to answer.
"""

import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.lineage.backend import Backend
from pipeline.lineage.fate import Fate
from pipeline.lineage.trace import Trace, asked_files
from pipeline.lineage.training import Training, recorded
from pipeline.metadata.records import (
    CACHED,
    COMPLETE,
    FAILED,
    NO_ORIGIN,
    Artifact,
    Execution,
    Run,
    iso,
)

_PRODUCER = "https://github.com/tensorflow/tfx"
_RUN_EVENT = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_PARENT = "https://openlineage.io/spec/facets/1-2-0/ParentRunFacet.json#/$defs/ParentRunFacet"
_JOBS = "tfx"
_FACET = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PROVENANCE = "https://slsa.dev/provenance/v1"
# docs/lineage.md describes the parameters of this type.
_BUILD_TYPE = "https://www.tensorflow.org/tfx/guide/understanding_tfx_pipelines"
# What executes runs on this machine.
_LOCAL_BUILDER = (
    "https://www.tensorflow.org/tfx/api_docs/python/tfx/v1/orchestration/LocalDagRunner"
)
_VERTEX = re.compile("vertex://(?P<project>[^/]+)/(?P<location>[^/]+)")
_SCHEME = re.compile("[a-z][a-z0-9+.-]*://")
_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:[^\s]+")
# For ids of runs that are the same in every export, wherever the store is.
_NAMESPACE = uuid.UUID("6f0a3b5e-6c0e-4c3b-9a0e-2f6d1b5b8a11")
_FINAL = {COMPLETE: "COMPLETE", CACHED: "COMPLETE", FAILED: "FAIL"}


def export(
    trace: Trace, form: str, *, builder_id: str | None = None, key_file: str | None = None
) -> str:
    """The lineage of a trace as text.

    Args:
      trace: of X.
      form: "openlineage" or "in-toto".
      builder_id: for in-toto: the URI of what made the model; by default that of TFX's local runner
        or of Vertex AI.
      key_file: for in-toto: the private key that signs it; None leaves it unsigned.

    Raises:
      UserError: in-toto, and X is not one model file; OpenLineage, with what only in-toto has; the
        URI or the key is none.
    """
    if form == "openlineage":
        if builder_id or key_file:
            raise UserError(
                "Expected --format in-toto with --builder-id or --sign-with. Received: openlineage."
            )
        return "\n".join(json.dumps(event) for event in openlineage_events(trace))
    statement = in_toto_statement(trace, builder_id)
    if key_file is None:
        return json.dumps(statement, indent=2)
    from pipeline.lineage.signature import sign  # loads cryptography

    return json.dumps(sign(statement, key_file))


def openlineage_events(trace: Trace) -> Iterator[dict[str, Any]]:
    """OpenLineage RunEvents, sorted by time."""
    part = trace.subgraph
    runs = trace.backend.runs_of(part.executions)
    events = []
    for key, execution in part.executions.items():
        run = runs.get(key)
        ends = [("START", execution.started_ms)]
        if execution.state in _FINAL:
            ends.append((_FINAL[execution.state], execution.finished_ms))
        for kind, time in ends:
            events.append(
                {
                    "eventType": kind,
                    "eventTime": iso(time),
                    "producer": _PRODUCER,
                    "schemaURL": _RUN_EVENT,
                    "run": {
                        "runId": _run_id(run, execution),
                        "facets": {
                            "tfx": _facet("RunFacet", _execution_facts(execution, run)),
                            **_parent(run),
                        },
                    },
                    "job": _job(_pipeline_of(run), execution.node),
                    "inputs": [_dataset(a) for a in _flat(part.inputs(key))],
                    "outputs": [_dataset(a) for a in _flat(part.outputs(key))],
                }
            )
    yield from sorted(events, key=lambda event: event["eventTime"])


def _job(*parts: str | None) -> dict[str, Any]:
    return {"namespace": _JOBS, "name": ".".join(filter(None, parts)), "facets": {}}


def _pipeline_of(run: Run | None) -> str | None:
    return run.facts.get("pipeline") if run else None


def _run_id(run: Run | None, execution: Execution | None = None) -> str:
    """The same for the same run, or execution in it, in every copy of its store."""
    parts = [run.name, run.created_ms] if run else []
    if execution:
        parts += [execution.id, execution.started_ms]
    return str(uuid.uuid5(_NAMESPACE, " ".join(map(str, parts))))


def _parent(run: Run | None) -> dict[str, Any]:
    """The facet that says which run of which pipeline an execution belongs to."""
    pipeline = _pipeline_of(run)
    if not pipeline:
        return {}
    job = {"namespace": _JOBS, "name": pipeline}
    facet = {"_producer": _PRODUCER, "_schemaURL": _PARENT}
    return {"parent": {**facet, "run": {"runId": _run_id(run)}, "job": job}}


def _flat(channels: dict[str, list[Artifact]]) -> list[Artifact]:
    return [artifact for _, group in sorted(channels.items()) for artifact in group]


def _execution_facts(execution: Execution, run: Run | None) -> dict[str, Any]:
    return {
        "execution": execution.id,
        "state": execution.state,
        "pipelineRun": run.name if run else None,
        "properties": execution.properties,
    }


def _facet(kind: str, facts: dict[str, Any]) -> dict[str, Any]:
    return {"_producer": _PRODUCER, "_schemaURL": f"{_FACET}{kind}", **facts}


def _dataset(artifact: Artifact) -> dict[str, Any]:
    scheme, separator, rest = artifact.uri.partition("://")
    facts = {"artifact": artifact.id, "type": artifact.type,
             "properties": artifact.properties}  # fmt: skip
    bucket, _, path = rest.partition("/")
    return {
        "namespace": f"{scheme}://{bucket}" if separator else "file",
        "name": path if separator else artifact.uri or f"artifact {artifact.id}",
        "facets": {"mlmd": _facet("DatasetFacet", facts)},
    }


def in_toto_statement(trace: Trace, builder_id: str | None = None) -> dict[str, Any]:
    """The provenance of a model's file; see `export`.

    Raises:
      UserError: X is not one file, or the builder's id is not a URI.
    """
    if builder_id and not _URI.fullmatch(builder_id):
        raise UserError(
            "Expected a URI for --builder-id, such as https://example.org/training. Received: "
            f"{builder_id!r}."
        )
    training, fate = _file_of(trace)
    digest = {"sha256": fate.shipping_model.properties["sha256"]}
    return {
        "_type": _STATEMENT,
        "subject": [{"name": "detect.tflite", "digest": digest}],
        "predicateType": _PROVENANCE,
        "predicate": {
            "buildDefinition": _build_definition(trace, training, fate),
            "runDetails": _run_details(trace.backend, fate, builder_id),
        },
    }


def _build_definition(trace: Trace, training: Training, fate: Fate) -> dict[str, Any]:
    facts = fate.run.facts if fate.run else {}
    origin = fate.run.origin if fate.run else NO_ORIGIN
    fingerprints = {name: facts.get(name) for name in ("code", "environment", "configuration")}
    external = {
        "settings": recorded(trace.backend, fate.run, "configuration") or training.settings,
        "command": facts.get("command"),
    }
    internal = {
        "environment": recorded(trace.backend, fate.run, "environment"),
        "fingerprints": _known(fingerprints) or None,
        "host": origin["host"],
        "user": origin["user"],
    }
    return {
        "buildType": _BUILD_TYPE,
        "externalParameters": _known(external),
        "internalParameters": _known(internal),
        "resolvedDependencies": [*_commit(origin), *_dependencies(trace, fate)],
    }


def _commit(origin: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The commit of the code, if it was recorded that there is one."""
    if origin["dirty"] is not None:
        annotations = {"dirty": origin["dirty"]}
        digest = {"gitCommit": origin["commit"]}
        yield {"name": "source", "digest": digest, "annotations": annotations}


def _run_details(backend: Backend, fate: Fate, builder_id: str | None) -> dict[str, Any]:
    """The run that made the file, which may have taken the trained model from the cache."""
    run = fate.run
    environment = recorded(backend, run, "environment") or {}
    began = run.created_ms if run else fate.rewriter.started_ms
    metadata = {
        "invocationId": run.name if run else None,
        "startedOn": iso(began),
        "finishedOn": iso(fate.shipping_model.created_ms),
    }
    judgement = {
        "metrics": fate.metrics,
        "thresholds": (fate.judgement.evaluation or {}).get("thresholds"),
        "blessed": fate.blessed,
        "infra_blessed": fate.infra_blessed,
    }
    return {
        "builder": {
            "id": builder_id or _builder_of(backend),
            "version": _known({"tfx": environment.get("tfx")}),
        },
        "metadata": _known(metadata),
        "byproducts": [
            {"name": "evaluation", "uri": _uri(artifact.uri), "annotations": _known(judgement)}
            for artifact in _evaluations(backend, fate)
        ],
    }


def _builder_of(backend: Backend) -> str:
    vertex = _VERTEX.match(backend.location)
    if vertex is None:
        return _LOCAL_BUILDER
    project, location = vertex.groups()
    return (
        f"https://{location}-aiplatform.googleapis.com/v1/projects/{project}/locations/{location}/"
        "pipelineJobs"
    )


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    """Only what is recorded: an optional field is absent rather than null."""
    return {name: value for name, value in facts.items() if value is not None}


def _evaluations(backend: Backend, fate: Fate) -> list[Artifact]:
    evaluator = fate.judgement.evaluator
    events = backend.events_of([evaluator.id] if evaluator else [])
    made = {e.artifact for e in events if e.is_output and e.channel == "evaluation"}
    return list(backend.artifacts(made).values())


def _uri(place: str) -> str:
    """A path or uri as a URI."""
    return place if _SCHEME.match(place) else Path(os.path.abspath(place)).as_uri()


def _file_of(trace: Trace) -> tuple[Training, Fate]:
    asked = asked_files(trace.backend, trace.subject)
    for training in trace.trainings:
        for fate in training.fates:
            if fate.shipping_model.id in asked:
                return training, fate
    raise UserError(
        "Expected a pushed folder, a .tflite file, or a run that made one, for an in-toto "
        f"statement. Received: {trace.subject.given}."
    )


def _dependencies(trace: Trace, fate: Fate) -> Iterator[dict[str, Any]]:
    """All files behind X whose hashes were recorded, and the data by its fingerprint.

    The code of the run that made the file comes before that of the trainings behind it.
    """
    part, backend = trace.subgraph, trace.backend
    for key, artifact in sorted(part.artifacts.items()):
        fingerprint = artifact.properties.get("data_fingerprint")
        if fingerprint:
            digest = {"dataFingerprint": fingerprint}
            yield {"uri": _uri(artifact.uri), "name": "data", "digest": digest}
        for name, facts in sorted((backend.record("files", key) or {}).items()):
            uri = artifact.uri if name == "." else os.path.join(artifact.uri, name)
            yield {"uri": _uri(uri), "name": artifact.type, "digest": {"sha256": facts["sha256"]}}
    tables = [recorded(backend, r, "code") for r in (fate.run, *(t.run for t in trace.trainings))]
    code = dict.fromkeys(pair for table in tables for pair in sorted((table or {}).items()))
    for name, digest in code:
        yield {"name": name, "digest": {"sha256": digest}}
