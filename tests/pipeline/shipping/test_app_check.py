import dataclasses
import re

import numpy as np
import pytest

from models.labels import format_labels
from models.networks.families import DetectorConfig
from models.settings import PostProcessing
from models.tflite.description import describe_detector
from models.tflite.inspection import convolutions
from models.tflite.raw import without_post_processing
from pipeline.shipping.app_check import Limits, _problems, check_detector
from tests.pipeline.tiny_detector import LABELS, TINY_SIZE, picture

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
        "classes",
        "metadata",
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
        ({}, "a\nb\nc\nd\n", "classes", "3 classes and 4 lines"),
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


@pytest.fixture(scope="module")
def raw(int8_model):
    anchors = DetectorConfig(num_classes=3, input_size=TINY_SIZE).anchors
    content = without_post_processing(int8_model)
    return describe_detector(
        content, LABELS, "pets", "Finds pets.", "1", {}, None, raw=(anchors, PostProcessing())
    )


def test_a_raw_form_is_judged_too(int8_model, raw):
    report = check_detector(int8_model, LABELS_TEXT, PICTURES, FEW_RUNS, {"raw": raw})
    assert report.blessed, report.reasons
    assert report.checks["raw"] is None
    packed = int8_model[int8_model.index(b"PK\x03\x04") :]
    other = without_post_processing(int8_model) + packed
    report = check_detector(int8_model, LABELS_TEXT, PICTURES, FEW_RUNS, {"raw": other})
    [reason] = report.reasons
    assert reason.startswith("raw: Expected the outputs ['location', 'score'] in the metadata.")


def test_metadata_must_be_there_and_its_labels_those_beside_the_file(int8_model):
    bare = int8_model.replace(b"TFLITE_METADATA", b"SOMETHING_ELSE!")
    report = check_detector(bare, LABELS_TEXT, PICTURES, FEW_RUNS)
    assert report.reasons == ["metadata: Expected TFLite metadata in the file. Received: none."]
    report = check_detector(int8_model, "cat\nrabbit\ndog\n", PICTURES, FEW_RUNS)
    assert report.reasons == [
        "metadata: Expected the labels in the file to be those of labels.txt. Received: others."
    ]


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_broken_file_is_not_blessed_and_raises_nothing(int8_model, damage):
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


def test_outputs_beyond_the_count_are_ignored():
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
