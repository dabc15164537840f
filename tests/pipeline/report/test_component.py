import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import yaml
from PIL import Image
from tfx.dsl.components.base import base_executor
from tfx.types import channel_utils

from models.settings import Augmentation
from pipeline import features
from pipeline.report import facts
from pipeline.report.component import Executor, Report, RunReport
from pipeline.report.training_facts import training_sample
from tests.pipeline.report.conftest import PICTURES, SETTINGS, evaluate, sample
from tests.pipeline.tiny_detector import picture
from tests.pipeline.training.test_transformed_examples import feature


@pytest.fixture
def report_on(monkeypatch, tmp_path):
    """Runs the component as it is constructed; gives the artifact that it puts out."""
    monkeypatch.setattr(facts, "read_evaluation", evaluate)
    monkeypatch.setattr(facts, "training_sample", sample)

    def run(inputs):
        component = Report(
            {name: channel_utils.as_channel([artifact]) for name, artifact in inputs.items()},
            settings=SETTINGS,
            code_fingerprint="c0de",
        )
        assert component.id == "Report"
        report = RunReport()
        report.uri = str(tmp_path / "report")
        executor = Executor(base_executor.BaseExecutor.Context(pipeline_run_id="run 1"))
        executor.Do(
            {name: [artifact] for name, artifact in inputs.items()},
            {"report": [report]},
            dict(component.spec.exec_properties),
        )
        return report

    return run


@pytest.mark.parametrize("pushed", [True, False])
def test_pushed_or_not_there_are_facts_and_a_page(report_on, artifacts_of, pushed):
    report = report_on(artifacts_of(PICTURES, pushed))
    found = json.loads(Path(report.uri, "report.json").read_text())
    assert found["verdict"]["pushed"] is pushed
    assert found["run_id"] == "run 1"
    page = Path(report.uri, "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert ("Pushed as version 3" in page) == pushed


def test_on_vertex_ai_the_page_lies_beside_the_pushed_model(
    report_on, artifacts_of, monkeypatch, tmp_path
):
    written = {}
    monkeypatch.setattr(
        "pipeline.report.component.write_whole",
        lambda path, content: written.update({path: content}),
    )
    inputs = artifacts_of(PICTURES)
    report = report_on(inputs)
    assert set(written) == {f"{report.uri}/report.json", f"{report.uri}/report.html"}
    inputs["pushed_model"].set_string_custom_property("pushed_destination", "gs://bucket/pushed/3")
    report_on(inputs)
    assert b"Pushed as version 3" in written["gs://bucket/pushed/3/report.html"]


def test_a_task_on_vertex_ai_finds_the_artifact_s_class_by_its_type():
    from tfx.orchestration.kubeflow.v2 import compiler_utils
    from tfx.utils import import_utils

    schema = yaml.safe_load(compiler_utils.get_artifact_schema(RunReport))
    assert import_utils.import_class_by_path(schema["title"]) is RunReport


@pytest.fixture
def pattern(tmp_path):
    """Training pictures, every other one with two objects, as Transform writes them."""
    with tf.io.TFRecordWriter(str(tmp_path / "transformed")) as writer:
        for number in range(6):
            boxes = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8] if number % 2 else []
            content = {
                features.CANVAS: [picture(number, (32, 32))],
                features.BOXES_FLAT: boxes,
                features.CLASS_IDS: np.int64([2, 0] if boxes else []),
                features.IS_DIFFICULT: np.int64([0, 0] if boxes else []),
                features.IS_CROWD: np.int64([0, 0] if boxes else []),
                features.TRANSFORMED_ID: [f"image {number}".encode()],
                features.MAX_BOXES: [2],
                features.BOX_SIZES: np.linspace(0, 1, 21),
                features.BOX_RATIOS: np.linspace(1, 2, 21),
            }
            example = tf.train.Example()
            for name, values in content.items():
                example.features.feature[name].CopyFrom(feature(values))
            writer.write(example.SerializeToString())
    return str(tmp_path / "transformed")


def test_the_sample_is_what_the_network_sees(pattern):
    found = training_sample(
        [pattern],
        input_size=16,
        augmentation=Augmentation(),
        seed=0,
        class_names=["cat", "dog", "rabbit"],
    )
    assert len(found) == 12
    assert {len(each["boxes"]) for each in found} == {0, 2}
    assert {box["label"] for each in found for box in each["boxes"]} == {"cat", "rabbit"}
    for each in found:
        encoded = base64.b64decode(each["jpeg"].partition(",")[2])
        assert Image.open(io.BytesIO(encoded)).size == (16, 16)
