"""Models that began from weights of which no run in the store says how they were made."""

import json

import pytest

from benchmarks.lineage_store import sha256, write_list
from benchmarks.lineage_writer import Writer
from pipeline.lineage import impact, open_backend, trace
from pipeline.lineage.__main__ import main
from pipeline.lineage.graph import to_json
from pipeline.lineage.graph_html import page
from pipeline.metadata import store
from pipeline.metadata.facts import close_killed_run, record_end
from pipeline.metadata.image_lists import data_fingerprint
from tests.pipeline.lineage.conftest import vertex
from tests.pipeline.metadata.test_facts import SUMMARY
from tests.pipeline.metadata.test_run_record import RUN

PICTURE = {
    "id": "cat_7",
    "file": "images/cat_7.jpg",
    "sha256": sha256("cat 7"),
    "annotation_sha256": sha256("a cat"),
    "split": "train",
}


class Trainings:
    """Writes runs of a Trainer, with the weights that each began from."""

    def __init__(self, location, root):
        self.location = location
        self.writer = Writer(store.open_store(store.connection_config(location)), root)
        self.models = {}

    def weights(self, **properties):
        return self.writer.artifact("Model", "WarmStart", "result", **properties)

    def train(self, name, base=None, examples=None, **properties):
        run = self.writer.run(name, 2 if base else 1)
        inputs = {"base_model": base} if base else {}
        if base:
            self.writer.execute("WarmStart", run, {}, {"result": base}, cached=False, millis=1)
        if examples:
            inputs["examples"] = examples
        model = self.writer.artifact("Model", "Trainer", "model")
        self.writer.execute(
            "Trainer", run, inputs, {"model": model}, cached=False, millis=2, **properties
        )
        self.models[name] = model
        return model

    def data_set(self, *images):
        run = self.writer.run(f"data {len(self.models)}", 1)
        self.list = self.writer.folder("ExampleGen", "examples")
        write_list(self.list, images)
        examples = self.writer.artifact(
            "Examples", "ExampleGen", "examples", data_fingerprint=data_fingerprint(images)
        )
        outputs = {"examples": examples}
        self.writer.execute("ExampleGen", run, {}, outputs, cached=False, millis=0)
        return examples


@pytest.fixture
def trainings(tmp_path):
    """One run saw the picture; of the others, three go back to weights from elsewhere."""
    made = Trainings(str(tmp_path / "metadata.sqlite"), tmp_path / "root")
    seen = made.train("saw it", examples=made.data_set(PICTURE))
    made.train("began from it", base=seen)
    made.train("from scratch")
    foreign = made.weights(sha256=sha256("weights"), kind="tflite")
    made.train("from coco", base=foreign)
    made.train("second hand", base=made.models["from coco"])
    made.train("from elsewhere", base=made.weights())
    made.writer.write()
    return made


def test_no_all_clear_for_models_of_unknown_origin(trainings):
    found = impact(open_backend(trainings.location), "cat_7")
    touched = {t.training.run.name: t.how for t in found.touched}
    assert touched == {"saw it": "trained", "began from it": "inherited"}
    assert [t.run.name for t in found.untold] == ["from coco", "second hand", "from elsewhere"]
    assert [model["how"] for model in found.to_json()["untold"]] == ["cannot tell"] * 3


def test_it_is_said_of_each_model_with_the_weights(trainings, capfd):
    assert main(["impact", "cat_7", "--metadata", trainings.location]) == 0
    model = f"model {trainings.models['from coco']} "
    (line,) = (line for line in capfd.readouterr().out.splitlines() if model in line)
    assert line.startswith(f"never pushed: {model}")
    assert "cannot tell; it began from weights of unknown origin" in line
    assert f"sha256 {sha256('weights')}" in line


@pytest.fixture
def from_imagenet(tmp_path):
    """Keras's download is what the file of the same weights is: nobody knows its pictures here."""
    made = Trainings(str(tmp_path / "metadata.sqlite"), tmp_path / "root")
    made.train("saw it", examples=made.data_set(PICTURE))
    settings = {"settings": {"warm_start": {"weights": "imagenet"}}}
    began = made.train(RUN, custom_config=json.dumps(settings))
    made.train("second hand", base=began)
    made.train("from scratch")
    made.writer.write()
    return made


def check_imagenet(backend):
    found = impact(backend, "cat_7")
    assert [t.training.run.name for t in found.touched] == ["saw it"]
    assert {t.run.name for t in found.untold} == {RUN, "second hand"}
    assert all("ImageNet" in reason for reason in found.doubts.values())


@pytest.mark.parametrize(
    "end",
    [lambda opened: record_end(opened, RUN, SUMMARY), lambda o: close_killed_run(o, RUN, "gone")],
    ids=["ended", "killed"],
)
def test_no_all_clear_for_models_from_imagenet(from_imagenet, end):
    end(store.open_store(store.connection_config(from_imagenet.location)))
    check_imagenet(open_backend(from_imagenet.location))


def test_no_all_clear_for_models_from_imagenet_on_vertex(from_imagenet, tmp_path):
    opened = store.open_store(store.connection_config(from_imagenet.location))
    with vertex(tmp_path, opened) as url:
        check_imagenet(open_backend(url))


def test_trace_diff_and_the_page_of_a_graph_say_it_too(trainings, capfd):
    for command in (["trace", "second hand"], ["diff", "from scratch", "from coco"]):
        assert main([*command, "--metadata", trainings.location]) == 0
        (line,) = (line for line in capfd.readouterr().out.splitlines() if "unknown origin" in line)
        assert line.strip().startswith("warm start ")
        assert f"sha256 {sha256('weights')[:12]}" in line
    assert main(["trace", "began from it", "--metadata", trainings.location]) == 0
    out = capfd.readouterr().out
    for run, is_told in (("from coco", True), ("second hand", True), ("began from it", False)):
        drawn = page(to_json(trace(open_backend(trainings.location), run)))
        assert ("weights of unknown origin" in drawn) == is_told
    assert f"warm start   model {trainings.models['saw it']}, " in out
    assert "unknown origin" not in out


def test_no_all_clear_where_a_line_was_removed_from_a_list(tmp_path):
    made = Trainings(str(tmp_path / "metadata.sqlite"), tmp_path / "root")
    other = {**PICTURE, "id": "dog", "file": "dog.jpg", "sha256": sha256("dog")}
    seen = made.train("saw it", examples=made.data_set(PICTURE, other))
    damaged = made.list / "images.jsonl"
    made.train("began from it", base=seen)
    made.train("saw another one", examples=made.data_set(PICTURE))
    made.writer.write()
    damaged.write_text("".join(damaged.read_text().splitlines(keepends=True)[1:]))
    found = impact(open_backend(made.location), "cat_7")
    assert [t.training.run.name for t in found.touched] == ["saw another one"]
    assert [t.run.name for t in found.untold] == ["saw it", "began from it"]
    assert "has changed" in found.doubts[seen]


def test_what_the_weights_themselves_touched_is_known(trainings):
    weights = next(
        artifact
        for artifact in open_backend(trainings.location).artifacts_of_type("Model")
        if artifact.properties.get("kind") == "tflite"
    )
    found = impact(open_backend(trainings.location), f"artifact:{weights.id}")
    assert {t.training.run.name for t in found.touched} == {"from coco", "second hand"}
    assert [t.run.name for t in found.untold] == ["from elsewhere"]
