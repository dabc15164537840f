import hashlib
import json
import os
from pathlib import Path

import pytest
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils, channel_utils, standard_artifacts

from pipeline.errors import UserError
from pipeline.shipping.destination import publisher_for
from pipeline.shipping.device_check import DeviceCheck
from pipeline.shipping.gate import Evaluation, Threshold
from pipeline.shipping.pusher import Executor, Pusher
from tests.pipeline.tiny_detector import LABELS, hash_of

EVALUATION = Evaluation(
    metrics={"mAP50": 0.9, "mAP": 0.6, "AP50/cat": 0.9},
    baseline_metrics=None,
    thresholds=(Threshold("mAP50", "value", 0.9, 0.5, True),),
    blessed=True,
)
THRESHOLDS = {"all": {"threshold": 0.4}, "classes": {"cat": {"threshold": 0.4}}}
FINGERPRINTS = {"code": "c0de", "config": "c0f", "environment": "e27"}


@pytest.fixture
def inputs(tmp_path, monkeypatch, model_artifact, examples_artifact, int8_model):
    """Artifacts of a run that both judges bless; the Evaluator's figures are given."""
    monkeypatch.setattr("pipeline.shipping.pusher.read_evaluation", lambda uri: EVALUATION)
    monkeypatch.setattr("pipeline.shipping.pusher.read_thresholds", lambda uri: THRESHOLDS)
    model = model_artifact(int8_model, LABELS)
    model.id = 17
    examples_artifact.set_string_custom_property("data_fingerprint", "da7a")
    evaluation, blessing = standard_artifacts.ModelEvaluation(), standard_artifacts.ModelBlessing()
    evaluation.uri, blessing.uri = str(tmp_path / "evaluation"), str(tmp_path / "blessing")
    blessing.set_int_custom_property("blessed", 1)
    blessing.set_string_custom_property("files_sha256", hash_of(int8_model, LABELS))
    infra = standard_artifacts.InfraBlessing()
    infra.uri = str(tmp_path / "infra")
    DeviceCheck.EXECUTOR_SPEC.executor_class().Do(
        {"model": [model], "examples": [examples_artifact]}, {"blessing": [infra]}, {}
    )
    schema = standard_artifacts.Schema()
    schema.uri = str(tmp_path / "schema")
    os.makedirs(schema.uri)
    (tmp_path / "schema" / "schema.pbtxt").write_text("feature {}\n")
    return {
        "model": model,
        "model_blessing": blessing,
        "infra_blessing": infra,
        "evaluation": evaluation,
        "examples": examples_artifact,
        "schema": schema,
    }


@pytest.fixture
def push(tmp_path, inputs):
    """Runs the Pusher as it is constructed; gives the PushedModel artifact."""

    def run():
        component = Pusher(
            **{name: channel_utils.as_channel([artifact]) for name, artifact in inputs.items()},
            push_destination=str(tmp_path / "pushed"),
            fingerprints=FINGERPRINTS,
        )
        assert component.id == "Pusher"
        pushed = standard_artifacts.PushedModel()
        pushed.uri = str(tmp_path / "pushed_model")
        executor = Executor(base_executor.BaseExecutor.Context(pipeline_run_id="run 1"))
        executor.Do(
            {name: [artifact] for name, artifact in inputs.items()},
            {"pushed_model": [pushed]},
            dict(component.spec.exec_properties),
        )
        return pushed

    return run


def test_a_model_that_both_judges_bless_is_published_with_its_manifest(
    tmp_path, push, inputs, int8_model
):
    pushed = push()
    latest = tmp_path / "pushed" / "latest"
    sha256 = hashlib.sha256(int8_model).hexdigest()
    assert (latest / "detect.tflite").read_bytes() == int8_model
    assert (latest / "labels.txt").read_text() == "cat\ndog\nrabbit\n"
    manifest = json.loads((latest / "manifest.json").read_text())
    assert manifest["version"] == "1"
    assert manifest["run_id"] == "run 1"
    assert manifest["classes"] == list(LABELS)
    assert manifest["metrics"] == EVALUATION.metrics
    assert manifest["score_thresholds"] == THRESHOLDS
    assert manifest["gate"]["blessed"] is True
    [condition] = manifest["gate"]["conditions"]
    assert condition["bound"] == 0.5
    assert condition["text"] == "mAP50 0.9000, at least 0.5000: passed"
    assert manifest["files"]["detect.tflite"] == {"sha256": sha256, "size_bytes": len(int8_model)}
    assert manifest["device_check"]["sha256"] == sha256
    assert manifest["fingerprints"] == {
        **FINGERPRINTS,
        "schema": hashlib.sha256(b"feature {}\n").hexdigest(),
        "data": "da7a",
    }
    assert manifest["artifacts"]["model"]["id"] == 17
    assert manifest["pushed_at"].endswith("+00:00")
    assert "test" not in manifest

    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_version") == "1"
    assert pushed.get_string_custom_property("pushed_destination") == str(tmp_path / "pushed" / "1")
    assert pushed.get_string_custom_property("sha256") == sha256
    assert pushed.get_string_custom_property("files_sha256") == hash_of(int8_model, LABELS)
    assert pushed.get_float_custom_property("mAP50") == 0.9
    for name in ("detect.tflite", "labels.txt", "manifest.json"):
        assert (Path(pushed.uri) / name).read_bytes() == (latest / name).read_bytes()


@pytest.mark.parametrize("blessed", [1, 0])
def test_test_images_are_scored_when_a_file_is_published(
    tmp_path, push, inputs, eval_pictures, blessed
):
    examples = inputs["examples"]
    examples.split_names = artifact_utils.encode_split_names(["train", "eval", "test"])
    os.rename(Path(examples.uri) / "Split-eval", Path(examples.uri) / "Split-test")
    inputs["model_blessing"].set_int_custom_property("blessed", blessed)
    pushed = push()
    assert pushed.get_int_custom_property("test_images") == blessed * len(eval_pictures)
    if not blessed:
        return
    test = json.loads((tmp_path / "pushed" / "latest" / "manifest.json").read_text())["test"]
    assert test["images"] == len(eval_pictures)
    assert 0.1 < test["metrics"]["mAP50"] < 1
    assert pushed.get_float_custom_property("test_mAP50") == test["metrics"]["mAP50"]
    assert pushed.get_float_custom_property("test_mAP") == test["metrics"]["mAP"]
    assert pushed.get_float_custom_property("mAP50") == 0.9  # the Evaluator's


@pytest.mark.parametrize("judge", ["model_blessing", "infra_blessing"])
def test_a_model_that_one_judge_refuses_is_not_pushed(tmp_path, push, inputs, judge):
    inputs[judge].set_int_custom_property("blessed", 0)
    pushed = push()
    assert pushed.get_int_custom_property("pushed") == 0
    assert not (tmp_path / "pushed").exists()


@pytest.mark.parametrize("name", ["tflite", "labels.txt"])
def test_files_that_changed_since_they_were_judged_are_not_pushed(tmp_path, push, inputs, name):
    (Path(inputs["model"].uri) / "Format-Serving" / name).write_text("rabbit\ndog\ncat\n")
    with pytest.raises(UserError, match=r"labels\.txt that the Evaluator saw.*nothing is pushed"):
        push()
    assert not (tmp_path / "pushed").exists()


@pytest.mark.parametrize(
    ("judge", "name"), [("model_blessing", "Evaluator"), ("infra_blessing", "DeviceCheck")]
)
def test_both_judges_must_have_seen_the_same_labels(
    tmp_path, push, inputs, int8_model, judge, name
):
    other = hash_of(int8_model, LABELS[::-1])
    inputs[judge].set_string_custom_property("files_sha256", other)
    with pytest.raises(UserError, match=f"the {name} saw, with the hash {other}"):
        push()
    assert not (tmp_path / "pushed").exists()


def test_a_url_that_nothing_can_publish_to_is_an_error():
    with pytest.raises(UserError, match="s3://bucket/models"):
        publisher_for("s3://bucket/models")
