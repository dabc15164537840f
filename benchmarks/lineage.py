"""Measures the lineage's questions on generated stores, beside another way to the answer.

    python -m benchmarks.lineage [--stores 1800:60 18000:60 1800:60:3700]

A store is RUNS:CHAIN[:IMAGES], see `benchmarks.lineage_store`. Stores that differ in one of them
show what the size of the store, of the answer, or of the data sets costs. Every question is asked
inside the process as the command line would be: the median time of several by the clock, each on a
newly opened store. The whole command is timed, too.

The other way gets one task that both can do: everything behind one artifact, along the same edges.
`nodes` must be equal.

Figures are in docs/lineage.md. On 2026-11-28 on 2 cores with other work, an image in all of 300
data sets of 3,700 images, with 1,800 models, took 0.47 s (3.0 s before), and `runs` 0.02 s on
198,000 executions (23 s before, when it read all of them; `--all` takes 7 s).
"""

import argparse
import contextlib
import gc
import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd
from rich.console import Console
from rich.table import Table

from benchmarks.lineage_store import IMAGES, generate, sha256
from pipeline.lineage import open_backend
from pipeline.lineage.__main__ import main as lineage
from pipeline.lineage.walk import BASELINE, ancestors
from pipeline.metadata.store import connection_config, open_store

_REPEATS = 5


class StoreSize(NamedTuple):
    """See `benchmarks.lineage_store.generate`."""

    runs: int
    chain: int
    images: int = IMAGES


def naive_ancestors(store: metadata_store.MetadataStore, artifact: int) -> int:
    """Number of nodes behind an artifact, asked for one by one; baselines are not followed."""
    seen: set[tuple[str, int]] = set()
    waiting = [("artifact", artifact)]
    while waiting:
        kind, key = node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if kind == "artifact":
            store.get_artifacts_by_id([key])
            writers = [
                store.get_executions_by_id([event.execution_id])[0]
                for event in store.get_events_by_artifact_ids([key])
                if event.type == mlmd.Event.OUTPUT
            ]
            made = [e.id for e in writers if e.last_known_state != mlmd.Execution.CACHED]
            waiting += [("execution", min(made))] if made else []
        else:
            store.get_executions_by_id([key])
            for event in store.get_events_by_execution_ids([key]):
                if event.type == mlmd.Event.INPUT:
                    is_compared = event.path.steps[0].key == BASELINE
                    node = ("artifact", event.artifact_id)
                    if is_compared:
                        seen.add(node)
                    else:
                        waiting.append(node)
    return len(seen)


def own_ancestors(location: str, artifact: int) -> int:
    """Number of nodes behind an artifact, by the walk that the questions use."""
    part = ancestors(open_backend(location), [artifact])
    return len(part.artifacts) + len(part.executions)


def median_ms(ask: Callable[[], object]) -> tuple[object, float]:
    """The answer of a call, and the median of its times by the clock."""
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        answer = ask()
        times.append(time.perf_counter() - started)
    return answer, 1000 * statistics.median(times)


def measure(folder: Path, size: StoreSize) -> dict[str, str]:
    """Cells of the table by row, for one store."""
    folder.mkdir()
    location = str(folder / "metadata.sqlite")
    store = open_store(connection_config(location))
    made = generate(store, folder / "root", size.runs, chain=size.chain, images=size.images)
    last, deep = made.run_id(size.runs - 1), made.run_id(size.chain - 1)
    other = made.run_id(size.runs - 100)
    trained = made.models[size.chain - 1]
    # In each data set, unless the store has more of these than they have images.
    everywhere = f"picture_{min(len(set(made.examples)), size.images) - 1:06}"

    def asked(*arguments: str) -> str:
        def ask() -> None:
            with (
                contextlib.redirect_stdout(io.StringIO()),
                contextlib.redirect_stderr(io.StringIO()),
            ):
                lineage([*arguments, "--metadata", location])

        return f"{median_ms(ask)[1]:.0f}"

    def command() -> None:
        subprocess.run(
            [sys.executable, "-m", "pipeline.lineage", "trace", deep, "--metadata", location],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def walked(walk: Callable[[], int]) -> str:
        nodes, ms = median_ms(walk)
        return f"{ms:.0f} ({nodes} nodes)"

    return {
        "executions": str(made.executions),
        "runs, the last 20": asked("runs"),
        "runs, the last 5 that were not blessed": asked(
            "runs", "--state", "not_blessed", "--last", "5"
        ),
        "runs, all": asked("runs", "--all"),
        "trace, no warm start": asked("trace", last),
        "trace, the chain": asked("trace", deep),
        "trace, a file by its sha256": asked("trace", sha256("file 7")),
        "trace, a file by 8 digits": asked("trace", sha256("file 7")[:8]),
        "impact, data of the last runs": asked("impact", f"artifact:{made.examples[-1]}"),
        "impact, the chain's first model": asked("impact", f"artifact:{made.models[0]}"),
        "impact, an image in two data sets": asked("impact", "picture_000001"),
        "impact, an image in most data sets": asked("impact", everywhere),
        "the same as JSON": asked("impact", everywhere, "--json"),
        "why, the last run": asked("why", last),
        "why, the chain's end": asked("why", deep),
        "diff": asked("diff", other, last),
        "diff, both ends of the chain": asked("diff", made.run_id(0), deep),
        "whole command, trace of the chain": f"{median_ms(command)[1]:.0f}",
        "ancestors: this project's walk": walked(lambda: own_ancestors(location, trained)),
        "ancestors: one call for each node": walked(lambda: naive_ancestors(store, trained)),
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--stores",
        nargs="+",
        default=["1800:60", "1800:300", "1800:60:3700", "18000:60"],
        metavar="RUNS:CHAIN[:IMAGES]",
    )
    options = parser.parse_args()
    sizes = [StoreSize(*map(int, store.split(":"))) for store in options.stores]
    gc.disable()  # as the command does
    with tempfile.TemporaryDirectory() as folder:
        columns = [measure(Path(folder, str(n)), size) for n, size in enumerate(sizes)]
    headings = (f"{s.runs} runs, chain {s.chain}, {s.images} images" for s in sizes)
    table = Table("milliseconds", *headings, box=None)
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
