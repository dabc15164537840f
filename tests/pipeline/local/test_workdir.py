import os
import subprocess
import sys

import pytest

from pipeline.errors import UserError
from pipeline.local.workdir import Workdir, write_whole


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


def test_a_pipeline_root_stays_with_its_store(tmp_path):
    places = Workdir(str(tmp_path))
    places.bind_to_store("mine")
    places.bind_to_store("mine")
    with pytest.raises(UserError, match=r"another metadata store \(mine\).*this one \(other\)"):
        places.bind_to_store("other")


def test_artifacts_of_an_unknown_store_are_not_mixed_with_ours(tmp_path):
    places = Workdir(str(tmp_path))
    (places.pipeline_root / "Trainer").mkdir(parents=True)
    with pytest.raises(UserError, match="has artifacts but no metadata_store"):
        places.bind_to_store("any")


def test_a_kill_while_the_marker_is_written_leaves_the_root_usable(tmp_path):
    places = Workdir(str(tmp_path))
    places.pipeline_root.mkdir()
    (places.pipeline_root / ".metadata_store.writing").write_text("ha")
    places.bind_to_store("mine")
    assert (places.pipeline_root / "metadata_store").read_text() == "mine\n"


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


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    write_whole(path, "old")

    def die(*args):
        raise SystemExit

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(SystemExit):
        write_whole(path, "new")
    assert path.read_text() == "old"
