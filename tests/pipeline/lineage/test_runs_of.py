"""Of which run an execution is: as recorded, or found out where nothing is recorded."""

import contextlib
import shutil
import sqlite3

import pytest

from pipeline.lineage import open_backend, runs, trace

EVERY = range(1, 100)


@pytest.fixture
def unrecorded(sqlite_filled, tmp_path):
    """The generated store without the lists of the runs' executions."""
    copy = tmp_path / "copy.sqlite"
    shutil.copy(sqlite_filled.location, copy)
    with contextlib.closing(sqlite3.connect(copy)) as database, database:
        assert database.execute("DELETE FROM ContextProperty WHERE name = 'executions'").rowcount
    return copy


def names(location, executions) -> dict[int, str]:
    found = open_backend(str(location)).runs_of(executions)
    return {execution: run.name for execution, run in found.items()}


def test_it_is_found_out_where_it_is_not_recorded(sqlite_filled, unrecorded):
    recorded = names(sqlite_filled.location, EVERY)
    assert recorded.keys() == set(EVERY)
    assert names(unrecorded, EVERY) == recorded
    assert names(unrecorded, [50]) == {50: recorded[50]}
    assert [t.run.name for t in trace(open_backend(str(unrecorded)), "run-00007").trainings] == [
        t.run.name for t in trace(sqlite_filled.open(), "run-00007").trainings
    ]


def test_runs_that_overlapped(sqlite_filled, unrecorded):
    """The first executions of two runs, exchanged."""
    expected = names(sqlite_filled.location, EVERY)
    first, second = 12, 36
    assert expected[first] != expected[second]
    expected[first], expected[second] = expected[second], expected[first]
    with contextlib.closing(sqlite3.connect(unrecorded)) as database, database:
        of_run = (
            "context_id IN (SELECT id FROM Context WHERE type_id = (SELECT id FROM Type WHERE "
            "name = 'pipeline_run'))"
        )
        for old, new in ((first, -1), (second, first), (-1, second)):
            database.execute(
                f"UPDATE Association SET execution_id = ? WHERE execution_id = ? AND {of_run}",
                (new, old),
            )
    assert names(unrecorded, EVERY) == expected


def test_asking_adds_nothing_to_runs_that_recorded_nothing(sqlite_filled, unrecorded):
    """Such as those that are under way, or were killed."""
    backend = open_backend(str(unrecorded))
    backend.runs_of(EVERY)
    expected = [line.executions for line in runs(sqlite_filled.open())]
    assert [line.executions for line in runs(backend)] == expected
