"""A pipeline of two small components, whose workdir is moved, copied and damaged between runs."""

import shutil
from pathlib import Path

import pytest
import tfx.v1 as tfx
from tfx.types import standard_artifacts

from pipeline import presets
from pipeline.local import run as local_run
from pipeline.local.cache import careful_cache
from pipeline.local.workdir import Workdir
from pipeline.metadata import store
from pipeline.metadata.facts import record_files, record_start
from pipeline.metadata.run_record import read_run


@tfx.dsl.components.component
def Hello(
    place: tfx.dsl.components.Parameter[str],
    greeting: tfx.dsl.components.OutputArtifact[standard_artifacts.Model],
) -> None:
    for name in ("one", "two"):
        Path(greeting.uri, name).write_text(f"hello {name}")


@tfx.dsl.components.component
def Echo(
    greeting: tfx.dsl.components.InputArtifact[standard_artifacts.Model],
    echo: tfx.dsl.components.OutputArtifact[standard_artifacts.Model],
) -> None:
    shutil.copytree(greeting.uri, echo.uri, dirs_exist_ok=True)


class Project:
    """A workdir and the runs in it."""

    def __init__(self, root, monkeypatch):
        self.root, self.monkeypatch, self.count = root, monkeypatch, 0

    def run(self, metadata=None):
        """Runs the pipeline; returns the components' states."""
        places = Workdir(str(self.root))
        connection = store.connection_config(metadata or str(places.metadata))
        opened = store.open_store(connection)
        places.bind_to_store(opened, store.describe(connection))
        hello = Hello(place=str(places.checkpoints)).with_id("Hello")
        pipeline = tfx.dsl.Pipeline(
            "hello",
            str(places.pipeline_root),
            components=[hello, Echo(greeting=hello.outputs["greeting"]).with_id("Echo")],
            metadata_connection_config=connection,
            enable_cache=True,
        )
        self.monkeypatch.setattr("pipeline.pipeline.create_pipeline", lambda *args: pipeline)
        self.count += 1
        run_id = f"run-{self.count}"
        config = presets.load("demo")
        compiled = local_run._compile(config, connection, run_id)
        record_start(opened, run_id, config)
        with careful_cache(connection, places.root):
            local_run._run_components(compiled, lambda: None, lambda: record_files(opened, run_id))
        self.components = read_run(opened, run_id)
        return {name: component.state for name, component in self.components.items()}

    def folder(self, component, channel):
        """The folder of what a component made or reused."""
        return Path(self.components[component].output(channel).uri)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A workdir in which the pipeline has run once."""
    project = Project(tmp_path / "work", monkeypatch)
    assert project.run() == {"Hello": "complete", "Echo": "complete"}
    return project


CACHED = {"Hello": "cached", "Echo": "cached"}


def test_an_unchanged_run_is_cached(project):
    assert project.run() == CACHED


def test_a_moved_workdir_takes_its_cache_along(project, tmp_path, capsys):
    for place in ("elsewhere/work2", "work22"):
        old, project.root = project.root, tmp_path / place
        project.root.parent.mkdir(exist_ok=True)
        old.rename(project.root)
        capsys.readouterr()
        assert project.run() == CACHED
        assert f"was in {old}: the paths of 2 artifacts follow it\n" in capsys.readouterr().out
        assert project.folder("Echo", "echo").is_relative_to(project.root)
        assert project.run() == CACHED
        assert "follow" not in capsys.readouterr().out


def test_a_copied_workdir_uses_its_own_files(project, tmp_path):
    original, project.root = project.root, tmp_path / "copy"
    shutil.copytree(original, project.root)
    assert project.run() == CACHED
    assert project.folder("Echo", "echo").is_relative_to(project.root)
    project.root = original
    assert project.run() == CACHED
    assert project.folder("Echo", "echo").is_relative_to(original)


def test_a_copy_that_shares_the_store_leaves_the_original_its_paths(project, tmp_path):
    metadata = str(tmp_path / "shared.sqlite")
    shutil.move(project.root / "metadata.sqlite", metadata)
    original, project.root = project.root, tmp_path / "copy"
    shutil.copytree(original, project.root)
    project.run(metadata)
    project.root = original
    assert project.run(metadata) == CACHED
    assert project.folder("Echo", "echo").is_relative_to(original)


def empty(folder):
    for path in folder.iterdir():
        path.unlink()


DAMAGES = {
    "{} is gone": shutil.rmtree,
    "one is missing in {} (and 1 more)": empty,
    "two is missing in {}": lambda folder: (folder / "two").unlink(),
    "one has changed in {}": lambda folder: (folder / "one").write_text("hello onE"),
    "zero is new in {}": lambda folder: (folder / "zero").touch(),
}


@pytest.mark.parametrize(("message", "damage"), DAMAGES.items(), ids=DAMAGES)
def test_damaged_files_are_made_again(project, capsys, message, damage):
    folder = project.folder("Hello", "greeting")
    damage(folder)
    assert project.run() == {"Hello": "complete", "Echo": "complete"}
    message = message.format(folder)
    assert f"  {message}: not reused\n" in capsys.readouterr().out
    assert (project.folder("Hello", "greeting") / "one").read_text() == "hello one"
    assert project.run() == CACHED


def test_damage_is_said_once_and_what_is_put_back_is_reused(project, capsys):
    file = project.folder("Echo", "echo") / "one"
    assert [project.run(), project.run()] == [CACHED, CACHED]  # three executions have these files
    file.write_text("hello onE")
    assert project.run() == {"Hello": "cached", "Echo": "complete"}
    assert capsys.readouterr().out.count("one has changed") == 1
    shutil.rmtree(project.folder("Echo", "echo"))
    file.write_text("hello one")
    assert project.run() == CACHED
    assert project.folder("Echo", "echo") == file.parent


def test_only_what_depends_on_damaged_files_is_made_again(project):
    empty(project.folder("Echo", "echo"))
    assert project.run() == {"Hello": "cached", "Echo": "complete"}


def test_files_that_a_killed_run_did_not_record_are_made_again(project, capsys, monkeypatch):
    shutil.rmtree(project.root)
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "record_files", lambda *args: {})
        project.run()
    assert project.run() == {"Hello": "complete", "Echo": "complete"}
    assert "was killed before it was recorded: not reused" in capsys.readouterr().out


def test_tfx_is_left_as_it_was(project):
    from tfx.orchestration.portable import cache_utils
    from tfx.types import artifact_utils

    assert cache_utils.get_cache_context.__module__ == cache_utils.__name__
    assert artifact_utils.verify_artifacts.__module__ == artifact_utils.__name__
