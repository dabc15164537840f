"""The raw form of a file: the same graph without its post-processing."""

import numpy as np
import pytest

from models.image import decode_and_resize
from models.networks.families import DetectorConfig
from models.settings import PostProcessing
from models.tflite.description import describe_detector, problem_with_description
from models.tflite.detector import TFLiteDetector, TFLiteNetwork
from models.tflite.raw import RawDetector, without_post_processing
from models.tflite_metadata import DETECTOR_METADATA_NAME, read_metadata, unpack_detector
from tests.pipeline.tiny_detector import LABELS, picture, tiny_tflite

# Those of `tiny_tflite`.
SETTINGS = PostProcessing(max_detections=10, score_threshold=0.1)
ANCHORS = DetectorConfig(num_classes=3, input_size=64).anchors
IMAGES = [decode_and_resize(picture(seed), 64).numpy() for seed in range(6)]


@pytest.fixture(scope="module", params=[True, False], ids=["int8", "float"])
def content(request, tmp_path_factory) -> bytes:
    return tiny_tflite(3, request.param, str(tmp_path_factory.mktemp("file")))


def described_raw(content: bytes) -> bytes:
    raw = without_post_processing(content)
    return describe_detector(
        raw, LABELS, "pets", "Finds pets.", "1", {}, 0.5, raw=(ANCHORS, SETTINGS)
    )


def test_it_computes_the_same_bits_and_finds_the_same(content):
    network, detector = TFLiteNetwork(content), TFLiteDetector(content)
    raw = RawDetector(described_raw(content))
    found = 0
    for image in IMAGES:
        for expected, received in zip(network.outputs(image), raw.outputs(image), strict=True):
            np.testing.assert_array_equal(expected, received)
        expected, received = detector.detect(image), raw.detect(image)
        found += len(expected.scores)
        np.testing.assert_array_equal(expected.class_ids, received.class_ids)
        np.testing.assert_array_equal(expected.scores, received.scores)
        np.testing.assert_allclose(expected.boxes, received.boxes, atol=1e-5)
    assert found > 10


def test_nothing_of_the_post_processing_is_left_in_it(content):
    raw = without_post_processing(content)
    assert b"TFLite_Detection_PostProcess" not in raw
    assert ANCHORS.tobytes() in content
    assert ANCHORS.tobytes() not in raw
    assert len(raw) < len(content)


def test_it_carries_its_anchors_for_us_and_for_mediapipe(content):
    raw = described_raw(content)
    assert problem_with_description(raw, "cat\ndog\nrabbit\n") is None
    assert "Received: others" in problem_with_description(raw, "cat\ndog\n")
    anchors = RawDetector(raw).anchors
    [custom] = read_metadata(raw, "").graph["custom_metadata"]
    assert custom["name"] == DETECTOR_METADATA_NAME
    options = unpack_detector(custom["data"])
    told = options["anchors"]["fixed"]["anchors"]
    columns = ("y_center", "x_center", "height", "width")
    np.testing.assert_array_equal([[one[name] for name in columns] for one in told], anchors)
    assert options["decoding"]["num_boxes"] == len(anchors)
    assert options["decoding"]["num_classes"] == 3


def test_a_file_of_another_kind_is_an_error(content):
    with pytest.raises(ValueError, match="Expected a raw detector with the outputs"):
        RawDetector(content)
    raw = without_post_processing(content)
    with pytest.raises(ValueError, match=r"lacks labels\.txt, provenance\.json"):
        RawDetector(raw)
    undescribed = raw.replace(b"TFLITE_METADATA", b"OTHER_METADATA_")
    with pytest.raises(ValueError, match=r"Expected anchors\.bin, post_processing\.json"):
        RawDetector(undescribed)
    with pytest.raises(ValueError, match="Expected one TFLite_Detection_PostProcess"):
        without_post_processing(raw)
