import json

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline import presets
from pipeline.config import override
from pipeline.data.census import Census, Checked
from pipeline.files import IMAGES_FILE
from pipeline.fingerprint import fingerprint_of
from pipeline.metadata import facts, image_lists, store
from pipeline.metadata.origin import read_origin
from pipeline.metadata.records import NO_ORIGIN, RUN_CONTEXT, to_run
from tests.pipeline.metadata.test_run_record import RUN, add


def test_a_model_is_found_by_the_content_of_a_file(tmp_path):
    opened = store.open_store(store.connection_config(str(tmp_path / "metadata.sqlite")))
    type_id = opened.put_artifact_type(mlmd.ArtifactType(name="Model"))
    models = [mlmd.Artifact(type_id=type_id, uri=f"/models/{name}") for name in "abc"]
    ids = opened.put_artifacts(models)
    for key, digest in zip(ids[1:], ("1", "1"), strict=True):  # a copy has the same files
        files = {"Format-Serving/float/weights.npz": {"sha256": digest, "size_bytes": 1}}
        facts.write_record(opened, "files", str(key), files)
    assert facts.find_model(opened, "1") == "/models/b"
    assert facts.find_model(opened, "2") is None


@pytest.mark.parametrize("is_recorded", [True, False])
def test_every_run_records_its_commit_and_if_wanted_host_and_user(tmp_path, is_recorded):
    opened = store.open_store(store.connection_config(str(tmp_path / "metadata.sqlite")))
    wanted = {"execution.record_host_and_user": is_recorded}
    facts.record_start(opened, "run", override(presets.load("demo"), wanted))
    (context,) = opened.get_contexts_by_type(RUN_CONTEXT)
    origin = to_run(context).origin
    assert origin == NO_ORIGIN | read_origin(with_host_and_user=is_recorded)
    assert origin["commit"]
    assert (origin["host"] is not None) == (origin["user"] is not None) == is_recorded


SUMMARY = {"status": "pushed", "error": None, "plan": None, "gate": None}


@pytest.fixture
def examples(tmp_path):
    """An opened store with the Examples of one run, and their list of images."""
    images = [
        {"id": name, "file": f"{name}.jpg", "split": "train", "sha256": fingerprint_of(name),
         "annotation_sha256": fingerprint_of([name])}
        for name in ("rex", "tom")
    ]  # fmt: skip
    (tmp_path / "images.jsonl").write_text("".join(json.dumps(image) + "\n" for image in images))
    opened = store.open_store(store.connection_config(str(tmp_path / "metadata.sqlite")))
    type_id = opened.put_artifact_type(mlmd.ArtifactType(name="Examples"))
    artifact = mlmd.Artifact(type_id=type_id, uri=str(tmp_path))
    fingerprint = image_lists.data_fingerprint(images)
    artifact.custom_properties["data_fingerprint"].string_value = fingerprint
    add(opened, "ExampleGen", mlmd.Execution.COMPLETE, artifact)
    (found,) = opened.get_artifacts()
    return opened, found.id, images


def recorded(opened, key):
    def record(kind, name):
        return facts.read_record(opened, kind, str(name))

    index = record(image_lists.LISTS, key)
    return index and image_lists.RecordedImages(index, record)


def test_the_images_of_a_run_are_recorded(examples, tmp_path):
    opened, key, images = examples
    facts.record_end(opened, RUN, SUMMARY)
    found = recorded(opened, key)
    assert sorted(found, key=lambda image: image["id"]) == images
    assert found.named("folder/rex.png") == [images[0]]
    assert found.with_content(images[1]["sha256"][:8]) == [images[1]]
    # A later run that takes them from the cache leaves them as they are.
    (tmp_path / "images.jsonl").write_text("")
    facts.record_end(opened, RUN, SUMMARY)
    assert len(list(recorded(opened, key))) == 2


@pytest.mark.parametrize("content", ["", "{", "[]\n", None])
def test_a_list_that_is_not_what_was_written_is_not_recorded(examples, tmp_path, content):
    opened, key, _ = examples
    file = tmp_path / "images.jsonl"
    file.unlink() if content is None else file.write_text(content)
    facts.record_end(opened, RUN, SUMMARY)
    assert recorded(opened, key) is None


def test_the_fingerprint_of_a_list_is_that_of_the_data():
    kept = [
        (Checked(f"{name}.xml", name, f"{name}.jpg", "", fingerprint_of(name), "a"), side)
        for name, side in (("rex", "train"), ("t\udcffm", "eval"))
    ]
    census = Census(tuple(kept), (), ())
    lines = [json.loads(line) for line in census.files()[IMAGES_FILE].splitlines()]
    assert image_lists.data_fingerprint(lines) == census.properties()["data_fingerprint"]
