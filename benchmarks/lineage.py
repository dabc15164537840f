"""Measures the lineage's questions on generated stores, beside two other ways to the answer.

    python -m benchmarks.lineage [--runs 180 1800]

For each store: every question inside the process (median of several, each on a newly opened
store), the whole command, ML Metadata's own get_lineage_subgraph (which stops at 100 hops) and a
naive walk that asks for every node by itself.
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
from pipeline.store import connection_config, open_store

_REPEATS = 5
_MOST_HOPS = 100


def naive_ancestors(store: metadata_store.MetadataStore, artifact: int) -> int:
    """Number of nodes behind an artifact, asked for one by one."""
    seen: set[tuple[str, int]] = set()
    waiting = [("artifact", artifact)]
    while waiting:
        kind, key = node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if kind == "artifact":
            store.get_artifacts_by_id([key])
            waiting += [
                ("execution", event.execution_id)
                for event in store.get_events_by_artifact_ids([key])
                if event.type == mlmd.Event.OUTPUT
            ]
        else:
            store.get_executions_by_id([key])
            waiting += [
                ("artifact", event.artifact_id)
                for event in store.get_events_by_execution_ids([key])
                if event.type == mlmd.Event.INPUT
            ]
    return len(seen)


def lineage_subgraph(store: metadata_store.MetadataStore, artifact: int) -> int:
    """Number of nodes behind an artifact, by ML Metadata's own query."""
    # The only way to name the start here; newer ML Metadata has dropped it, and we never use it.
    options = mlmd.LineageSubgraphQueryOptions(
        starting_artifacts=mlmd.LineageSubgraphQueryOptions.StartingNodes(
            filter_query=f"id = {artifact}"
        ),
        max_num_hops=_MOST_HOPS,
        direction=mlmd.LineageSubgraphQueryOptions.UPSTREAM,
    )
    graph = store.get_lineage_subgraph(options)
    return len(graph.artifacts) + len(graph.executions)


def median_ms(ask: Callable[[], object]) -> float:
    """Median time of a call."""
    times = []
    for _ in range(_REPEATS):
        started = time.perf_counter()
        ask()
        times.append(time.perf_counter() - started)
    return 1000 * statistics.median(times)


def measure(folder: Path, runs: int) -> dict[str, float]:
    """Milliseconds by question."""
    location = str(folder / f"{runs}.sqlite")
    chain = min(300, runs // 3)
    store = open_store(connection_config(location))
    made = generate(store, folder / f"root_{runs}", runs, chain=chain)
    short, deep, late = made.run_id(runs - 5), made.run_id(chain - 1), made.run_id(runs - 100)
    pushed = made.pushed[chain - 1]

    def asked(question, *arguments):
        return lambda: question(open_backend(location), *arguments).to_json()

    def command() -> None:
        subprocess.run(
            [sys.executable, "-m", "pipeline.lineage", "trace", deep, "--metadata", location],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    times = {
        "executions in the store": made.executions,
        "trace, a run without warm start": median_ms(asked(trace, short)),
        f"trace, a chain of {chain} warm starts": median_ms(asked(trace, deep)),
        "impact, the last data": median_ms(asked(impact, str(made.examples[-1]))),
        f"impact, {chain} models": median_ms(asked(impact, str(made.examples[0]))),
        "impact, an image": median_ms(asked(impact, "picture_000001")),
        "why": median_ms(asked(why, short)),
        "diff": median_ms(asked(diff, late, short)),
        "the whole command, trace of the chain": median_ms(command),
        f"get_lineage_subgraph, {_MOST_HOPS} hops": median_ms(
            lambda: lineage_subgraph(store, pushed)
        ),
        "walking naively": median_ms(lambda: naive_ancestors(store, pushed)),
    }
    times["nodes by get_lineage_subgraph"] = lineage_subgraph(store, pushed)
    times["nodes by walking naively"] = naive_ancestors(store, pushed)
    return times


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[180, 1800])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        columns = [measure(Path(folder), runs) for runs in options.runs]
    table = Table("milliseconds", *(f"{runs} runs" for runs in options.runs), box=None)
    names = [list(column) for column in columns]
    for place, name in enumerate(names[-1]):
        table.add_row(name, *(f"{column[n[place]]:.0f}" for column, n in
                              zip(columns, names, strict=True)))  # fmt: skip
    Console().print(table)


if __name__ == "__main__":
    main()
