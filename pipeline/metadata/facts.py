"""What a run records beyond TFX's own metadata, for the lineage.

All of it is in contexts: TFX's cache keys hold whole artifacts, so an artifact that changed after
it was published would never be found in the cache again. The facts of one run are properties of its
`pipeline_run` context, among them the ids of its executions, because ML Metadata is slow at telling
which run an execution belongs to. What several runs share, and what belongs to an artifact, is a
record: a context of type `lineage_record`, named by kind and key, that holds JSON.

    configuration/<fingerprint>   all settings, nested
    environment/<fingerprint>     {distribution: version}
    code/<fingerprint>            {file: sha256} of the code that runs
    files/<artifact id>           {relative path: {sha256, size_bytes}} of an artifact
    evaluation/<artifact id>      metrics, thresholds and baseline of a ModelEvaluation
    sha256/<hex>                  {"artifacts": [ids]} that hold this .tflite
    withdrawals/all               {sha256 of a .tflite: {at, reason, version, destination}}
    images/<artifact id>          the images of Examples, see `pipeline.metadata.image_lists`

Imports neither TensorFlow nor TFX.
"""

import itertools
import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.files import FORMS, IMAGES_FILE, hash_files, sha256_of
from pipeline.fingerprint import ROOT, environment, fingerprint_of, import_closure
from pipeline.metadata.image_lists import CHUNKS, LISTS, chunks_of, data_fingerprint
from pipeline.metadata.origin import read_origin
from pipeline.metadata.records import KILLED, RUN_CONTEXT, Artifact
from pipeline.metadata.run_record import ComponentRecord, read_run
from pipeline.metadata.store import find_context

if TYPE_CHECKING:
    from pipeline.config import PipelineConfig

RECORD_TYPE = "lineage_record"
# All in one: questions about many versions read it once.
WITHDRAWALS = "withdrawals", "all"
# No artifact stands for these weights.
FROM_IMAGENET = "weights", "imagenet"
_JSON = "json"
# Entry points of the code: the DAG, and the modules that TFX loads by name.
_ENTRIES = ("pipeline.pipeline", "pipeline.training.trainer", "pipeline.data.transform")


def record_start(
    store: metadata_store.MetadataStore, run_id: str, config: "PipelineConfig"
) -> None:
    """Records what is known before a run begins. Creates the run's context, which TFX then uses."""
    settings = config.model_dump(mode="json")
    facts = {
        "preset": config.preset,
        "pipeline": config.name,
        "command": shlex.join(sys.argv),
        "origin": json.dumps(read_origin(with_host_and_user=config.execution.record_host_and_user)),
    }
    for kind, content in (
        ("configuration", settings),
        ("environment", environment()),
        ("code", code_files()),
    ):
        fingerprint = fingerprint_of(content)
        write_record(store, kind, fingerprint, content)
        facts[kind] = fingerprint
    # The manifest of a pushed version names these settings by their fingerprint.
    decisive = config.decisive()
    write_record(store, "configuration", fingerprint_of(decisive), decisive)
    _add_facts(store, run_id, facts)


def record_end(
    store: metadata_store.MetadataStore, run_id: str, summary: Mapping[str, Any]
) -> None:
    """Records the results of a run.

    Args:
      store: holds the run.
      run_id: of the run.
      summary: see `pipeline.summary.summarize`.
    """
    components = record_files(store, run_id)
    _record_weights(store, components)
    facts = {name: summary[name] for name in ("status", "error") if summary[name]}
    if summary["plan"]:
        facts["plan"] = json.dumps(summary["plan"], sort_keys=True)
    _add_facts(store, run_id, {**facts, **_executions(components)})
    for component in components.values():
        for artifacts in component.outputs.values():
            for artifact in artifacts:
                if artifact.type == "ModelEvaluation" and summary["gate"]:
                    write_record(store, "evaluation", str(artifact.id), summary["gate"])
                for digest in _digests_of(artifact):
                    _add_to_record(store, ("sha256", digest), artifact)


def _record_weights(
    store: metadata_store.MetadataStore, components: Mapping[str, ComponentRecord]
) -> None:
    trainer = components.get("Trainer")
    model = trainer and trainer.output("model")
    if model and begins_from_imagenet(trainer.properties):
        _add_to_record(store, FROM_IMAGENET, model)


def begins_from_imagenet(trainer: Mapping[str, Any]) -> bool:
    """Whether a Trainer with these properties began from the weights that Keras downloads."""
    settings = (trainer.get("custom_config") or {}).get("settings", {})
    return settings.get("warm_start", {}).get("weights") == "imagenet"


def _add_to_record(
    store: metadata_store.MetadataStore, record: tuple[str, str], artifact: Artifact
) -> None:
    known = (read_record(store, *record) or {}).get("artifacts", [])
    if artifact.id not in known:
        write_record(store, *record, {"artifacts": sorted([*known, artifact.id])})


def _digests_of(artifact: Artifact) -> list[str]:
    """Of the .tflite files in a model."""
    if artifact.type not in ("Model", "PushedModel"):
        return []
    found = (artifact.properties.get(name) for name in ("sha256", *FORMS.values()))
    return [digest for digest in found if digest]


def close_killed_run(
    store: metadata_store.MetadataStore, run_id: str, error: str
) -> dict[str, ComponentRecord]:
    """Records the end of a run whose process is gone: what it was running has failed.

    Args:
      store: may lack the run, if it was killed before it began there.
      run_id: of the run.
      error: what to say of it.

    Returns:
      The components that it got to.
    """
    if find_context(store, RUN_CONTEXT, run_id) is None:
        return {}
    components = fail_running(store, run_id, {KILLED: 1})
    _record_weights(store, components)
    _add_facts(store, run_id, {"status": "failed", "error": error, **_executions(components)})
    return components


def fail_running(
    store: metadata_store.MetadataStore, run_id: str, marks: Mapping[str, int] | None = None
) -> dict[str, ComponentRecord]:
    """Ends what a run was running, where TFX does not: it records no end for Ctrl-C.

    Args:
      store: holds the run.
      run_id: of the run.
      marks: custom properties for these executions.

    Returns:
      The components that the run got to.
    """
    context = find_context(store, RUN_CONTEXT, run_id)
    running = [
        execution
        for execution in store.get_executions_by_context(context.id)
        if execution.last_known_state in (mlmd.Execution.NEW, mlmd.Execution.RUNNING)
    ]
    for execution in running:
        execution.last_known_state = mlmd.Execution.FAILED
        for name, value in (marks or {}).items():
            execution.custom_properties[name].int_value = value
    store.put_executions(running)
    return read_run(store, run_id)


def _executions(components: Mapping[str, ComponentRecord]) -> dict[str, str]:
    return {"executions": json.dumps(sorted(c.execution_id for c in components.values()))}


def record_files(store: metadata_store.MetadataStore, run_id: str) -> dict[str, ComponentRecord]:
    """Records hashes of what the components of a run have written, and the images in it.

    What is recorded already stays as it is.

    Returns:
      The components.
    """
    components = read_run(store, run_id)
    for component in components.values():
        for artifact in itertools.chain.from_iterable(component.outputs.values()):
            if read_record(store, "files", str(artifact.id)) is None:
                write_record(store, "files", str(artifact.id), hash_files(artifact.uri))
            if "data_fingerprint" in artifact.properties:
                _record_images(store, artifact)
    return components


def damage(store: metadata_store.MetadataStore, artifact_id: int, uri: str) -> str | None:
    """Says how an artifact's files differ from those that were recorded; None if they do not.

    Args:
      store: holds the artifact. If it has no record of the files, it is enough that they exist.
      artifact_id: of the artifact.
      uri: where its files are, on this machine.
    """
    recorded = read_record(store, "files", str(artifact_id))
    if not os.path.exists(uri):
        return f"{uri} is gone"
    if recorded is None:
        return None
    try:
        found = hash_files(uri)
    except OSError as error:
        return f"{error.filename} cannot be read ({error.strerror})"
    differ = [name for name in sorted({*recorded, *found}) if recorded.get(name) != found.get(name)]
    if not differ:
        return None
    name = differ[0]
    what = "is missing" if name not in found else "has changed" if name in recorded else "is new"
    others = f" (and {len(differ) - 1} more)" if len(differ) > 1 else ""
    return f"{name} {what} in {uri}{others}"


def _record_images(store: metadata_store.MetadataStore, examples: Artifact) -> None:
    """Records the list of images unless it is recorded, or is not what the ExampleGen wrote."""
    if read_record(store, LISTS, str(examples.id)) is not None:
        return
    try:
        text = Path(examples.uri, IMAGES_FILE).read_text(encoding="utf-8")
        images = [json.loads(line) for line in text.splitlines()]
        if data_fingerprint(images) != examples.properties["data_fingerprint"]:
            return
    except (OSError, ValueError, LookupError, TypeError):
        return  # questions name a list that is gone or changed
    index, chunks = chunks_of(images)
    new = {name: chunk for name, chunk in chunks.items() if not read_record(store, CHUNKS, name)}
    # A few hundred at once take a tenth of a second.
    _put(store, RECORD_TYPE, {f"{CHUNKS}/{name}": _as_json(new[name]) for name in new})
    write_record(store, LISTS, str(examples.id), index)


def find_model(store: metadata_store.MetadataStore, file_sha256: str) -> str | None:
    """The uri of the first model that held a file of this content; None if none did.

    Reads what was recorded about each model until one fits.
    """
    for artifact in sorted(store.get_artifacts_by_type("Model"), key=lambda model: model.id):
        files = read_record(store, "files", str(artifact.id)) or {}
        if any(file["sha256"] == file_sha256 for file in files.values()):
            return artifact.uri
    return None


def withdrawals(store: metadata_store.MetadataStore) -> dict[str, dict[str, str]]:
    """The files that were withdrawn: {at, reason, version, destination} by sha256."""
    return read_record(store, *WITHDRAWALS) or {}


def record_withdrawal(
    store: metadata_store.MetadataStore, file_sha256: str, facts: Mapping[str, str]
) -> None:
    """Records that a file was withdrawn; what is recorded already stays as it is."""
    known = withdrawals(store)
    write_record(store, *WITHDRAWALS, {file_sha256: dict(facts)} | known)


def code_files() -> dict[str, str]:
    """Hex sha256 of every file of the project that a run executes, by relative path."""
    files = {}
    for module in sorted(import_closure(_ENTRIES)):
        path = ROOT.joinpath(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        files[path.relative_to(ROOT).as_posix()] = sha256_of(path)
    return files


def read_record(store: metadata_store.MetadataStore, kind: str, name: str) -> Any:
    """The record of this kind and name; None if there is none."""
    context = find_context(store, RECORD_TYPE, f"{kind}/{name}")
    return None if context is None else json.loads(context.custom_properties[_JSON].string_value)


def write_record(store: metadata_store.MetadataStore, kind: str, name: str, content: Any) -> None:
    """Writes a record; replaces an earlier one of the same kind and name."""
    _put(store, RECORD_TYPE, {f"{kind}/{name}": _as_json(content)})


def _as_json(content: Any) -> dict[str, str]:
    return {_JSON: json.dumps(content, sort_keys=True)}


def _add_facts(store, run_id: str, facts: Mapping[str, str]) -> None:
    _put(store, RUN_CONTEXT, {run_id: facts})


def _put(store, type_name: str, properties: Mapping[str, Mapping[str, str]]) -> None:
    """Adds properties to contexts by name; creates those that do not exist."""
    type_id = store.put_context_type(
        mlmd.ContextType(name=type_name), can_add_fields=True, can_omit_fields=True
    )
    contexts = []
    for name, values in properties.items():
        context = find_context(store, type_name, name)
        contexts.append(context or mlmd.Context(type_id=type_id, name=name))
        for key, value in values.items():
            contexts[-1].custom_properties[key].string_value = value
    store.put_contexts(contexts)
