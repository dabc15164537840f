import io
import os
import tarfile

import numpy as np
import pytest

from models.networks.families import DetectorConfig, build_network
from models.weights.tf1_checkpoint import read_tf1_checkpoint, weights_of
from models.weights.zoo import fitted
from models.weights.zoo_names import Names
from models.weights.zoo_start import network_of
from tests.models.helpers import TINY, randomize
from tests.models.weights.api_files import variables_of, write_checkpoint


@pytest.fixture(scope="module")
def network():
    network = build_network(TINY)
    randomize(network)
    return network


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, network):
    """The prefix of a detection checkpoint of TINY."""
    folder = tmp_path_factory.mktemp("zoo")
    return write_checkpoint(str(folder / "model.ckpt"), variables_of(network, TINY))


def classifier_variables(network) -> dict:
    """What TF-Slim's image classifier on the same backbone has."""
    variables = {
        name.removeprefix("FeatureExtractor/"): value
        for name, value in variables_of(network, TINY).items()
        if "BoxPredictor" not in name and "_Conv2d_" not in name and "quant" not in name
    }
    logits = {"MobilenetV1/Logits/Conv2d_1c_1x1/weights": np.zeros((1, 1, 128, 1001), "f4")}
    return variables | logits


def read(variables, checkpoint_type="detection", load_all=True):
    """As if the variables had been read from a file."""
    found = {
        name: (np.shape(value), value if np.asarray(value).dtype == np.float32 else None)
        for name, value in variables.items()
    }
    return weights_of(found, "zoo/model.ckpt", checkpoint_type, load_all)


def assert_same_weights(received, expected, layers):
    for layer in layers:
        names = [layer] if "head" in layer else [layer, f"{layer}_bn"]
        for name in names:
            pairs = zip(
                received.get_layer(name).get_weights(),
                expected.get_layer(name).get_weights(),
                strict=True,
            )
            for a, b in pairs:
                np.testing.assert_array_equal(a, b, err_msg=name)


def test_a_checkpoint_has_the_variables_of_the_zoo():
    """Counted in the index of ssd_mobilenet_v1_0.75_depth_quantized_300x300_coco14_sync."""
    config = DetectorConfig(num_classes=90, input_size=300, depth_multiplier=0.75)
    variables = variables_of(build_network(config), config)
    assert len(variables) == 388
    assert len([name for name in variables if "_quant/" in name]) == 188
    last = "FeatureExtractor/MobilenetV1/Conv2d_13"
    sample = {
        "BoxPredictor_0/ClassPredictor/weights": (1, 1, 384, 273),
        f"{last}_depthwise/depthwise_weights": (3, 3, 768, 1),
        f"{last}_pointwise_1_Conv2d_5_1x1_48/weights": (1, 1, 192, 48),
        f"{last}_pointwise_2_Conv2d_2_3x3_s2_384/BatchNorm/beta": (384,),
    }
    assert {name: np.shape(variables[name]) for name in sample} == sample


@pytest.mark.slow
@pytest.mark.parametrize("form", ["prefix", "folder", "archive"])
def test_every_weight_of_a_detection_checkpoint_is_loaded(checkpoint, network, tmp_path, form):
    path = checkpoint if form == "prefix" else os.path.dirname(checkpoint)
    if form == "archive":
        path = str(tmp_path / "ssd_2018.tar.gz")
        with tarfile.open(path, "w:gz") as archive:
            archive.add(os.path.dirname(checkpoint), "ssd_2018")
    weights = read_tf1_checkpoint(path)
    assert weights.num_classes == 3
    received, _ = network_of(weights, TINY)
    assert_same_weights(received, network, Names("ssd").expected(extras=True, heads=True))
    assert len(weights.variables) == 388
    left_out = {row.note for row in weights.variables if not row.layer}
    assert left_out == {
        "left out: a counter of its training",
        "left out: a range of quantization: training here finds its own",
    }


def test_without_all_variables_the_predictors_are_left_out(network):
    weights = read(variables_of(network, TINY), load_all=False)
    assert weights.num_classes == 0
    assert set(weights.layers) == set(Names("ssd").expected(extras=True, heads=False))
    notes = {row.note for row in weights.variables if row.name.startswith("BoxPredictor_0/Class")}
    assert "left out: load_all_detection_checkpoint_vars is off" in notes


def test_a_classification_checkpoint_gives_the_backbone(network):
    variables = classifier_variables(network)
    weights = read(variables, "classification")
    received, _ = network_of(weights, TINY)
    assert_same_weights(received, network, Names("ssd").expected(extras=False, heads=False))
    (logits,) = (row for row in weights.variables if "Logits" in row.name)
    assert logits.note == "left out: a detector has no classifier"
    with pytest.raises(ValueError, match="fine_tune_checkpoint_type=classification"):
        read(variables)


def test_a_detection_checkpoint_is_no_classifier(network):
    with pytest.raises(ValueError, match="fine_tune_checkpoint_type=detection"):
        read(variables_of(network, TINY), "classification")


@pytest.mark.parametrize(
    "name",
    [
        "FeatureExtractor/MobilenetV1/Conv2d_12_pointwise/weights",
        "BoxPredictor_0/ClassPredictor/weights",
        "BoxPredictor_0/BoxEncodingPredictor/weights",
    ],
)
def test_a_kernel_of_another_rank_is_named(network, name):
    variables = variables_of(network, TINY) | {name: np.float32(1)}
    with pytest.raises(ValueError, match=r"kernel of rank 4 for .* Received: \(\)"):
        read(variables)


def test_a_negative_variance_is_named(network):
    """Its square root would make every output NaN."""
    variables = variables_of(network, TINY)
    name = "FeatureExtractor/MobilenetV1/Conv2d_3_pointwise/BatchNorm/moving_variance"
    variables[name] = -variables[name]
    with pytest.raises(ValueError, match=r"0 or more for conv_pw_3\. Received: nega"):
        fitted(read(variables), TINY)


STATE = {
    "FeatureExtractor/MobilenetV1/Conv2d_0/weights/Momentum": np.zeros(3, "f4"),
    "FeatureExtractor/MobilenetV1/Conv2d_0/weights/ExponentialMovingAverage": np.ones(3, "f4"),
    "learning_rate": np.float32(1),
}
MISSING = "FeatureExtractor/MobilenetV1/Conv2d_13_pointwise_2_Conv2d_4_3x3_s2_32/"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"FeatureExtractor/MobilenetV1/fpn/projection_1/weights": np.zeros(2, "f4")}, "v1_fpn"),
        ({"FeatureExtractor/MobilenetV1/Conv2d_0/extra": np.zeros(2, "f4")}, "Conv2d_0/extra"),
        (MISSING, "none for map_4"),
        ("BoxPredictor_3/ClassPredictor/biases", "biases for class_head_3"),
        ("BoxPredictor_", "none for box_head_0, box_head_1, box_head_2 and 9 more"),
        ("FeatureExtractor/MobilenetV1/Conv2d_", "is another network"),
        (STATE, None),
    ],
    ids=["fpn", "extra", "no map", "no bias", "no heads", "no backbone", "training state"],
)
def test_missing_and_extra_variables_are_named(network, change, message):
    variables = variables_of(network, TINY)
    if isinstance(change, dict):
        variables |= change
    else:
        variables = {name: a for name, a in variables.items() if not name.startswith(change)}
    if message is None:
        weights = read(variables)
        assert {row.name for row in weights.variables if not row.layer} >= set(change)
        return
    with pytest.raises(ValueError, match=message) as error:
        read(variables)
    assert str(error.value).startswith("Expected")
    assert "Received: zoo/model.ckpt" in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["index", "data", "crashing index", "no data"])
def test_a_damaged_checkpoint_is_one_clear_error(checkpoint, tmp_path, which):
    prefix = str(tmp_path / "model.ckpt")
    for end in (".index", ".data-00000-of-00001"):
        with open(checkpoint + end, "rb") as file:
            content = file.read()
        if end == ".index" and which == "index":
            content = content[: len(content) // 2]
        elif end == ".index" and which == "crashing index":
            content = content[:400] + bytes(200) + content[600:]
        elif end != ".index" and which == "data":
            content = content[: len(content) // 2]
        elif end != ".index" and which == "no data":
            continue
        with open(prefix + end, "wb") as file:
            file.write(content)
    with pytest.raises(ValueError, match=rf"whole TF1 checkpoint\. Received: {prefix}"):
        read_tf1_checkpoint(prefix)


def archive_of(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return str(path)


def link(name, target, kind=tarfile.SYMTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("/etc/model.ckpt.index"),
        tarfile.TarInfo("a/../../model.ckpt.index"),
        link("a/model.ckpt.index", "/etc/passwd"),
        link("a/model.ckpt.index", "a/other", tarfile.LNKTYPE),
        link("a/model.ckpt.index", "", tarfile.FIFOTYPE),
    ],
    ids=["absolute", "above", "symbolic link", "hard link", "pipe"],
)
def test_an_archive_that_points_elsewhere_is_refused(tmp_path, member):
    path = archive_of(tmp_path / "zoo.tar.gz", [(member, b"")])
    with pytest.raises(ValueError, match=r"plain files and folders .* Received: .*zoo\.tar\.gz"):
        read_tf1_checkpoint(path)
    assert os.listdir(tmp_path) == ["zoo.tar.gz"]


@pytest.mark.parametrize("end", [".index", ".data-00000-of-00001"])
def test_an_archive_with_two_checkpoints_of_one_name_is_refused(tmp_path, end):
    """One would overwrite the other."""
    members = [(tarfile.TarInfo(f"{folder}/model.ckpt{end}"), b"") for folder in "ab"]
    path = archive_of(tmp_path / "zoo.tar.gz", members)
    with pytest.raises(ValueError, match=rf"one checkpoint\. Received: two .*model\.ckpt{end}"):
        read_tf1_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"no archive", None], ids=["empty", "text", "truncated"])
def test_an_archive_without_a_checkpoint_is_one_clear_error(tmp_path, content):
    path = tmp_path / "zoo.tar.gz"
    archive_of(path, [(tarfile.TarInfo("a/frozen_inference_graph.pb"), os.urandom(9000))])
    path.write_bytes(path.read_bytes()[:4000] if content is None else content)
    with pytest.raises(ValueError, match=r"Expected a \.tar\.gz with a TF1 checkpoint"):
        read_tf1_checkpoint(str(path))
