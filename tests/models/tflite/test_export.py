"""Exported files, run in the TFLite runtime, against the network and the NumPy post-processing."""

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from models.networks.families import build_network, normalize
from models.networks.folding import fold_batch_norms
from models.networks.post_processing import post_process
from models.settings import PostProcessing
from models.tflite.agreement import compare, relative_error
from models.tflite.detector import INPUT_NAME, TFLiteDetector, TFLiteNetwork
from models.tflite.export import OUTPUT_NAMES, export_tflite
from models.tflite.inspection import convolutions
from tests.models.helpers import KINDS, TINY, randomize, settle

SETTINGS = PostProcessing(max_detections=20, score_threshold=0.05)
IMAGES = (
    np.random.default_rng(5).integers(0, 256, (4, 6, 6, 3), np.uint8).repeat(11, 1).repeat(11, 2)
)
IMAGES = IMAGES[:, :64, :64]


def spread(network):
    """Random weights whose detections are sure enough to be told apart."""
    randomize(network)
    for layer in network.layers:
        if layer.name.startswith(("box_head", "class_head")):
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel * 2, bias - (2 if "class" in layer.name else 0)])
    return network


@pytest.fixture(scope="module")
def float_network():
    return spread(build_network(TINY))


@pytest.fixture(scope="module")
def quantized_network(float_network):
    network = build_network(TINY, quantized=True)
    fold_batch_norms(float_network, network)
    for _ in range(5):
        network(np.asarray(normalize(IMAGES)), training=True)
    return network


def export(network, folder, settings=SETTINGS, **options):
    return export_tflite(network, TINY, settings, str(folder), **options)


@pytest.fixture(scope="module")
def int8_file(quantized_network, tmp_path_factory):
    return export(quantized_network, tmp_path_factory.mktemp("int8"))


@pytest.fixture(scope="module")
def float_file(float_network, tmp_path_factory):
    return export(float_network, tmp_path_factory.mktemp("float"), quantize=False)


def expected_detections(network, settings=SETTINGS):
    outputs = network.predict_on_batch(np.asarray(normalize(IMAGES)))
    return [
        post_process(encodings, logits, TINY.anchors, settings)
        for encodings, logits in zip(outputs["box_encodings"], outputs["class_logits"], strict=True)
    ]


def assert_equal(expected, received, tolerance):
    assert len(expected.scores) == len(received.scores) > 0
    np.testing.assert_allclose(received.scores, expected.scores, atol=tolerance)
    np.testing.assert_allclose(received.boxes, expected.boxes, atol=tolerance)
    np.testing.assert_array_equal(received.class_ids, expected.class_ids)


def all_int8(content):
    found = convolutions(content)
    assert len(found) > 27
    return {convolution.dtypes for convolution in found} == {("INT8", "INT8", "INT8")}


def all_constant(content):
    """Whether no kernel is computed on the device: then delegates take the convolutions."""
    return all(convolution.has_constant_kernel for convolution in convolutions(content))


@pytest.mark.parametrize("regular", [True, False], ids=["regular", "fast"])
@pytest.mark.parametrize("num_classes", [1, 3])
def test_the_post_processing_equals_the_op(regular, num_classes, tmp_path):
    """A network without arithmetic to speak of: what differs, the post-processing did."""
    config = TINY.model_copy(update={"num_classes": num_classes})
    count = len(config.anchors)
    keras.utils.set_random_seed(0)
    image = keras.Input((64, 64, 3))
    pooled = layers.Flatten()(layers.AveragePooling2D(8)(image))

    def outputs(width, spread):
        initializer = keras.initializers.RandomNormal(stddev=spread)
        flat = layers.Dense(count * width, kernel_initializer=initializer)(pooled)
        return layers.Reshape((count, width))(flat)

    network = keras.Model(
        image, {"box_encodings": outputs(4, 0.2), "class_logits": outputs(num_classes, 0.3)}
    )
    settings = PostProcessing(
        regular_nms=regular, max_detections=15, score_threshold=0.3, iou_threshold=0.5
    )
    content = export_tflite(network, config, settings, str(tmp_path), quantize=False)
    detector = TFLiteDetector(content)
    outputs = network.predict_on_batch(np.asarray(normalize(IMAGES)))
    for row, picture in enumerate(IMAGES):
        expected = post_process(
            outputs["box_encodings"][row], outputs["class_logits"][row], config.anchors, settings
        )
        assert_equal(expected, detector.detect(picture), 1e-5)


@pytest.mark.slow
def test_a_float_file_computes_what_the_network_computes(float_network, float_file):
    detector = TFLiteDetector(float_file)
    for expected, picture in zip(expected_detections(float_network), IMAGES, strict=True):
        assert_equal(expected, detector.detect(picture), 1e-4)


@pytest.mark.slow
def test_an_int8_file_finds_what_the_quantized_network_finds(quantized_network, int8_file):
    detector = TFLiteDetector(int8_file)
    agreement = compare(
        expected_detections(quantized_network),
        [detector.detect(picture) for picture in IMAGES],
        min_score=0.3,
        max_score_difference=0.1,
        min_iou=0.8,
    )
    assert agreement.num_expected > 10
    assert agreement.shares["all"] > 0.9


def assert_equal_inside(network, content, inputs, tolerance):
    """Compares a network and its file before the post-processing."""
    inner = TFLiteNetwork(content)
    expected = network.predict_on_batch(inputs)
    for row, picture in enumerate(IMAGES):
        encodings, scores = inner.outputs(picture)
        assert relative_error(expected["box_encodings"][row], encodings, 0.01) < tolerance
        probabilities = 1 / (1 + np.exp(-expected["class_logits"][row]))
        assert relative_error(probabilities, scores, 1 / 64) < tolerance


@pytest.mark.slow
def test_the_network_inside_a_file_equals_the_network(quantized_network, int8_file):
    assert_equal_inside(quantized_network, int8_file, np.asarray(normalize(IMAGES)), 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "ssd"])
def test_every_family_is_exported(kind, tmp_path):
    config = KINDS[kind]
    network, folded = spread(build_network(config)), build_network(config, quantized=True)
    images = np.asarray(normalize(IMAGES))
    if config.family == "retinanet":
        tame(network, images)
    fold_batch_norms(network, folded)
    for _ in range(3):
        folded(images, training=True)
    content = export_tflite(folded, config, SETTINGS, str(tmp_path / "int8"))
    assert_equal_inside(folded, content, images, 0.2)
    assert all_int8(content)
    assert all_constant(content)
    assert len(TFLiteDetector(content).detect(IMAGES[0]).scores) > 0
    if kind == "ssd_fpn":
        content = export_tflite(network, config, SETTINGS, str(tmp_path / "float"), quantize=False)
        assert_equal_inside(network, content, images, 1e-3)


def tame(resnet, images):
    """Makes a deep random network behave as a trained one: otherwise activations grow to 1e6.

    Residual branches add little (random ones amplify any rounding), and the batch norms' statistics
    are those of some images.
    """
    for layer in resnet.layers:
        if layer.name.endswith("_3_bn"):
            layer.gamma.assign(0.2 * layer.gamma)
    settle(resnet, images)


@pytest.mark.slow
def test_post_training_quantization_takes_its_ranges_from_pictures(float_network, tmp_path):
    pictures = list(np.asarray(normalize(IMAGES)))
    content = export(float_network, tmp_path, representative_images=pictures)
    assert all_int8(content)
    detector = TFLiteDetector(content)
    agreement = compare(
        expected_detections(float_network),
        [detector.detect(picture) for picture in IMAGES],
        min_score=0.3,
        max_score_difference=0.15,
        min_iou=0.7,
    )
    assert agreement.shares["all"] > 0.8


@pytest.mark.slow
def test_a_channel_without_weights_keeps_its_bias(quantized_network, tmp_path):
    network = build_network(TINY, quantized=True)
    network.set_weights(quantized_network.get_weights())
    layer = network.get_layer("conv_pw_1")
    kernel, bias = layer.get_weights()
    kernel[..., ::2], bias[::2] = 0, 4
    layer.set_weights([kernel, bias])
    interpreter = Interpreter(model_content=export(network, tmp_path))
    biases = [
        interpreter.get_tensor(details["index"])
        for details in interpreter.get_tensor_details()
        if details["dtype"] == np.int32 and len(details["quantization_parameters"]["scales"])
    ]
    assert len(biases) > 27
    assert max(np.abs(bias.astype(np.int64)).max() for bias in biases) < 2**31 - 1


@pytest.mark.slow
def test_every_convolution_is_int8(int8_file, float_file):
    assert all_int8(int8_file)
    assert not all_int8(float_file)


@pytest.mark.slow
def test_the_file_holds_every_kernel(int8_file, float_file):
    assert all_constant(int8_file)
    assert all_constant(float_file)


@pytest.mark.slow
def test_names_types_and_shapes_are_the_contract(int8_file, float_file):
    assert INPUT_NAME == "normalized_input_image_tensor"
    for content, dtype in ((int8_file, np.uint8), (float_file, np.float32)):
        interpreter = Interpreter(model_content=content)
        signature = interpreter.get_signature_list()["serving_default"]
        assert signature == {"inputs": [INPUT_NAME], "outputs": sorted(OUTPUT_NAMES)}
        runner = interpreter.get_signature_runner("serving_default")
        details = runner.get_input_details()[INPUT_NAME]
        assert (details["dtype"], details["shape"].tolist()) == (dtype, [1, 64, 64, 3])
        outputs = runner(**{INPUT_NAME: np.zeros((1, 64, 64, 3), dtype)})
        assert {name: output.shape for name, output in outputs.items()} == {
            "detection_boxes": (1, 20, 4),
            "detection_classes": (1, 20),
            "detection_scores": (1, 20),
            "num_detections": (1,),
        }
        assert {output.dtype for output in outputs.values()} == {np.dtype(np.float32)}


@pytest.mark.slow
def test_a_pixel_means_what_the_network_was_trained_on(int8_file):
    """Up to half a step: 127.5 is no integer."""
    runner = Interpreter(model_content=int8_file).get_signature_runner("serving_default")
    scale, zero_point = runner.get_input_details()[INPUT_NAME]["quantization"]
    values = (np.arange(256) - zero_point) * scale
    np.testing.assert_allclose(values, np.asarray(normalize(np.arange(256))), atol=0.51 / 127.5)


@pytest.mark.slow
def test_the_quantized_network_sees_the_pixels_that_the_device_sees(quantized_network, int8_file):
    runner = Interpreter(model_content=int8_file).get_signature_runner("serving_default")
    scale, zero_point = runner.get_input_details()[INPUT_NAME]["quantization"]
    pixels = np.arange(256)
    seen = quantized_network.get_layer("image_quant")(np.asarray(normalize(pixels)))
    np.testing.assert_allclose(np.asarray(seen), (pixels - zero_point) * scale, atol=1e-6)


@pytest.mark.slow
def test_int8_is_a_quarter_of_float(int8_file, float_file):
    assert len(int8_file) < 0.45 * len(float_file)
