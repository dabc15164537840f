"""`verify` of a pushed folder and of copies: the files in the very folder that is given."""

import json
import shutil

import pytest

from benchmarks.lineage_store import sha256
from benchmarks.lineage_writer import Writer
from pipeline.files import format_manifest
from pipeline.lineage import open_backend, verify
from pipeline.lineage.subject import NotFoundError
from pipeline.metadata import store
from pipeline.metadata.facts import RECORD_TYPE

FILES = {"detect.tflite": "file", "labels.txt": "labels"}


@pytest.fixture
def pushed(tmp_path):
    """A store with one push, and its folder."""
    location, folder = str(tmp_path / "metadata.sqlite"), tmp_path / "pushed" / "1"
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_text(content)
    manifest = {"files": {name: {"sha256": sha256(content)} for name, content in FILES.items()}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    writer = Writer(store.open_store(store.connection_config(location)), tmp_path / "root")
    kept = writer.folder("Pusher", "pushed_model")
    kept.mkdir(parents=True)
    shutil.copy(folder / "manifest.json", kept)
    run = writer.run("run-1", 1)
    artifact = writer.artifact(
        "PushedModel", "Pusher", "pushed_model",
        pushed=1, sha256=sha256("file"), pushed_version="1", pushed_destination=str(folder),
    )  # fmt: skip
    outputs = {"pushed_model": artifact}
    writer.execute("Pusher", run, {}, outputs, cached=False, millis=1)
    known = json.dumps({"artifacts": [artifact]})
    writer.context(RECORD_TYPE, f"sha256/{sha256('file')}", json=known)
    writer.write()
    return location, folder


def problems(location, folder):
    findings = verify(open_backend(location), str(folder)).findings
    resolved = folder.resolve()
    return {
        finding.path.removeprefix(f"{resolved}/"): finding.problem
        for finding in findings
        if finding.path.startswith(str(resolved))
    }


def copied(folder):
    copy = folder.parents[1] / "copy"
    shutil.copytree(folder, copy)
    return copy


def test_a_folder_and_its_copy_are_what_was_pushed(pushed):
    location, folder = pushed
    assert problems(location, folder) == problems(location, copied(folder)) == {}


@pytest.mark.parametrize("place", [copied, lambda folder: folder], ids=["a copy", "the folder"])
@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_found(pushed, place, name):
    location, folder = pushed
    folder = place(folder)
    (folder / name).write_text("another")
    assert problems(location, folder) == {name: "changed"}


def test_a_copy_without_its_manifest_is_checked_all_the_same(pushed):
    location, folder = pushed
    copy = copied(folder)
    (copy / "manifest.json").unlink()
    (copy / "labels.txt").write_text("another")
    assert problems(location, copy) == {"labels.txt": "changed", "manifest.json": "missing"}


@pytest.mark.parametrize("claim", ["run-1", "1", "", None, ["x"], sha256("nothing")])
def test_a_manifest_cannot_pass_for_something_else(pushed, claim):
    location, folder = pushed
    copy = copied(folder)
    (copy / "detect.tflite").write_text("another")
    manifest = {"files": {"detect.tflite": {"sha256": claim}}}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(NotFoundError):
        verify(open_backend(location), str(copy))


def test_a_withdrawal_is_no_damage_but_any_other_change_of_the_manifest_is(pushed):
    location, folder = pushed
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    original = format_manifest(content)
    kept = next((folder.parents[1] / "root").rglob("manifest.json"))
    kept.write_bytes(original)
    mark = {"withdrawn": {"at": "today", "reason": "wrong"}}
    path.write_bytes(format_manifest({**content, **mark}))
    assert "manifest.json" not in problems(location, folder)
    path.write_bytes(format_manifest({**content, "run_id": "another", **mark}))
    assert problems(location, folder)["manifest.json"] == "changed"
