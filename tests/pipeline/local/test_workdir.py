import os
import subprocess
import sys

import pytest

from pipeline.errors import UserError
from pipeline.local.workdir import Workdir


def store(name):
    """The identity of a store that has this name."""
    return lambda proposal: name


def test_paths_are_absolute_and_the_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = Workdir("a/b")
    assert places.root == tmp_path / "a" / "b"
    assert places.root.is_dir()
    assert places.pipeline_root.is_absolute()


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"--workdir.*{tmp_path}/file"):
        Workdir(str(tmp_path / "file"))


def test_a_second_run_is_kept_out_while_the_first_is_under_way(tmp_path):
    places = Workdir(str(tmp_path))
    with (
        places.lock(),
        pytest.raises(UserError, match=f"no other run in {tmp_path}"),
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


def test_the_latest_run_is_pointed_at(tmp_path):
    places = Workdir(str(tmp_path))
    for name in ("one", "two"):
        folder = places.run_folder(name)
        assert folder.is_dir()
        assert (tmp_path / "latest_run").resolve() == folder
    assert os.readlink(tmp_path / "latest_run") == "runs/two"  # the workdir may be moved


def test_a_pipeline_root_stays_with_its_store(tmp_path):
    places = Workdir(str(tmp_path))
    places.bind_to_store(lambda proposal: proposal)
    name = (places.pipeline_root / "metadata_store").read_text().strip()
    places.bind_to_store(store(name))
    with pytest.raises(UserError, match=rf"belongs to \({name}\).*another one \(other\)"):
        places.bind_to_store(store("other"))


def test_artifacts_of_an_unknown_store_are_not_mixed_with_ours(tmp_path):
    places = Workdir(str(tmp_path))
    (places.pipeline_root / "Trainer").mkdir(parents=True)
    with pytest.raises(UserError, match="has artifacts and no metadata_store"):
        places.bind_to_store(store("any"))


def test_a_kill_while_the_root_is_bound_leaves_it_usable(tmp_path):
    places = Workdir(str(tmp_path))
    places.pipeline_root.mkdir()
    (places.pipeline_root / ".metadata_store.writing").write_text("ha")
    places.bind_to_store(store("mine"))
    assert (places.pipeline_root / "metadata_store").read_text() == "mine\n"


def test_a_kill_while_latest_run_is_moved_does_not_matter(tmp_path):
    places = Workdir(str(tmp_path))
    places.run_folder("one")
    (tmp_path / ".latest_run").symlink_to("runs/dead")
    assert places.run_folder("two") == (tmp_path / "latest_run").resolve()


def test_a_workdir_that_can_not_be_written_is_named(tmp_path):
    places = Workdir(str(tmp_path))
    (tmp_path / ".lock").mkdir()  # as little to be opened as a file of a read-only folder
    with pytest.raises(UserError, match=f"can be written. Received: {tmp_path}"), places.lock():
        pass
