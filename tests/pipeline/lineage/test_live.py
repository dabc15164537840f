"""Questions beside a pipeline that writes: neither disturbs the other."""

import subprocess
import sys

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from benchmarks.lineage_store import generate
from pipeline.lineage import diff, impact, open_backend, runs, trace, verify, why
from pipeline.metadata import store
from tests.pipeline.metadata.servers import PASSWORD, mariadb

_WRITES = 200
# Publishes executions one by one, as a pipeline does, and fails if the store ever refuses.
_WRITER = """
import sys, time
from ml_metadata.proto import metadata_store_pb2 as mlmd
from pipeline.metadata import store
opened = store.open_store(store.connection_config(sys.argv[1]))
trainer = opened.get_execution_type("tfx.components.trainer.component.Trainer").id
model = opened.get_artifact_type("Model").id
run = opened.get_context_type("pipeline_run").id
context = mlmd.Context(type_id=run, name="live")
print("begun", flush=True)
for number in range(int(sys.argv[2])):
    execution = mlmd.Execution(type_id=trainer, last_known_state=mlmd.Execution.RUNNING)
    key, _, contexts = opened.put_execution(execution, [], [context])
    execution.id, execution.last_known_state = key, mlmd.Execution.COMPLETE
    artifact = mlmd.Artifact(type_id=model, uri=f"/live/{key}")
    event = mlmd.Event(type=mlmd.Event.OUTPUT)
    event.path.steps.add(key="model")
    context = opened.get_contexts_by_id(contexts)[0]
    opened.put_execution(execution, [(artifact, event)], [context])
    time.sleep(0.01)
"""


@pytest.fixture(params=["sqlite", "mariadb"])
def location(request, tmp_path, monkeypatch):
    """Of an empty store; MariaDB ends a transaction that another's write crosses, from 11.6 on."""
    if request.param == "sqlite":
        yield str(tmp_path / "metadata.sqlite")
        return
    monkeypatch.setenv(store.PASSWORD_VARIABLE, PASSWORD)
    with mariadb() as url:
        yield url


def test_questions_beside_a_writing_process(location, tmp_path):
    opened = store.open_store(store.connection_config(location))
    generate(opened, tmp_path / "root", 12, chain=5)
    del opened
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, location, str(_WRITES)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout.readline() == "begun\n"
    asked = 0
    try:
        while writer.poll() is None:
            backend = open_backend(location)
            assert len(runs(backend)) in (12, 13)
            assert len(trace(backend, "run-00004").trainings) == 5
            assert impact(backend, "picture_000001").touched
            assert diff(backend, "run-00001", "run-00007").settings
            assert why(backend, "run-00007").reruns
            verify(backend, "run-00001")
            asked += 1
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    assert writer.returncode == 0  # it was not killed: nothing disturbed it
    assert asked
    live = runs(open_backend(location))[-1]
    assert (live.run.name, live.executions, live.state) == ("live", _WRITES, "running")
    states = {e.last_known_state for e in store.open_store(
        store.connection_config(location)).get_executions()}  # fmt: skip
    assert mlmd.Execution.RUNNING not in states
