import shutil

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.metadata import store as stores
from pipeline.shipping.lost_versions import lost_versions
from pipeline.shipping.publish import FolderPublisher


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
        artifact.custom_properties["sha256"].string_value = published.sha256["detect.tflite"]
        return str(store.put_artifacts([artifact])[0])

    return run


def test_nothing_is_lost_before_anything_is_pushed(tmp_path, store):
    assert lost_versions(store, str(tmp_path / "pushed")) == ()


def test_what_is_there_is_not_lost(tmp_path, store, push):
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
    # Lost a second time, it is another loss: the Pusher of the first one is cached.
    shutil.rmtree(tmp_path / "pushed")
    assert lost_versions(store, str(tmp_path / "pushed")) not in ((), lost)


@pytest.mark.parametrize("name", ["detect.tflite", "labels.txt", "manifest.json"])
def test_a_version_without_one_of_its_files_is_lost(tmp_path, store, push, name):
    lost = push(b"one")
    push(b"two")
    (tmp_path / "pushed" / "1" / name).unlink()
    assert lost_versions(store, str(tmp_path / "pushed")) == (lost,)


def test_another_model_in_its_place_is_noticed(tmp_path, store, push):
    lost = push(b"one")
    (tmp_path / "pushed" / "1" / "detect.tflite").write_bytes(b"another")
    assert lost_versions(store, str(tmp_path / "pushed")) == (lost,)


def test_a_latest_that_is_gone_is_noticed(tmp_path, store, push):
    last = push(b"one")
    (tmp_path / "pushed" / "latest").unlink()
    assert lost_versions(store, str(tmp_path / "pushed")) == (f"latest after {last}",)


def test_a_linked_destination_is_the_same_one(tmp_path, store, push):
    lost = push(b"one")
    (tmp_path / "link").symlink_to("pushed")
    shutil.rmtree(tmp_path / "pushed" / "1")
    assert lost in lost_versions(store, str(tmp_path / "link"))


def test_of_a_bucket_nothing_is_known(store):
    assert lost_versions(store, "gs://bucket/pushed") == ()
