"""What anybody's detector looks like from outside."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from models.image import decode_and_resize
from models.tflite.description import describe_detector
from models.tflite.detector import TFLiteDetector, as_input
from models.tflite.graph import read_graph
from models.tflite.interface import form_of, read_interface
from models.tflite.raw import RawDetector, without_post_processing
from tests.models.tflite.test_raw import ANCHORS, SETTINGS
from tests.pipeline.tiny_detector import LABELS, TINY_SIZE, picture, tiny_tflite


@pytest.fixture(scope="module", params=[True, False], ids=["int8", "float32"])
def content(request, tmp_path_factory) -> bytes:
    return tiny_tflite(3, request.param, str(tmp_path_factory.mktemp("file")))


def raw_of(content: bytes) -> bytes:
    return describe_detector(
        without_post_processing(content), LABELS, "pets", "", "1", {}, 0.5, raw=(ANCHORS, SETTINGS)
    )


def outputs_of(content, image):
    interface = read_interface(content, "it")
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    taken = interpreter.get_input_details()[0]["index"]
    interpreter.set_tensor(taken, as_input(image, interface.dtype))
    interpreter.invoke()
    return [interpreter.get_tensor(index) for index in interface.outputs]


@pytest.mark.parametrize("form", ["", " raw"])
def test_its_outputs_are_the_detections(content, form):
    detector = TFLiteDetector(content)
    if form:
        content = raw_of(content)
        detector = RawDetector(content)
    interface = read_interface(content, "it")
    found = 0
    for seed in range(4):
        image = decode_and_resize(picture(seed), interface.input_size).numpy()
        expected = detector.detect(image)
        received = interface.detections(outputs_of(content, image))
        for one, other in zip(expected, received, strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
        found += len(expected.scores)
    assert found > 10


def test_form_input_classes_and_multiply_adds_are_told(content):
    interface = read_interface(content, "it")
    is_int8 = interface.form == "int8"
    assert interface.form == ("int8" if is_int8 else "float32")
    assert interface.dtype == (np.uint8 if is_int8 else np.float32)
    assert (interface.input_size, interface.num_classes) == (TINY_SIZE, 3)
    per_cell = len(ANCHORS) // 16
    depthwise, heads = 64 * 64 * 3 * 9, 16 * (16 * 16 * 3) * per_cell * (4 + 3)
    assert interface.multiply_adds == depthwise + heads
    raw = read_interface(raw_of(content), "it")
    assert raw.form == f"{interface.form} raw"
    assert (raw.num_classes, raw.multiply_adds) == (3, interface.multiply_adds)


def converted(run, shape=(1, 8, 8, 3), dtype=tf.float32) -> bytes:
    function = tf.function(run, input_signature=[tf.TensorSpec(shape, dtype)])
    return tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()]
    ).convert()


def test_weights_of_16_bits_are_told_from_those_of_32():
    kernel = tf.random.stateless_normal((3, 3, 3, 700), seed=(0, 1))
    function = tf.function(
        lambda x: tf.nn.conv2d(x, kernel, 1, "SAME"),
        input_signature=[tf.TensorSpec([1, 64, 64, 3], tf.float32)],
    )
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    assert form_of(read_graph(converter.convert(), "it")) == "float16"


def test_a_model_with_other_outputs_is_an_error():
    with pytest.raises(ValueError, match=r"four outputs of .*Received: my\.tflite, whose outputs"):
        read_interface(converted(lambda x: tf.reduce_sum(x, 3)), "my.tflite")
    two = converted(lambda x: (tf.reduce_sum(x, 3), tf.reduce_max(x, 3)))
    with pytest.raises(ValueError, match="four outputs of"):
        read_interface(two, "my.tflite")


def test_a_raw_form_with_nonsense_in_its_metadata_is_an_error(content):
    raw = raw_of(content)
    nonsense = raw.replace(b'"iou_threshold"', b'"iou_threshuld"')
    assert nonsense != raw
    with pytest.raises(ValueError, match="Expected a detector"):
        read_interface(nonsense, "my.tflite")


@pytest.mark.parametrize("cut", [0, 3, 100, 1000, -20_000])
def test_a_truncated_file_is_an_error(content, cut):
    with pytest.raises(ValueError, match="Expected a"):
        read_interface(content[:cut], "my.tflite")


def test_damaged_files_are_errors_or_are_read(content):
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for at in rng.integers(0, len(damaged), rng.integers(1, 200)):
            damaged[at] = rng.integers(0, 256)
        try:
            read_interface(bytes(damaged), "my.tflite")
        except ValueError:
            refused += 1
    assert refused > 10
