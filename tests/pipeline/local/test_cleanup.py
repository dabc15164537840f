"""A workdir with seven runs, of which three made good models, and what cleaning it leaves."""

import json
import os
import subprocess
import sys
import time

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.fingerprint import ROOT
from pipeline.local import cleanup
from pipeline.local.workdir import Workdir
from pipeline.metadata import store

RUNS = [f"2026010{day}-120000-000" for day in range(1, 8)]
COMPLETE, CACHED = mlmd.Execution.COMPLETE, mlmd.Execution.CACHED


class Recorder:
    """Records executions as TFX does, with a file in the folder of each artifact."""

    def __init__(self, root):
        self.places = Workdir(str(root))
        connection = store.connection_config(str(self.places.metadata))
        self.store = store.open_store(connection)
        self.places.bind_to_store(self.store, store.describe(connection))

    def execution(self, run, node, inputs=(), outputs=(), state=COMPLETE):
        """Records one; `outputs` are artifacts that exist, or (type, channel, properties)."""
        self.places.root.joinpath("runs", run).mkdir(parents=True, exist_ok=True)
        (self.places.root / "runs" / run / "run.log").write_text("x" * 10)
        type_id = self.store.put_execution_type(mlmd.ExecutionType(name=node))
        run_type = self.store.put_context_type(mlmd.ContextType(name="pipeline_run"))
        execution = mlmd.Execution(type_id=type_id, last_known_state=state)
        pairs = [(artifact, mlmd.Event(type=mlmd.Event.INPUT)) for artifact in inputs]
        ids = self.store.put_execution(
            execution, pairs, [mlmd.Context(type_id=run_type, name=run)],
            reuse_context_if_already_exist=True,
        )  # fmt: skip
        event = mlmd.Event.INTERNAL_OUTPUT if node == "Resolver" else mlmd.Event.OUTPUT
        made = [
            output if isinstance(output, mlmd.Artifact) else self.artifact(ids[0], node, *output)
            for output in outputs
        ]
        events = [
            mlmd.Event(type=event, execution_id=ids[0], artifact_id=artifact.id)
            for artifact in made
        ]
        self.store.put_events(events)
        return made[0] if len(made) == 1 else made

    def artifact(self, execution, node, kind, channel, properties=None):
        folder = self.places.pipeline_root / node / channel / str(execution)
        folder.mkdir(parents=True)
        (folder / "file").write_text("x" * 1000)
        type_id = self.store.put_artifact_type(mlmd.ArtifactType(name=kind))
        artifact = mlmd.Artifact(type_id=type_id, uri=str(folder))
        for name, value in (properties or {}).items():
            artifact.custom_properties[name].int_value = value
        (artifact_id,) = self.store.put_artifacts([artifact])
        (artifact,) = self.store.get_artifacts_by_id([artifact_id])
        return artifact

    def run(self, run, examples, *, pushed=0, blessed=0, baseline=None, warm_start=None):
        """Trains a model of examples, judges and pushes it, or does not."""
        warm = [warm_start] if warm_start else []
        model, _ = self.execution(
            run, "Trainer", [examples, *warm], [("Model", "model"), ("ModelRun", "model_run")]
        )
        self.execution(run, "Resolver", [], [model, *([baseline] if baseline else [])])
        judged = {"blessed": blessed, "current_model_id": model.id}
        blessing = self.execution(
            run, "Evaluator", [model, examples, *([baseline] if baseline else [])],
            [("ModelBlessing", "blessing", judged)],
        )  # fmt: skip
        self.execution(
            run, "Pusher", [model, blessing], [("PushedModel", "pushed", {"pushed": pushed})]
        )
        return model


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """Runs: 1 is the start of 2, which was pushed; 3 was blessed; 4 is of no use, 5 reuses 2's
    examples from the cache, 6 and 7 are the last."""
    recorder = Recorder(tmp_path / "work")
    examples = [("Examples", "examples")]
    first = recorder.execution(RUNS[0], "ExampleGen", [], examples)
    start = recorder.run(RUNS[0], first)
    second = recorder.execution(RUNS[1], "ExampleGen", [], examples)
    pushed = recorder.run(RUNS[1], second, pushed=1, blessed=1, warm_start=start)
    third = recorder.execution(RUNS[2], "ExampleGen", [], examples)
    recorder.run(RUNS[2], third, blessed=1, baseline=pushed)
    fourth = recorder.execution(RUNS[3], "ExampleGen", [], examples)
    recorder.run(RUNS[3], fourth, baseline=pushed)
    recorder.execution(RUNS[4], "ExampleGen", [], [second], CACHED)
    recorder.run(RUNS[4], second, baseline=pushed)
    for run in RUNS[5:]:
        recorder.execution(run, "ExampleGen", [], [fourth], CACHED)
        recorder.run(run, fourth)
    orphan = recorder.places.pipeline_root / "Trainer" / "model" / "99"
    rest = recorder.places.pipeline_root / "Trainer" / ".system" / "executor_execution" / "9"
    for folder in (orphan, rest):
        folder.mkdir(parents=True)
        (folder / "half").write_text("x" * 500)
    for name, run in (("abandoned", RUNS[2]), ("of_last", RUNS[6])):
        state = recorder.places.checkpoints / name / "state.npz"
        state.parent.mkdir(parents=True)
        state.write_text("x")
        started = time.mktime(time.strptime(run, "%Y%m%d-%H%M%S-000"))
        os.utime(state, (started + 60, started + 60))
    for name in ("pushed/1", "data/demo", "schema/demo"):
        (recorder.places.root / name).mkdir(parents=True)
        (recorder.places.root / name / "file").write_text("x")
    monkeypatch.chdir(tmp_path)
    return recorder


def files(places):
    return {
        path.relative_to(places.root).as_posix()
        for path in places.root.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def clean(*flags):
    return cleanup.main(["--workdir", "work", "--keep", "2", *flags])


def test_nothing_is_removed_without_being_told(workdir):
    before = files(workdir.places)
    result = subprocess.run(
        [sys.executable, "-m", "pipeline.local.cleanup", "--workdir", "work", "--keep", "2"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert files(workdir.places) == before
    assert "nothing is removed without --remove" in result.stdout


def test_only_what_nothing_needs_is_removed(workdir, capsys):
    before = files(workdir.places)
    assert clean() == 0
    listed = capsys.readouterr().out
    assert clean("--remove") == 0
    gone = before - files(workdir.places)
    by_folder = {os.path.dirname(file) for file in gone}
    root = "pipeline_root/"
    runs = {
        name: {e.id: e.type for e in cleanup._executions_of(workdir.store, name)} for name in RUNS
    }
    assert by_folder == {
        *(f"runs/{name}" for name in (RUNS[3], RUNS[4])),  # neither made anything that is needed
        *(
            f"{root}{node}/{channel}/{execution}"
            for run in (RUNS[3], RUNS[4])
            for execution, node in runs[run].items()
            for channel in {
                "Trainer": ("model", "model_run"),
                "Evaluator": ("blessing",),
                "Pusher": ("pushed",),
            }.get(node, ())
        ),
        # Run 1 started the pushed model; that it was judged itself matters to nobody.
        *(
            f"{root}{node}/{channel}/{execution}"
            for execution, node in runs[RUNS[0]].items()
            for channel in {"Evaluator": ("blessing",), "Pusher": ("pushed",)}.get(node, ())
        ),
        *(
            f"{root}Pusher/pushed/{execution}"
            for execution, node in runs[RUNS[2]].items()
            if node == "Pusher"
        ),
        f"{root}Trainer/model/99",
        f"{root}Trainer/.system/executor_execution/9",
        "checkpoints/abandoned",
    }
    assert all(folder.removesuffix("execution/9") in listed for folder in by_folder)
    assert clean("--remove") == 0
    assert "removed: 0.0 MB" in capsys.readouterr().out


def test_unpacked_archives_go_with_the_runs_that_used_them(workdir):
    places = workdir.places
    for sha256, run in (("a" * 64, RUNS[0]), ("b" * 64, RUNS[-1])):
        folder = places.unpacked / sha256 / "pets"
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(b"x")
        config = {"data": {"path": str(folder)}}
        (places.root / "runs" / run / "config.json").write_text(json.dumps(config))
    assert clean("--remove") == 0
    assert [folder.name for folder in places.unpacked.iterdir()] == ["b" * 64]


def test_a_moved_workdir_is_not_full_of_orphans(workdir):
    workdir.places.root.rename("elsewhere")
    os.rename("elsewhere", "work2")
    assert cleanup.main(["--workdir", "work2", "--keep", "7", "--remove"]) == 0
    left = files(Workdir("work2"))
    assert len([file for file in left if file.startswith("pipeline_root/Trainer/model/")]) == 7


def test_a_running_run_keeps_the_cleaner_out(workdir, capsys):
    with workdir.places.lock():
        assert clean("--remove") == 1
    assert "Another run is using" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workdir", "nowhere"], "nowhere"),
        (["--metadata", "nowhere.sqlite"], "nowhere.sqlite, which does not exist"),
        (["--metadata", "other.sqlite"], "belongs to another metadata store"),
    ],
)
def test_a_wrong_place_is_an_error_in_one_line(workdir, capsys, flags, message):
    store.open_store(store.connection_config("other.sqlite"))
    before = files(workdir.places)
    assert clean("--remove", *flags) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert message in error
    assert files(workdir.places) == before


def test_at_least_one_run_is_kept(capsys):
    with pytest.raises(SystemExit):
        cleanup.main(["--keep", "0"])
    assert "at least 1. Received: 0" in capsys.readouterr().err
