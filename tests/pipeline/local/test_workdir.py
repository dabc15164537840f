import json
import os
import subprocess
import sys
import tempfile

import pytest

from pipeline.errors import UserError
from pipeline.local.workdir import Workdir
from pipeline.metadata import store
from pipeline.metadata.run_record import ArtifactRecord, ComponentRecord


def test_paths_are_absolute_and_the_folder_is_created(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = Workdir("a/b")
    assert places.root == tmp_path / "a" / "b"
    assert places.root.is_dir()
    assert places.pipeline_root.is_absolute()


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"--workdir.*{tmp_path}/file"):
        Workdir(str(tmp_path / "file"))


def test_a_second_run_is_kept_out_while_the_first_is_running(tmp_path):
    places = Workdir(str(tmp_path))
    with (
        places.lock(),
        pytest.raises(UserError, match=f"Another run is using {tmp_path}"),
        places.lock(),
    ):
        pass
    with places.lock():
        pass


def test_a_killed_run_leaves_no_lock(tmp_path):
    program = (
        "import os, signal, sys; from pipeline.local.workdir import Workdir\n"
        "with Workdir(sys.argv[1]).lock(): os.kill(os.getpid(), signal.SIGKILL)"
    )
    result = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert result.returncode == -9
    with Workdir(str(tmp_path)).lock():
        pass


def test_latest_run_points_at_the_last_run(tmp_path):
    places = Workdir(str(tmp_path))
    for name in ("one", "two"):
        folder = places.run_folder(name)
        assert folder.is_dir()
        assert (tmp_path / "latest_run").resolve() == folder
    assert os.readlink(tmp_path / "latest_run") == "runs/two"  # the workdir may be moved


@pytest.fixture
def named_store(tmp_path):
    """Makes a store of a name; gives it and its location."""

    def make(name):
        location = str(tmp_path / f"{name}.sqlite")
        opened = store.open_store(store.connection_config(location))
        assert store.identity(opened, name) == name
        return opened, location

    return make


def test_a_pipeline_root_stays_with_its_store(tmp_path, named_store):
    places = Workdir(str(tmp_path))
    places.bind_to_store(*named_store("mine"))
    places.bind_to_store(*named_store("mine"))
    with pytest.raises(UserError, match=r"another metadata store \(mine\).*this one \(other\)"):
        places.bind_to_store(*named_store("other"))


def test_artifacts_of_an_unknown_store_are_not_mixed_with_ours(tmp_path, named_store):
    places = Workdir(str(tmp_path))
    (places.pipeline_root / "Trainer").mkdir(parents=True)
    with pytest.raises(UserError, match="has artifacts but no metadata_store"):
        places.bind_to_store(*named_store("any"))


def test_a_kill_while_the_marker_is_written_leaves_the_root_usable(tmp_path, named_store):
    places = Workdir(str(tmp_path))
    places.pipeline_root.mkdir()
    (places.pipeline_root / ".metadata_store.writing").write_text("ha")
    places.bind_to_store(*named_store("mine"))
    assert (places.pipeline_root / "metadata_store").read_text() == f"mine\n{tmp_path}\n"


def test_a_kill_while_latest_run_is_moved_does_no_harm(tmp_path):
    places = Workdir(str(tmp_path))
    places.run_folder("one")
    (tmp_path / ".latest_run").symlink_to("runs/dead")
    assert places.run_folder("two") == (tmp_path / "latest_run").resolve()


def test_a_workdir_that_is_not_writable_is_named(tmp_path):
    places = Workdir(str(tmp_path))
    (tmp_path / ".lock").mkdir()  # as impossible to open as a file in a read-only folder
    with pytest.raises(UserError, match=f"writable folder. Received: {tmp_path}"), places.lock():
        pass


def test_temporary_files_are_in_the_workdir_and_do_not_stay(tmp_path):
    places, before = Workdir(str(tmp_path / "work")), (os.environ["TMPDIR"], tempfile.gettempdir())
    (places.root / "tmp").mkdir()
    (places.root / "tmp" / "of_a_killed_run").touch()
    with places.temporary_files():
        show = "import tempfile; print(tempfile.gettempdir())"
        child = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True)
        assert child.stdout.strip() == tempfile.gettempdir() == str(places.root / "tmp")
        assert not os.listdir(tempfile.gettempdir())
        tempfile.mkdtemp()
    assert not list(places.root.iterdir())
    assert (os.environ["TMPDIR"], tempfile.gettempdir()) == before


@pytest.fixture
def trained(tmp_path):
    """A run with the Trainer in a state; its training state is in the given folder."""

    def make(state, folder="checkpoints/one"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "state.npz").write_bytes(b"")
        serving = tmp_path / "model" / "Format-Serving"
        serving.mkdir(parents=True, exist_ok=True)
        facts = {"facts": {"state_dir": str(tmp_path / folder)}}
        (serving / "detector.json").write_text(json.dumps(facts))
        model = ArtifactRecord(1, "Model", str(tmp_path / "model"), {})
        return {"Trainer": ComponentRecord("Trainer", 1, state, 1.0, {"model": [model]}, {})}

    return make


@pytest.mark.parametrize("state", ["complete", "cached"])
def test_the_training_state_is_removed_once_the_model_is_recorded(tmp_path, trained, state):
    components = trained(state)
    trained(state, "checkpoints/two")
    trained(state)
    for _ in range(2):  # a cached run finds none
        Workdir(str(tmp_path)).remove_finished_state(components)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["two"]


@pytest.mark.parametrize("state", ["failed", "running"])
def test_the_training_state_of_an_unfinished_run_stays(tmp_path, trained, state):
    Workdir(str(tmp_path)).remove_finished_state(trained(state))
    assert (tmp_path / "checkpoints" / "one" / "state.npz").exists()


def test_a_run_without_a_trainer_removes_no_training_state(tmp_path):
    Workdir(str(tmp_path)).remove_finished_state({})


def test_a_training_state_outside_the_workdir_stays(tmp_path, trained):
    Workdir(str(tmp_path)).remove_finished_state(trained("complete", "elsewhere/one"))
    assert (tmp_path / "elsewhere" / "one" / "state.npz").exists()
