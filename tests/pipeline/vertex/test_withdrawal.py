"""Withdrawn models on Vertex AI are no baselines any more."""

import json

import pytest

from benchmarks.lineage_store import sha256
from benchmarks.lineage_writer import Writer
from pipeline import publish
from pipeline.metadata import store
from pipeline.shipping.folder_publisher import FolderPublisher
from pipeline.vertex.rehearsal.store import RehearsalStore
from tests.pipeline.lineage.conftest import vertex
from tests.pipeline.lineage.fake_vertex import LOCATION, PARENT, FakeVertex
from tests.pipeline.vertex.rehearsal.test_store import BLESSED, MODEL


@pytest.fixture
def pushed(tmp_path):
    """Three versions in a folder."""
    publisher = FolderPublisher(str(tmp_path / "pushed"))
    for content in (b"one", b"two", b"three"):
        publisher.publish({"detect.tflite": content, "labels.txt": b"cat\n"}, {"run_id": "r"})
    return publisher


@pytest.fixture
def service(tmp_path, monkeypatch):
    """A metadata store of Vertex AI that has blessed them; its artifacts by name."""
    services, load = [], FakeVertex._load

    def remember(self, opened):
        services.append(self)
        load(self, opened)

    monkeypatch.setattr(FakeVertex, "_load", remember)
    opened = store.open_store(store.connection_config(str(tmp_path / "metadata.sqlite")))
    writer = Writer(opened, tmp_path / "root")
    for number, content in enumerate(("one", "two", "three")):
        run = writer.run(f"run-{number}", 2)
        model = writer.artifact("Model", "TFLiteRewriter", "model", sha256=sha256(content))
        writer.execute("TFLiteRewriter", run, {}, {"model": model}, cached=False, millis=number)
        blessing = writer.artifact(
            "ModelBlessing", "Evaluator", "blessing",
            blessed=1, current_model_id=f"{PARENT}/artifacts/{model}",
        )  # fmt: skip
        writer.execute(
            "Evaluator", run, {"model": model}, {"blessing": blessing}, cached=False, millis=number
        )
    writer.write()
    with vertex(tmp_path, opened):
        yield services[0]


def baseline(service, tmp_path) -> str | None:
    """The hash of the file that the resolvers choose, as the compiled job asks for it."""
    artifacts = [
        {
            "name": one["name"], "schema_title": one["schemaTitle"], "state": one["state"],
            "metadata": one["metadata"], "pipeline": "pets",
        }
        for one in service.artifacts.values()
    ]  # fmt: skip
    path = tmp_path / "rehearsal.json"
    path.write_text(json.dumps({"artifacts": artifacts}))
    resolved = RehearsalStore(path, "pets")
    found = resolved.query(MODEL, {"input": resolved.query(BLESSED, {})})
    return found[0]["metadata"]["sha256"] if found else None


def withdraw(version, tmp_path, location=LOCATION) -> int:
    return publish.main(
        ["withdraw", version, "--reason", "wrong labels", "--metadata", location,
         "--push-to", str(tmp_path / "pushed")]
    )  # fmt: skip


def test_the_baseline_is_the_model_before_those_that_were_withdrawn(pushed, service, tmp_path):
    assert baseline(service, tmp_path) == sha256("three")
    assert withdraw("3", tmp_path) == 0
    assert baseline(service, tmp_path) == sha256("two")
    assert withdraw("3", tmp_path) == 0  # again
    assert withdraw("1", tmp_path) == 0
    assert baseline(service, tmp_path) == sha256("two")
    assert withdraw("2", tmp_path) == 0
    assert baseline(service, tmp_path) is None
    kept = [one["metadata"] for one in service.artifacts.values()]
    assert [one["blessed"] for one in kept if "blessed" in one] == [1, 1, 1]


def test_a_file_that_was_not_blessed_there_is_told(pushed, service, tmp_path, capsys):
    pushed.publish({"detect.tflite": b"four", "labels.txt": b"cat\n"}, {"run_id": "r"})
    assert withdraw("4", tmp_path) == 0
    assert f"note: {LOCATION} has no blessing of this file" in capsys.readouterr().err
    assert baseline(service, tmp_path) == sha256("three")


def test_a_store_that_cannot_be_reached_leaves_the_version_as_it_is(
    pushed, service, tmp_path, capsys
):
    assert withdraw("3", tmp_path, "vertex://my-project") == 2
    assert "Expected vertex://PROJECT/LOCATION" in capsys.readouterr().err
    assert pushed.versions()[0].withdrawn is None
