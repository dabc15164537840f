"""What is recorded of a run's origin, in repositories of the test's own."""

import getpass
import os
import shutil
import socket
import subprocess

import pytest

from pipeline.metadata import origin as module
from pipeline.metadata.origin import NOT_IN_GIT, read_origin


def git(folder, *arguments):
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A copy of the code, outside of any repository."""
    root = tmp_path / "outer" / "project"
    file = root / "pipeline" / "metadata" / "origin.py"
    file.parent.mkdir(parents=True)
    shutil.copy(module.__file__, file)
    monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setattr(module, "__file__", str(file))
    return root


@pytest.fixture
def committed(code):
    git(code, "init")
    git(code, "add", ".")
    git(code, "commit", "-m", "first")
    return code


def test_a_clean_tree_is_its_commit(committed):
    head = git(committed, "rev-parse", "HEAD")
    (committed / "notes.txt").write_text("of the user's own")
    assert read_origin(with_host_and_user=False) == {"commit": head, "dirty": False}


def test_an_edited_tree_is_dirty(committed):
    (committed / "pipeline" / "metadata" / "origin.py").write_text("edited")
    assert read_origin(with_host_and_user=False)["dirty"] is True


def test_a_change_elsewhere_in_a_larger_repository_is_not_of_this_tree(code):
    outer = code.parent
    (outer / "file").write_text("another project")
    git(outer, "init")
    git(outer, "add", ".")
    git(outer, "commit", "-m", "both")
    (outer / "file").write_text("changed")
    assert read_origin(with_host_and_user=False)["dirty"] is False


def test_asking_does_not_write_to_the_repository(committed):
    index = committed / ".git" / "index"
    os.utime(committed / "pipeline" / "metadata" / "origin.py")  # git would refresh its index
    before = index.read_bytes()
    assert read_origin(with_host_and_user=False)["dirty"] is False
    assert index.read_bytes() == before


def test_a_variable_of_another_repository_does_not_matter(committed, tmp_path, monkeypatch):
    git(tmp_path, "init", "other")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    assert read_origin(with_host_and_user=False)["dirty"] is False


def test_code_outside_of_git_says_so(code, monkeypatch):
    assert read_origin(with_host_and_user=False) == {"commit": NOT_IN_GIT}
    monkeypatch.setenv("PATH", "")
    assert read_origin(with_host_and_user=False) == {"commit": NOT_IN_GIT}


def test_the_commit_of_a_repository_around_the_code_is_not_its_own(code):
    outer = code.parent
    (outer / "file").write_text("another project")
    git(outer, "init")
    git(outer, "add", "file")
    git(outer, "commit", "-m", "another project")
    assert read_origin(with_host_and_user=False) == {"commit": NOT_IN_GIT}


def test_a_repository_without_a_commit_is_unknown(code):
    git(code, "init")
    git(code, "add", ".")
    facts = read_origin(with_host_and_user=False)
    assert facts["commit"].startswith("unknown: fatal: ")
    assert "\n" not in facts["commit"]
    assert "dirty" not in facts


def test_host_and_user(code, monkeypatch):
    facts = read_origin(with_host_and_user=True)
    assert (facts["host"], facts["user"]) == (socket.gethostname(), getpass.getuser())

    def no_name():
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", no_name)
    assert read_origin(with_host_and_user=True)["user"] == f"uid {os.getuid()}"
