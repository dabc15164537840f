"""Removes what a workdir holds beyond its last runs and its good models.

    .venv/bin/python -m pipeline.local.cleanup [--workdir DIR] [--keep N] [--remove]

A model is good if it was pushed or blessed. It keeps all that it was made from and judged by, and
the folders of the runs that did so; ML Metadata keeps everything. Without `--remove`, it only lists
what it would remove.
"""

import argparse
import datetime
import itertools
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.errors import UserError
from pipeline.files import CONFIG_FILE
from pipeline.local.workdir import Workdir
from pipeline.metadata import store as stores
from pipeline.metadata.records import RUN_CONTEXT

_OUTPUT = (mlmd.Event.OUTPUT, mlmd.Event.DECLARED_OUTPUT)


class Leftover(NamedTuple):
    """A folder that nothing needs, its size in bytes, and why nothing does."""

    path: Path
    size: int
    reason: str


class _Needed(NamedTuple):
    """Ids of artifacts, and of the executions that made them."""

    artifacts: set[int]
    executions: set[int]


def find_leftovers(
    places: Workdir, store: metadata_store.MetadataStore, keep: int
) -> list[Leftover]:
    """What no pushed or blessed model needs, and none of the last runs.

    Args:
      places: the workdir, locked and bound to its store.
      store: its metadata store.
      keep: how many of the last runs keep all that they used; at least 1.
    """
    good = _behind(store, _good_models(store))
    runs = places.run_folders()
    kept, old = runs[-keep:], runs[:-keep]
    needed = good.artifacts | _behind(store, _used_by(store, kept)).artifacts
    artifacts = store.get_artifacts()
    known = {artifact.uri for artifact in artifacts}
    uris = {artifact.uri for artifact in artifacts if artifact.id in needed}
    uris |= {os.path.dirname(uri) for uri in uris}  # an artifact may be a file
    found = []
    for folder in filter(Path.is_dir, places.pipeline_root.glob("*/*/*")):
        if folder.parent.name == ".system":
            found.append((folder, "left by TFX"))
        elif str(folder) not in uris:
            found.append((folder, "of old runs" if str(folder) in known else "of no execution"))
    for folder in old:
        executions = _executions_of(store, folder.name)
        made = {e.id for e in executions if e.last_known_state == mlmd.Execution.COMPLETE}
        if not good.executions & made:
            found.append((folder, "old run"))
    used = "".join((run / CONFIG_FILE).read_text() for run in kept if (run / CONFIG_FILE).exists())
    for folder in places.unpacked.glob("*"):
        if f"{folder.parent.name}/{folder.name}" not in used:
            found.append((folder, "archive of old runs"))
    for folder in places.checkpoints.glob("*"):
        if kept and _last_change(folder) < _started(kept[0]):
            found.append((folder, "unfinished training of old runs"))
    sized = (Leftover(path, _size(path), reason) for path, reason in found)
    return sorted(leftover for leftover in sized if leftover.size)


def _good_models(store: metadata_store.MetadataStore) -> set[int]:
    """The pushes and blessings, whose makers had the models as inputs."""
    return {
        artifact.id
        for kind, decision in (("PushedModel", "pushed"), ("ModelBlessing", "blessed"))
        for artifact in store.get_artifacts_by_type(kind)
        if artifact.custom_properties[decision].int_value
    }


def _behind(store: metadata_store.MetadataStore, artifacts: Iterable[int]) -> _Needed:
    """Everything that artifacts were made from, with all else that the same executions wrote."""
    needed, waiting = _Needed(set(), set()), set(artifacts)
    while waiting:
        needed.artifacts.update(waiting)
        events = store.get_events_by_artifact_ids(sorted(waiting))
        makers = {event.execution_id for event in events if event.type in _OUTPUT}
        makers -= needed.executions
        needed.executions.update(makers)
        events = store.get_events_by_execution_ids(sorted(makers)) if makers else []
        waiting = {event.artifact_id for event in events} - needed.artifacts
    return needed


def _used_by(store: metadata_store.MetadataStore, runs: Iterable[Path]) -> set[int]:
    executions = itertools.chain.from_iterable(_executions_of(store, run.name) for run in runs)
    ids = [execution.id for execution in executions]
    return {event.artifact_id for event in store.get_events_by_execution_ids(ids)} if ids else set()


def _executions_of(store: metadata_store.MetadataStore, run_id: str) -> list[mlmd.Execution]:
    context = stores.find_context(store, RUN_CONTEXT, run_id)
    return store.get_executions_by_context(context.id) if context else []


def _files(path: Path) -> Iterator[os.stat_result]:
    for folder, _, names in os.walk(path):
        for name in names:
            yield os.lstat(os.path.join(folder, name))


def _size(path: Path) -> int:
    return sum(file.st_size for file in _files(path))


def _last_change(path: Path) -> float:
    return max((file.st_mtime for file in _files(path)), default=0)


def _started(run: Path) -> float:
    """Seconds since the epoch; copying the folder would change its own times."""
    return datetime.datetime.strptime(run.name[:15], "%Y%m%d-%H%M%S").timestamp()


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.local.cleanup",
        description="Lists what a workdir holds beyond its last runs and beyond what its pushed "
        "and blessed models were made from; --remove removes it.",
        allow_abbrev=False,
    )
    parser.add_argument("--workdir", metavar="DIR", default="workdir", help="default: workdir")
    parser.add_argument("--metadata", metavar="FILE_OR_URL", help="as for the runs")
    parser.add_argument("--keep", metavar="N", type=int, default=5, help="runs; default: 5")
    parser.add_argument("--remove", action="store_true", help="remove what is listed")
    options = parser.parse_args(arguments)
    if options.keep < 1:
        parser.error(f"Expected --keep of at least 1. Received: {options.keep}.")
    try:
        _clean(options)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _clean(options: argparse.Namespace) -> None:
    if not os.path.isdir(options.workdir):
        raise UserError(f"Expected --workdir to be a folder. Received: {options.workdir}.")
    places = Workdir(options.workdir)
    location = options.metadata or str(places.metadata)
    stores.open_store(stores.connection_config(location, read_only=True), read_only=True)
    connection = stores.connection_config(location)
    with places.lock():
        store = stores.open_store(connection)
        places.bind_to_store(store, stores.describe(connection))
        leftovers = find_leftovers(places, store, options.keep)
        for path, size, reason in leftovers:
            print(f"{size / 1e6:10.1f} MB  {path.relative_to(places.root)}  ({reason})")
            if options.remove:
                shutil.rmtree(path)
    total = sum(leftover.size for leftover in leftovers) / 1e6
    if options.remove:
        print(f"removed: {total:.1f} MB")
    else:
        print(f"nothing is removed without --remove, which would free {total:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
