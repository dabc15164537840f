import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.errors import UserError
from pipeline.files import hash_together
from pipeline.metadata import store as stores
from pipeline.metadata.facts import record_withdrawal
from pipeline.shipping.folder_publisher import FolderPublisher, lost_versions

OLD = {"detect.tflite": b"old", "labels.txt": b"cat\n"}
NEW = {"detect.tflite": b"new" * 1000, "labels.txt": b"cat\ndog\n"}


def served(folder: Path) -> dict[str, bytes]:
    """What a reader of `latest` gets, after checking it against its manifest."""
    latest = folder / "latest"
    manifest = json.loads((latest / "manifest.json").read_text())
    files = {name: (latest / name).read_bytes() for name in manifest["files"]}
    for name, content in files.items():
        assert manifest["files"][name]["sha256"] == hashlib.sha256(content).hexdigest()
        assert manifest["files"][name]["size_bytes"] == len(content)
    return files


def test_a_push_is_a_new_version_and_the_latest(tmp_path):
    folder = tmp_path / "deep" / "pushed"
    first = FolderPublisher(str(folder)).publish(OLD, {"run_id": "run 1"})
    second = FolderPublisher(str(folder)).publish(NEW, {"run_id": "run 2"})
    assert (first.version, second.version) == ("1", "2")
    assert second.path == str(folder / "2")
    sha256 = hashlib.sha256(NEW["detect.tflite"]).hexdigest()
    assert second.files["detect.tflite"] == {"sha256": sha256, "size_bytes": 3000}
    assert served(folder) == NEW
    assert os.readlink(folder / "latest") == "2"  # relative: the folder can be moved
    assert json.loads((folder / "1" / "manifest.json").read_text())["run_id"] == "run 1"
    assert sorted(path.name for path in folder.iterdir()) == [".push.lock", "1", "2", "latest"]


def test_versions_count_as_numbers_and_gaps_are_not_filled(tmp_path):
    for name in ("2", "9", "10", "notes"):
        (tmp_path / name).mkdir()
    assert FolderPublisher(str(tmp_path)).publish(OLD, {}).version == "11"


def test_publishing_the_latest_again_makes_no_second_version(tmp_path):
    publisher = FolderPublisher(str(tmp_path))
    first = publisher.publish(OLD, {"run_id": "run 1"})
    assert publisher.publish(OLD, {"run_id": "run 2"}) == first
    publisher.publish(NEW, {})
    assert publisher.publish(OLD, {}).version == "3"  # going back makes a new version
    (tmp_path / "3" / "detect.tflite").write_bytes(b"damaged")
    assert publisher.publish(OLD, {}).version == "4"
    assert served(tmp_path) == OLD


CALLS = ("mkdtemp", "open", "fsync", "chmod", "rename", "symlink", "replace")

KILLED_PUSH = """
import builtins, os, signal, sys, tempfile
from pipeline.shipping.folder_publisher import FolderPublisher
folder, name, count, after = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "after"
owner = {"mkdtemp": tempfile, "open": builtins}.get(name, os)
original, calls = getattr(owner, name), 0
def killing(*args, **kwargs):
    global calls
    calls += 1
    if calls == count and not after:
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*args, **kwargs)
    if calls == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
publisher = FolderPublisher(folder)
setattr(owner, name, killing)
publisher.publish({"detect.tflite": b"new" * 1000, "labels.txt": b"cat\\ndog\\n"}, {})
"""


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", CALLS)
def test_a_kill_at_any_step_leaves_a_whole_version_served(tmp_path, call, moment):
    FolderPublisher(str(tmp_path)).publish(OLD, {})
    for count in range(1, 10):  # each use of the call in turn, until the push gets through
        command = [sys.executable, "-c", KILLED_PUSH, str(tmp_path), call, str(count), moment]
        result = subprocess.run(command, check=False)
        assert served(tmp_path) in (OLD, NEW)
        if result.returncode == 0:
            assert served(tmp_path) == NEW
            break
        if call not in ("replace", "fsync"):  # the calls that follow the pointer's move
            assert served(tmp_path) == OLD
        assert result.returncode == -signal.SIGKILL
        FolderPublisher(str(tmp_path)).publish(OLD, {})
        assert served(tmp_path) == OLD
        assert not list(tmp_path.glob(".push-*"))
    else:
        pytest.fail(f"{call} was called more than 9 times")
    assert count > 1


def test_a_full_disk_leaves_the_old_version_served(tmp_path, monkeypatch):
    FolderPublisher(str(tmp_path)).publish(OLD, {})

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            FolderPublisher(str(tmp_path)).publish(NEW, {})
    assert served(tmp_path) == OLD
    assert FolderPublisher(str(tmp_path)).publish(NEW, {}).version == "2"
    assert not list(tmp_path.glob(".push-*"))


def test_a_copy_that_reads_back_wrong_is_not_served(tmp_path, monkeypatch):
    FolderPublisher(str(tmp_path)).publish(OLD, {})

    def torn(path, content):
        Path(path).write_bytes(content[:-1])

    monkeypatch.setattr("pipeline.shipping.folder_publisher.write_whole", torn)
    with pytest.raises(OSError, match="sha256"):
        FolderPublisher(str(tmp_path)).publish(NEW, {})
    assert served(tmp_path) == OLD


def test_only_our_leftovers_are_removed(tmp_path):
    for name in (".push-dead", ".hidden", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    (tmp_path / ".push-latest").symlink_to("7")
    FolderPublisher(str(tmp_path)).publish(NEW, {})
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {".hidden", ".push.lock", "notes", "1", "latest"}


def _publish_five(folder, name):
    for number in range(5):
        FolderPublisher(folder).publish({"detect.tflite": f"{name} {number}".encode()}, {})


def test_two_pushers_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_publish_five, args=(str(tmp_path), name)) for name in ("a", "b")
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    versions = {path.name for path in tmp_path.iterdir() if path.name.isdigit()}
    assert versions == {str(version) for version in range(1, 11)}
    assert os.readlink(tmp_path / "latest") == "10"
    assert served(tmp_path)["detect.tflite"] in (b"a 4", b"b 4")


def test_a_latest_that_is_not_a_symlink_is_left_alone(tmp_path):
    (tmp_path / "latest").mkdir()
    with pytest.raises(UserError, match="symlink"):
        FolderPublisher(str(tmp_path)).publish(NEW, {})
    assert (tmp_path / "latest").is_dir()
    assert not (tmp_path / "1").exists()


def test_a_destination_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="push destination"):
        FolderPublisher(str(tmp_path / "file")).publish(NEW, {})


@pytest.fixture
def store(tmp_path):
    return stores.open_store(stores.connection_config(str(tmp_path / "m.sqlite")))


@pytest.fixture
def push(tmp_path, store):
    """Publishes a model and records it as the Pusher does; gives the artifact's id."""

    def run(content: bytes):
        published = FolderPublisher(str(tmp_path / "pushed")).publish(
            {"detect.tflite": content, "labels.txt": b"cat\n"}, {}
        )
        type_id = store.put_artifact_type(mlmd.ArtifactType(name="PushedModel"))
        artifact = mlmd.Artifact(type_id=type_id, uri="anywhere")
        artifact.custom_properties["pushed"].int_value = 1
        artifact.custom_properties["pushed_destination"].string_value = published.path
        sha256 = published.files["detect.tflite"]["sha256"]
        artifact.custom_properties["sha256"].string_value = sha256
        together = hash_together({"detect.tflite": content, "labels.txt": b"cat\n"})
        artifact.custom_properties["files_sha256"].string_value = together
        return str(store.put_artifacts([artifact])[0])

    return run


def test_nothing_is_lost_before_anything_is_pushed(tmp_path, store):
    assert lost_versions(store, str(tmp_path / "pushed")) == ()


def test_a_version_in_its_place_is_not_lost(tmp_path, store, push):
    push(b"one")
    push(b"two")
    assert lost_versions(store, str(tmp_path / "pushed")) == ()
    assert lost_versions(store, str(tmp_path / "elsewhere")) == ()


def test_a_deleted_folder_is_lost_until_it_is_pushed_again(tmp_path, store, push):
    first = push(b"one")
    shutil.rmtree(tmp_path / "pushed")
    lost = (first, f"latest after {first}")
    assert lost_versions(store, str(tmp_path / "pushed")) == lost
    push(b"one")
    assert lost_versions(store, str(tmp_path / "pushed")) == ()
    # A second loss must differ from the first, whose Pusher is in the cache.
    shutil.rmtree(tmp_path / "pushed")
    assert lost_versions(store, str(tmp_path / "pushed")) not in ((), lost)


@pytest.mark.parametrize("name", ["detect.tflite", "labels.txt", "manifest.json"])
def test_a_version_without_one_of_its_files_is_lost(tmp_path, store, push, name):
    lost = push(b"one")
    push(b"two")
    (tmp_path / "pushed" / "1" / name).unlink()
    assert lost_versions(store, str(tmp_path / "pushed")) == (lost,)


def test_a_version_with_another_model_is_lost(tmp_path, store, push):
    lost = push(b"one")
    (tmp_path / "pushed" / "1" / "detect.tflite").write_bytes(b"another")
    assert lost_versions(store, str(tmp_path / "pushed")) == (lost,)


def test_a_version_with_other_labels_is_lost(tmp_path, store, push):
    lost = push(b"one")
    (tmp_path / "pushed" / "1" / "labels.txt").write_bytes(b"dog\n")
    assert lost_versions(store, str(tmp_path / "pushed")) == (lost,)


def test_a_missing_latest_is_noticed(tmp_path, store, push):
    last = push(b"one")
    (tmp_path / "pushed" / "latest").unlink()
    assert lost_versions(store, str(tmp_path / "pushed")) == (f"latest after {last}",)


def test_a_symlink_to_the_destination_is_the_same_destination(tmp_path, store, push):
    lost = push(b"one")
    (tmp_path / "link").symlink_to("pushed")
    shutil.rmtree(tmp_path / "pushed" / "1")
    assert lost in lost_versions(store, str(tmp_path / "link"))


def test_nothing_is_known_about_a_bucket(store):
    assert lost_versions(store, "gs://bucket/pushed") == ()


@pytest.mark.parametrize("destination", ["", "gs://bucket/pushed"])
def test_a_withdrawn_version_is_not_what_the_cache_says_is_pushed(
    tmp_path, store, push, destination
):
    first = push(b"one")
    last = push(b"two")
    digest = hashlib.sha256(b"two").hexdigest()
    record_withdrawal(store, digest, {"at": "today", "reason": "wrong"})
    if destination:
        [artifact] = store.get_artifacts_by_id([int(last)])
        artifact.custom_properties["pushed_destination"].string_value = f"{destination}/2"
        store.put_artifacts([artifact])
    assert lost_versions(store, destination or str(tmp_path / "pushed")) == (f"withdrawn {last}",)
    assert first != last
