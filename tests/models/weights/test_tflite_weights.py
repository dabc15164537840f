import re

import keras
import numpy as np
import pytest

from models.networks.families import build_network
from models.weights import zoo
from models.weights.tflite_weights import read_tflite
from models.weights.zoo_start import network_of
from tests.models.helpers import TINY, TINY_FPN, TINY_RETINANET, randomize
from tests.models.weights.api_files import folded, scopes, tflite_of


@pytest.fixture(scope="module")
def network():
    network = build_network(TINY)
    randomize(network)
    return network


@pytest.fixture(scope="module")
def contents(network):
    return {quantized: tflite_of(network, TINY, quantized=quantized) for quantized in (True, False)}


@pytest.fixture
def written(tmp_path, contents):
    def write(content: bytes | bool) -> str:
        path = tmp_path / "detect.tflite"
        path.write_bytes(contents[content] if isinstance(content, bool) else content)
        return str(path)

    return write


def images():
    return np.random.default_rng(3).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)


@pytest.mark.parametrize(("quantized", "tolerance"), [(False, 1e-5), (True, 0.1)])
def test_the_network_computes_what_the_file_was_made_from(written, network, quantized, tolerance):
    weights, _ = read_tflite(written(quantized))
    received, config = network_of(weights, TINY)
    assert config.num_classes == TINY.num_classes
    expected = network.predict_on_batch(images())
    for name, values in received.predict_on_batch(images()).items():
        error = np.sqrt(np.mean((values - expected[name]) ** 2)) / expected[name].std()
        assert error < tolerance, name


def test_quantized_kernels_are_within_half_a_step(written, network):
    weights, _ = read_tflite(written(True))
    for layer, found in weights.layers.items():
        if "class" in layer:
            continue
        kernel, bias = folded(network, layer)
        step = (max(kernel.max(), 0) - min(kernel.min(), 0)) / 255
        # The zero point is rounded too, and may cut off half a step at an end of the range.
        np.testing.assert_allclose(found.kernel, kernel, atol=step * 1.01, rtol=0)
        np.testing.assert_allclose(found.bias, bias, atol=1e-5)


def test_everything_in_the_file_is_accounted_for(written):
    weights, _ = read_tflite(written(True))
    loaded = [row for row in weights.variables if row.layer]
    assert len(loaded) == 2 * len(scopes(0.125)) == 94
    assert [row.name for row in weights.variables if not row.layer] == ["anchors"]


def test_the_scales_are_those_of_the_anchors(tmp_path, network):
    config = TINY.model_copy(update={"min_scale": 0.35, "max_scale": 0.8})
    path = tmp_path / "detect.tflite"
    path.write_bytes(tflite_of(network, config, quantized=True))
    weights, _ = read_tflite(str(path))
    assert weights.scales == (0.35, 0.8)


def test_anchors_of_another_order_are_refused(written, network):
    anchors = TINY.anchors[::-1]
    path = written(tflite_of(network, TINY, quantized=False, anchors=anchors))
    with pytest.raises(ValueError, match="anchors of ssd_anchor_generator for 64 pixels"):
        read_tflite(path)


def test_a_file_of_one_anchor_is_refused(written, network):
    path = written(tflite_of(network, TINY, quantized=False, anchors=TINY.anchors[:1]))
    with pytest.raises(ValueError, match=r"ssd_anchor_generator\. Received: 1 \(in "):
        read_tflite(path)


def test_another_depth_names_the_settings_that_fit(written):
    weights, _ = read_tflite(written(True))
    other = TINY.model_copy(
        update={"depth_multiplier": 0.25, "extra_depth_multiplier": 0.5, "head_kernel_size": 3}
    )
    with pytest.raises(
        ValueError,
        match=r"^Expected weights for a network with model\.depth_multiplier=0\.25 .* Received: "
        r".*detect\.tflite, which fits --set model\.depth_multiplier=0\.125 "
        r"model\.extra_depth_multiplier=0\.125 model\.head_kernel_size=1 ",
    ):
        zoo.fitted(weights, other)


def test_the_backbone_fits_a_pyramid_on_the_same_backbone(written, network):
    weights, _ = read_tflite(written(False))
    weights = zoo.fitted(weights, TINY_FPN)
    layers = {f"conv_{kind}_{index}" for kind in ("dw", "pw") for index in range(1, 14)}
    assert set(weights.layers) == {"conv1", *layers}
    received, _ = network_of(weights, TINY_FPN)
    taps = [
        keras.Model(model.input, model.get_layer("conv_pw_13_relu").output)(images())
        for model in (received, network)
    ]
    np.testing.assert_allclose(*taps, atol=1e-4)
    left_out = {row.name: row.note for row in weights.variables if not row.layer}
    assert len(left_out) == 94 - 2 * 27 + 1
    note = left_out.pop("anchors")
    assert set(left_out.values()) == {"left out: ssd_fpn has no such layer"} != {note}


def test_a_shorter_backbone_leaves_out_the_last_block(written):
    weights, _ = read_tflite(written(False))
    shorter = TINY_FPN.model_copy(update={"backbone_blocks": 12})
    whole, fitted = zoo.fitted(weights, TINY_FPN), zoo.fitted(weights, shorter)
    block = {"conv_dw_13", "conv_pw_13"}
    assert set(whole.layers) - set(fitted.layers) == block
    pairs = zip(whole.variables, fitted.variables, strict=True)
    left_out = [(after.layer, after.note) for before, after in pairs if before.layer in block]
    assert left_out == [("", "left out: model.backbone_blocks is 12")] * 4
    received, _ = network_of(fitted, shorter)
    assert not block & {layer.name for layer in received.layers}
    np.testing.assert_array_equal(
        received.get_layer("conv_pw_12").kernel, whole.layers["conv_pw_12"].kernel
    )


def test_a_backbone_of_another_kind_or_depth_does_not_fit(written):
    weights, _ = read_tflite(written(False))
    with pytest.raises(ValueError, match=r"model\.family=retinanet\. Received: .*family=ssd\."):
        zoo.fitted(weights, TINY_RETINANET)
    wide = TINY_FPN.model_copy(update={"depth_multiplier": 0.25})
    with pytest.raises(ValueError, match=r"which fits --set model\.depth_multiplier=0\.125\."):
        zoo.fitted(weights, wide)


def test_any_truncation_is_one_clear_error(written, contents):
    content = contents[True]
    for length in (0, 3, 8, 9, 40, 1000, len(content) // 2, len(content) - 1):
        with pytest.raises(ValueError, match=r"^Expected .* Received: .*detect\.tflite"):
            read_tflite(written(content[:length]))


def test_hostile_numbers_end_in_an_error_or_in_weights(written, contents):
    """Sizes that lie, offsets outside of the file: any 4 bytes set to the largest numbers."""
    content = contents[True]
    rng = np.random.default_rng(5)
    # All offsets are in the first bytes and between the tables; the weights are the bulk.
    places = np.concatenate([np.arange(0, 64, 4), rng.integers(64, len(content) - 4, 150)])
    for place in places:
        for value in (0xFFFFFFFF, 0x7FFFFFFF, len(content)):
            hostile = bytearray(content)
            hostile[place : place + 4] = value.to_bytes(4, "little")
            try:
                read_tflite(written(bytes(hostile)))
            except ValueError as error:
                assert re.match(r"Expected .* Received: ", str(error))  # noqa: PT017


def test_a_file_that_claims_its_bytes_many_times_is_refused(written, network):
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder

    root = schema.Model.GetRootAs(tflite_of(network, TINY, quantized=False), 0)
    model = schema.ModelT.InitFromObj(root)
    largest = max(model.subgraphs[0].tensors, key=lambda tensor: np.prod(tensor.shape))
    model.subgraphs[0].tensors += [largest] * 2000
    builder = Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_tflite(written(bytes(builder.Output())))


def test_a_file_that_is_no_detector_says_what_it_is(written, network):
    content = tflite_of(network, TINY, quantized=True)
    other = content.replace(b"TFLite_Detection_PostProcess", b"TFLite_Detection_Nothing____")
    with pytest.raises(
        ValueError, match=r"ends in TFLite_Detection_PostProcess\. Received: .*CONV"
    ):
        read_tflite(written(other))


def test_another_family_is_named(written, network):
    content = tflite_of(network, TINY, quantized=True).replace(b"MobilenetV1/", b"MobilenetV2/")
    with pytest.raises(ValueError, match=r"ssd_mobilenet_v1\. Received: .*MobileNet v2"):
        read_tflite(written(content))


def test_a_file_of_this_pipeline_is_no_file_of_the_api(written, tmp_path):
    from tests.pipeline.tiny_detector import tiny_tflite

    with pytest.raises(ValueError, match="Expected"):
        read_tflite(written(tiny_tflite(2, True, str(tmp_path))))


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"Received: nowhere\.tflite, which does not exist"):
        read_tflite("nowhere.tflite")
