import os

import pytest

from models.files import write_whole


def test_a_file_is_written_with_its_folders_and_replaced(tmp_path):
    path = tmp_path / "deep" / "folder" / "file.txt"
    write_whole(path, "öld")
    assert path.read_bytes() == "öld".encode()
    write_whole(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_is_cut_off_leaves_the_old_file(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    write_whole(path, "old")

    def fail(*args):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(OSError, match="disk full"):
            write_whole(path, "new")
    assert path.read_text() == "old"
    # What is left is hidden.
    assert [entry.name for entry in tmp_path.iterdir() if entry.name[0] != "."] == ["file"]
    write_whole(path, "new")
    assert path.read_text() == "new"


def test_the_file_and_the_folders_that_lead_to_it_are_synced(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def record(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    monkeypatch.chdir(tmp_path)
    write_whole("new/newer/file", "text")
    root = str(tmp_path)
    assert synced == [
        root, f"{root}/new", f"{root}/new/newer/.file.writing-{os.getpid()}", f"{root}/new/newer",
    ]  # fmt: skip
    synced.clear()
    write_whole("new/newer/file", "other")
    assert synced[1:] == [f"{root}/new/newer"]
