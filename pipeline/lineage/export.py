"""`export`: the lineage of X for other tools: OpenLineage events, or an in-toto statement.

OpenLineage (https://openlineage.io/spec/2-0-2/OpenLineage.json): a START and a COMPLETE or FAIL
event for every execution, one JSON object a line. Artifacts are datasets, named by their uris.

in-toto (https://in-toto.io/Statement/v1) with a SLSA provenance
(https://slsa.dev/spec/v1.0/provenance): what a pushed model was made from, how, and by what. What a
store does not record is left out.

Both are written without their official Python classes, which the tests check them against:
in-toto's are protobuf messages and would turn every integer of the settings into a float, and
OpenLineage's take longer to import than any question takes to answer.
"""

import json
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.lineage.backend import Backend
from pipeline.lineage.fate import Fate
from pipeline.lineage.trace import Trace, asked_files
from pipeline.lineage.training import Training, recorded
from pipeline.metadata.records import CACHED, COMPLETE, FAILED, Artifact, Execution, Run, iso

_PRODUCER = "https://github.com/tensorflow/tfx"
_RUN_EVENT = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACET = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PROVENANCE = "https://slsa.dev/provenance/v1"
# docs/lineage.md describes the parameters of this type.
_BUILD_TYPE = "https://www.tensorflow.org/tfx/guide/understanding_tfx_pipelines"
_SCHEME = re.compile("[a-z][a-z0-9+.-]*://")
# For names of executions that are the same in every export.
_NAMESPACE = uuid.UUID("6f0a3b5e-6c0e-4c3b-9a0e-2f6d1b5b8a11")
_FINAL = {COMPLETE: "COMPLETE", CACHED: "COMPLETE", FAILED: "FAIL"}


def export(trace: Trace, form: str) -> str:
    """The lineage of a trace as text.

    Args:
      trace: of X.
      form: "openlineage" or "in-toto".

    Raises:
      UserError: in-toto, and X is not one model file.
    """
    if form == "openlineage":
        return "\n".join(json.dumps(event) for event in openlineage_events(trace))
    return json.dumps(in_toto_statement(trace), indent=2)


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
                        "runId": str(uuid.uuid5(_NAMESPACE, f"{trace.backend.location} {key}")),
                        "facets": {"tfx": _facet("RunFacet", _execution_facts(execution, run))},
                    },
                    "job": {"namespace": "tfx", "name": execution.node, "facets": {}},
                    "inputs": [_dataset(a) for a in _flat(part.inputs(key))],
                    "outputs": [_dataset(a) for a in _flat(part.outputs(key))],
                }
            )
    yield from sorted(events, key=lambda event: event["eventTime"])


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


def in_toto_statement(trace: Trace) -> dict[str, Any]:
    """The provenance of a model's file.

    Raises:
      UserError: X is not one file.
    """
    training, fate = _file_of(trace)
    digest = {"sha256": fate.shipping_model.properties["sha256"]}
    return {
        "_type": _STATEMENT,
        "subject": [{"name": "detect.tflite", "digest": digest}],
        "predicateType": _PROVENANCE,
        "predicate": {
            "buildDefinition": _build_definition(trace, training, fate),
            "runDetails": _run_details(trace.backend, fate),
        },
    }


def _build_definition(trace: Trace, training: Training, fate: Fate) -> dict[str, Any]:
    facts = fate.run.facts if fate.run else {}
    fingerprints = {name: facts.get(name) for name in ("code", "environment", "configuration")}
    external = {
        "settings": recorded(trace.backend, fate.run, "configuration") or training.settings,
        "command": facts.get("command"),
    }
    internal = {
        "environment": recorded(trace.backend, fate.run, "environment"),
        "fingerprints": _known(fingerprints) or None,
    }
    return {
        "buildType": _BUILD_TYPE,
        "externalParameters": _known(external),
        "internalParameters": _known(internal),
        "resolvedDependencies": list(_dependencies(trace, fate)),
    }


def _run_details(backend: Backend, fate: Fate) -> dict[str, Any]:
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
        "builder": {"id": _PRODUCER, "version": _known({"tfx": environment.get("tfx")})},
        "metadata": _known(metadata),
        "byproducts": [
            {"name": "evaluation", "uri": _uri(artifact.uri), "annotations": _known(judgement)}
            for artifact in _evaluations(backend, fate)
        ],
    }


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
