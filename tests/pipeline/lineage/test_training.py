import dataclasses

import pytest

from benchmarks.lineage_store import ORIGIN
from pipeline.lineage import diff, open_backend, trace
from pipeline.lineage.diff import _settings
from pipeline.lineage.tables import _diff, _training
from pipeline.lineage.training import Training
from pipeline.metadata import store
from pipeline.metadata.facts import record_end
from pipeline.metadata.records import Execution
from tests.pipeline.metadata.test_run_record import RUN, add, mlmd

PLAN = {"minutes": 9.0, "steps": 412, "rates": {"float_step": 0.5}}


@pytest.mark.parametrize("plan", [PLAN, None])
def test_the_plan_of_a_run_is_part_of_its_training(tmp_path, plan):
    path = str(tmp_path / "metadata.sqlite")
    opened = store.open_store(store.connection_config(path))
    add(opened, "Trainer", mlmd.Execution.COMPLETE)
    record_end(opened, RUN, {"status": "pushed", "error": None, "plan": plan, "gate": None})
    backend = open_backend(path)
    (run,) = backend.runs()
    properties = {"custom_config": {"settings": {"training": {"minutes": 9.0}}}}
    execution = Execution(1, "Trainer", "complete", 0, 1000, properties)
    training = Training(execution, None, run, [], None, None, None, [])
    assert training.to_json(backend)["plan"] == plan
    text = "\n".join(_training(training))
    assert ("plan         minutes 9.0, steps 412\n" in text) == bool(plan)
    assert _settings(backend, training).get("plan") == plan


def test_trace_and_diff_show_the_commit_and_who_started_the_run(sqlite_filled):
    backend = sqlite_filled.open()
    commit = f"{ORIGIN['commit'][:12]} with changes"
    (training,) = trace(backend, "run-00000").trainings
    assert f"  origin       commit {commit}, by ann on farm" in list(_training(training))
    found = diff(backend, "run-00000", "run-00001")
    assert f"commit       {commit}" in list(_diff(found))
    clean = {**ORIGIN, "dirty": False, "host": None, "user": None}
    run = dataclasses.replace(training.run, facts={"origin": clean})
    training = dataclasses.replace(training, run=run)
    assert f"  origin       commit {ORIGIN['commit'][:12]}" in list(_training(training))
    found = dataclasses.replace(found, trainings=(training, found.trainings[1]))
    assert f"commit       {ORIGIN['commit'][:12]} -> {commit}" in list(_diff(found))
    run = dataclasses.replace(training.run, facts={"origin": {"commit": "not in git"}})
    training = dataclasses.replace(training, run=run)
    assert "  origin       commit not in git" in list(_training(training))
