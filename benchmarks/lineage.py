"""Measures the lineage's questions on generated stores, beside another way to the answer.

    python -m benchmarks.lineage [--stores 180:60 1800:60 1800:300]

A store is RUNS:CHAIN, see `benchmarks.lineage_store`. Two stores with the same chain show what the
size of the store costs if the answers are the same; two chains in stores of one size show what the
size of the answer costs. Every question is asked inside the process, JSON included: the median CPU
time of several, each on a newly opened store. The whole command is timed by the clock.

The other way gets one task that both can do: everything behind one artifact, along the same edges.
`nodes` must be equal.

Measured on 2026-11-28 on 2 cores, with 1,800 runs (20,099 executions) and a chain of 300. Since
impact also names the models of unknown origin, it reads all models.

    milliseconds
    trace, the chain                      233
    impact, the chain's first model       353
    impact, an image                      376
    why, the chain's end                   40
    diff, both ends of the chain           49
    whole command, trace of the chain     545
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd
from rich.console import Console
from rich.table import Table

from benchmarks.lineage_store import generate
from pipeline.lineage import diff, impact, open_backend, trace, why
from pipeline.lineage.walk import BASELINE, ancestors
from pipeline.metadata.store import connection_config, open_store

_REPEATS = 5


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


def median_ms(
    ask: Callable[[], object], clock: Callable[[], float] = time.process_time
) -> tuple[object, float]:
    """The answer of a call, and the median of its times."""
    times = []
    for _ in range(_REPEATS):
        started = clock()
        answer = ask()
        times.append(clock() - started)
    return answer, 1000 * statistics.median(times)


def measure(folder: Path, runs: int, chain: int) -> dict[str, str]:
    """Cells of the table by row, for one store."""
    folder.mkdir()
    location = str(folder / "metadata.sqlite")
    store = open_store(connection_config(location))
    made = generate(store, folder / "root", runs, chain=chain)
    last, deep, other = made.run_id(runs - 1), made.run_id(chain - 1), made.run_id(runs - 100)
    trained, end = made.models[chain - 1], str(made.models[0])

    def answered(question, *arguments) -> str:
        _, ms = median_ms(lambda: question(open_backend(location), *arguments).to_json())
        return f"{ms:.0f}"

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
        "trace, no warm start": answered(trace, last),
        "trace, the chain": answered(trace, deep),
        "impact, data of the last runs": answered(impact, f"artifact:{made.examples[-1]}"),
        "impact, the chain's first model": answered(impact, f"artifact:{end}"),
        "impact, an image": answered(impact, "picture_000001"),
        "why, the last run": answered(why, last),
        "why, the chain's end": answered(why, deep),
        "diff": answered(diff, other, last),
        "diff, both ends of the chain": answered(diff, made.run_id(0), deep),
        "whole command, trace of the chain": f"{median_ms(command, time.perf_counter)[1]:.0f}",
        "ancestors: this project's walk": walked(lambda: own_ancestors(location, trained)),
        "ancestors: one call for each node": walked(lambda: naive_ancestors(store, trained)),
    }


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--stores", nargs="+", default=["180:60", "1800:60", "1800:300"], metavar="RUNS:CHAIN"
    )
    options = parser.parse_args()
    sizes = [tuple(map(int, store.split(":"))) for store in options.stores]
    with tempfile.TemporaryDirectory() as folder:
        columns = [measure(Path(folder, f"{runs}_{chain}"), runs, chain) for runs, chain in sizes]
    table = Table(
        "milliseconds", *(f"{runs} runs, chain {chain}" for runs, chain in sizes), box=None
    )
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
