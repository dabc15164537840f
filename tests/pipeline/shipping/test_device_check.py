import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from tfx.components.util import model_utils
from tfx.types import standard_artifacts

from models.tflite.inspection import convolutions
from models.tflite.labels import format_labels
from pipeline.shipping.device_check import DeviceCheck, read_device_report
from pipeline.shipping.device_checks import Limits, _problems, check_detector
from tests.pipeline.tiny_detector import LABELS, picture

LABELS_TEXT = format_labels(LABELS)
PICTURES = [picture(seed) for seed in range(3)]
FEW_RUNS = Limits(runs=5)


def test_a_good_file_passes_every_check(int8_model):
    report = check_detector(int8_model, LABELS_TEXT, PICTURES, FEW_RUNS)
    assert report.blessed, report.reasons
    assert list(report.checks) == [
        "size",
        "labels",
        "quantization",
        "interface",
        "outputs",
        "latency",
    ]
    assert report.size_bytes == len(int8_model)
    assert 0 < report.latency.median_ms <= report.latency.p90_ms
    assert report.latency.cpu
    ops = {conv.op for conv in convolutions(int8_model)}
    assert ops == {"CONV_2D", "DEPTHWISE_CONV_2D"}


@pytest.mark.parametrize(
    ("limits", "labels_text", "failed", "message"),
    [
        ({"max_bytes": 1000}, LABELS_TEXT, "size", "at most 1000 bytes"),
        ({}, "cat\ndog\ncat\n", "labels", "again on line 3"),
        ({}, "", "labels", "empty file"),
        ({}, "cat\n", "outputs", "class ids 0..0"),
        ({"max_latency_ms": 1e-6}, LABELS_TEXT, "latency", "at most 1e-06 ms"),
        ({"quantized": False}, LABELS_TEXT, "interface", "float32"),
    ],
)
def test_each_failure_is_a_reason(int8_model, limits, labels_text, failed, message):
    limits = dataclasses.replace(FEW_RUNS, **limits)
    report = check_detector(int8_model, labels_text, PICTURES, limits)
    assert not report.blessed
    assert [name for name, reason in report.checks.items() if reason] == [failed]
    assert message in report.checks[failed]
    assert message in report.reasons[0]
    assert (report.latency is None) == (failed in ("interface", "outputs"))


def test_a_float_file_is_blessed_only_where_float_is_wanted(float_model):
    report = check_detector(float_model, "cat\ndog\n", PICTURES, FEW_RUNS)
    assert "3 of 3 are not" in report.checks["quantization"]
    assert report.checks["interface"]
    limits = dataclasses.replace(FEW_RUNS, quantized=False)
    assert check_detector(float_model, "cat\ndog\n", PICTURES, limits).blessed


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_broken_file_is_not_blessed_and_no_exception(int8_model, damage):
    content = {"cut": int8_model[:1000], "text": b"hello, world", "empty": b""}[damage]
    report = check_detector(content, LABELS_TEXT, PICTURES, FEW_RUNS)
    assert report.checks["interface"]
    assert report.latency is None


def test_without_pictures_nothing_is_blessed(int8_model):
    report = check_detector(int8_model, LABELS_TEXT, [], FEW_RUNS)
    assert "at least one picture" in report.checks["outputs"]


def outputs(**changes):
    good = {
        "detection_boxes": np.array([[[0.1, -0.2, 0.5, 1.3], [0, 0, 1, 1], [9, 9, 1, 1]]]),
        "detection_classes": np.array([[1.0, 0.0, 77.0]]),
        "detection_scores": np.array([[0.9, 0.2, 0.5]]),
        "num_detections": np.array([2.0]),
    }
    return good | {key: np.array(value) for key, value in changes.items()}


def test_what_lies_behind_the_count_is_not_judged():
    assert list(_problems(outputs(), LABELS)) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_detections": [3.0]}, "from 1 down to 0"),
        ({"num_detections": [4.0]}, r"0\.\.3"),
        ({"num_detections": [1.5]}, "whole number"),
        ({"num_detections": [np.nan]}, "whole number"),
        ({"detection_scores": [[0.2, 0.9, 0]]}, "from 1 down to 0"),
        ({"detection_scores": [[1.2, 0.9, 0]]}, "from 1 down to 0"),
        ({"detection_scores": [[np.nan, 0.9, 0]]}, "finite scores"),
        ({"detection_classes": [[0, 3, 0]]}, r"class ids 0\.\.2"),
        ({"detection_classes": [[0.5, 1, 0]]}, r"class ids 0\.\.2"),
        ({"detection_boxes": [[[0.5, 0, 0.1, 1]] * 3]}, "ymin"),
        ({"detection_boxes": [[[np.inf, 0, 0.1, 1]] * 3]}, "finite boxes"),
        ({"detection_boxes": [[[0, 0, 1, 1]] * 2]}, "shapes"),
    ],
)
def test_outputs_out_of_range_are_problems(changes, message):
    assert re.search(message, "\n".join(_problems(outputs(**changes), LABELS)))


def check(model, examples, folder, **parameters):
    """Runs the component's executor."""
    blessing = standard_artifacts.InfraBlessing()
    blessing.uri = str(folder / "infra")
    DeviceCheck.EXECUTOR_SPEC.executor_class().Do(
        {"model": [model], "examples": [examples]}, {"blessing": [blessing]}, parameters
    )
    return blessing


def test_the_component_blesses_as_tfx_does(tmp_path, model_artifact, examples_artifact, int8_model):
    blessing = check(model_artifact(int8_model, LABELS), examples_artifact, tmp_path)
    assert model_utils.is_infra_validated(blessing)
    assert (Path(blessing.uri) / "INFRA_BLESSED").exists()
    assert blessing.get_int_custom_property("size_bytes") == len(int8_model)
    assert blessing.get_float_custom_property("latency_ms") > 0
    assert json.loads(blessing.get_string_custom_property("reasons")) == []
    report = read_device_report(blessing.uri)
    assert report["blessed"]
    assert report["images"] == 12


def test_the_component_says_why_not(tmp_path, model_artifact, examples_artifact, int8_model):
    model = model_artifact(int8_model, LABELS)
    blessing = check(model, examples_artifact, tmp_path, max_bytes=10)
    assert not model_utils.is_infra_validated(blessing)
    assert (Path(blessing.uri) / "INFRA_NOT_BLESSED").exists()
    [reason] = json.loads(blessing.get_string_custom_property("reasons"))
    assert reason.startswith("size: Expected at most 10 bytes")
