import json
import logging
import shutil

import numpy as np
import pytest

from models.networks.families import DetectorConfig, build_network
from models.settings import Augmentation, ModelSettings
from models.training import checkpoint, input_pipeline
from models.weights.source import sha256_of
from pipeline.config import WarmStart
from pipeline.errors import UserError
from pipeline.training import initial_weights
from tests.models.helpers import TINY_FPN, randomize, records, training
from tests.models.weights.api_files import tflite_of, variables_of, write_checkpoint

SMALL = DetectorConfig(num_classes=2, input_size=64, depth_multiplier=0.125)
SETTINGS = ModelSettings(input_size=64, depth_multiplier=0.125, min_scale=None)


def batches():
    return input_pipeline.training_batches(
        records(),
        input_size=64,
        batch_size=4,
        max_boxes=4,
        augmentation=Augmentation(flip=True),
        seed=1,
        num_records=10,
    )


def start(network, ssd, settings, state_dir, class_names=("a", "b", "c")):
    settings = settings.model_dump()
    initial_weights.set_initial_weights(
        network,
        ssd,
        settings,
        weights=initial_weights.read_zoo(settings),
        class_names=class_names,
        training=training(),
        batches=batches,
        state_dir=str(state_dir),
    )


def test_an_earlier_model_gives_what_fits(tmp_path, caplog):
    earlier = build_network(SMALL)
    folder = tmp_path / "model" / "Format-Serving" / "float"
    checkpoint.save_detector(str(folder), earlier, SMALL, {})
    other = SMALL.model_copy(update={"num_classes": 4})
    network = build_network(other)
    with caplog.at_level(logging.INFO, "detector"):
        start(network, other, WarmStart(weights=str(tmp_path / "model")), tmp_path)
    np.testing.assert_array_equal(
        network.get_layer("conv_pw_9").kernel, earlier.get_layer("conv_pw_9").kernel
    )
    assert "new: class_head_0" in caplog.text


def test_a_model_is_known_by_one_file_wherever_its_folder_is(tmp_path, detector_file):
    folder = tmp_path / "model" / "Format-Serving"
    network = build_network(SMALL)
    checkpoint.save_detector(str(folder), network, SMALL, {})
    checkpoint.save_detector(str(folder / "float"), network, SMALL, {})
    file = str(folder / "float" / "weights.npz")
    assert initial_weights.weights_file_of(str(tmp_path / "model")) == file
    assert initial_weights.weights_file_of(str(folder)) == file
    (tmp_path / "link").symlink_to(tmp_path / "model")
    linked = initial_weights.weights_file_of(str(tmp_path / "link"))
    assert sha256_of(linked) == sha256_of(file)
    for other in ("", "imagenet", detector_file[0], str(tmp_path)):
        assert initial_weights.weights_file_of(other) is None


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises((UserError, FileNotFoundError), match=str(tmp_path)):
        start(build_network(SMALL), SMALL, WarmStart(weights=str(tmp_path)), tmp_path)


@pytest.fixture(scope="module")
def detector_file(tmp_path_factory):
    """A .tflite of the Object Detection API, with labels beside it, and its network."""
    network = build_network(SMALL)
    randomize(network)
    path = tmp_path_factory.mktemp("zoo") / "detect.tflite"
    path.write_bytes(tflite_of(network, SMALL, quantized=True))
    path.with_name("labels.txt").write_text("???\ncat\ndog\n")
    return str(path), network


def settings_of(weights) -> dict:
    return initial_weights.settings_of_weights(WarmStart(weights=str(weights)).model_dump())


def test_a_detector_says_which_network_it_is(detector_file):
    found = settings_of(detector_file[0])
    assert (found["family"], found["depth_multiplier"]) == ("ssd", 0.125)
    assert (found["head_kernel_size"], found["min_scale"]) == (1, pytest.approx(0.2, abs=1e-3))


def test_an_earlier_model_says_which_network_it_is(tmp_path):
    folder = tmp_path / "model" / "Format-Serving" / "float"
    checkpoint.save_detector(str(folder), build_network(TINY_FPN), TINY_FPN, {})
    found = settings_of(tmp_path / "model")
    assert (found["family"], found["pyramid.depth"]) == ("ssd_fpn", 16)
    assert "num_classes" not in found
    with pytest.raises(UserError, match=r"which has no detector\.json"):
        settings_of(tmp_path)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("imagenet", {}),
        ("", {}),
        ("mine.h5", {}),
        ("mobilenet_7_5_224_tf_no_top.h5", {"depth_multiplier": 0.75}),
        ("folder/mobilenet_1_0_128_tf_no_top.h5", {"depth_multiplier": 1.0}),
    ],
)
def test_a_classifier_says_its_depth_by_its_name(name, found):
    assert settings_of(name) == found


def test_a_detector_of_the_object_detection_api_is_accounted_for(detector_file, tmp_path, caplog):
    path, source = detector_file
    ssd = SMALL.model_copy(update={"num_classes": 3})
    network = build_network(ssd)
    with caplog.at_level(logging.INFO, "detector"):
        start(network, ssd, WarmStart(weights=path), tmp_path, ("dog", "b", "c"))
    np.testing.assert_allclose(
        network.get_layer("box_head_1").kernel, source.get_layer("box_head_1").kernel, atol=0.01
    )
    assert "47 layers from" in caplog.text
    assert "the statistics of 192 training pictures" in caplog.text
    # No picture shows b.
    classes = "dog from dog (same name); b: fresh, no class of that name; c from "
    assert f"class heads: {classes}" in caplog.text
    (tmp_path / "model").mkdir()
    initial_weights.copy_table(str(tmp_path), str(tmp_path / "model"))
    table = json.loads((tmp_path / "model" / "warm_start.json").read_text())
    assert (table["kind"], table["source"], len(table["sha256"])) == ("tflite", path, 64)
    assert len(table["variables"]) == 95
    assert [choice["name"] for choice in table["classes"]] == ["dog", "b", "c"]
    # Each of them is in the log, too.
    assert all(variable["name"] in caplog.text for variable in table["variables"])


def test_without_predictors_the_heads_stay_fresh(detector_file, tmp_path):
    network = build_network(SMALL)
    before = network.get_layer("box_head_1").get_weights()
    warm_start = WarmStart(weights=detector_file[0], load_all_detection_checkpoint_vars=False)
    start(network, SMALL, warm_start, tmp_path)
    np.testing.assert_array_equal(network.get_layer("box_head_1").kernel, before[0])
    table = json.loads((tmp_path / "warm_start.json").read_text())
    assert not [row for row in table["variables"] if "head" in row["layer"]]


def test_a_backbone_for_a_pyramid_gets_measured_batch_norms(detector_file, tmp_path, caplog):
    network = build_network(TINY_FPN)
    fresh = network.get_layer("projection_level_5").get_weights()
    with caplog.at_level(logging.INFO, "detector"):
        start(network, TINY_FPN, WarmStart(weights=detector_file[0]), tmp_path)
    expected = detector_file[1].get_layer("conv_pw_13_bn").get_weights()
    gamma, _, _, variance = network.get_layer("conv_pw_13_bn").get_weights()
    assert gamma.shape == expected[0].shape
    assert len(np.unique(variance)) > 1
    np.testing.assert_array_equal(network.get_layer("projection_level_5").kernel, fresh[0])
    assert "27 layers from" in caplog.text
    assert "the statistics of 192 training pictures" in caplog.text
    assert "class heads" not in caplog.text


def test_unfit_weights_are_found_before_training(detector_file):
    settings = WarmStart(weights=detector_file[0]).model_dump()
    initial_weights.check_warm_start(settings, SETTINGS)
    for change in ({"depth_multiplier": 0.25}, {"min_scale": 0.4}):
        model = SETTINGS.model_copy(update=change)
        with pytest.raises(UserError, match=r"which fits --set model\.depth_multiplier=0\.125 "):
            initial_weights.check_warm_start(settings, model)


def test_other_starts_need_no_check():
    for weights in ("", "imagenet"):
        initial_weights.check_warm_start(WarmStart(weights=weights).model_dump(), SETTINGS)


@pytest.mark.parametrize("name", ["x.h5", "x.keras"])
def test_damaged_weights_of_keras_are_found_before_training(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(UserError, match=r"weights of keras\.applications\.MobileNet") as error:
        initial_weights.check_warm_start(WarmStart(weights=str(path)).model_dump(), SETTINGS)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_weights_that_changed_since_the_run_was_started_are_not_trained_on(detector_file):
    settings = WarmStart(weights=detector_file[0], sha256="5a").model_dump()
    with pytest.raises(UserError, match=r"sha256 5a\. Received: .* has changed since"):
        initial_weights._sha256_now(settings)
    assert len(initial_weights._sha256_now(settings | {"sha256": ""})) == 64


def test_a_checkpoint_is_read_once_as_long_as_it_is_the_same(detector_file, tmp_path):
    path = tmp_path / "detect.tflite"
    shutil.copy(detector_file[0], path)
    known = WarmStart(weights=str(path), sha256="1").model_dump()
    unknown = WarmStart(weights=str(path)).model_dump()
    first = initial_weights.read_zoo(known)
    assert initial_weights.read_zoo(known) is first
    assert initial_weights.read_zoo(known | {"sha256": "2"}) is not first
    assert initial_weights.read_zoo(unknown) is not initial_weights.read_zoo(unknown)


def test_a_depth_without_imagenet_weights_is_found_before_training():
    settings = WarmStart(weights="imagenet").model_dump()
    model = ModelSettings(family="retinanet")
    with pytest.raises(UserError, match=r"model\.depth_multiplier=1.* Received: 0\.75"):
        initial_weights.check_warm_start(settings, model)


@pytest.mark.slow
def test_a_checkpoint_keeps_its_batch_norms(detector_file, tmp_path):
    source = detector_file[1]
    prefix = write_checkpoint(str(tmp_path / "model.ckpt"), variables_of(source, SMALL))
    network = build_network(SMALL)
    start(network, SMALL, WarmStart(weights=prefix), tmp_path, ("a", "b"))
    for expected, received in zip(source.variables, network.variables, strict=True):
        np.testing.assert_array_equal(received, expected, err_msg=expected.path)
    table = json.loads((tmp_path / "warm_start.json").read_text())
    assert len(table["variables"]) == 388
    assert table["pictures_for_batch_norms"] == 0


@pytest.mark.parametrize(
    "description",
    [
        "no JSON",
        "[]",
        "{}",
        '{"config": {}, "quantized": false, "facts": {}}',
        '{"config": {"num_classes": "many"}, "quantized": false, "facts": {}}',
        '{"config": {"num_classes": 3, "wings": 2}, "quantized": false, "facts": {}}',
    ],
)
def test_an_odd_folder_is_refused_before_the_run(tmp_path, description):
    checkpoint.save_detector(str(tmp_path), build_network(SMALL), SMALL, {})
    settings = WarmStart(weights=str(tmp_path)).model_dump()
    initial_weights.check_warm_start(settings, SETTINGS)
    (tmp_path / "detector.json").write_text(description)
    with pytest.raises(UserError, match=r"Expected a .*detector.json") as caught:
        initial_weights.check_warm_start(settings, SETTINGS)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_detector_is_refused_before_the_run(tmp_path):
    with pytest.raises(UserError, match="Expected a saved detector"):
        initial_weights.check_warm_start(WarmStart(weights=str(tmp_path)).model_dump(), SETTINGS)


@pytest.mark.parametrize("content", [b"", b"weights", b"PK\x03\x04 of a zip"])
def test_damaged_weights_are_refused(tmp_path, content):
    network = build_network(SMALL)
    checkpoint.save_detector(str(tmp_path), network, SMALL, {})
    (tmp_path / "weights.npz").write_bytes(content)
    with pytest.raises(UserError, match=f"saved detector.* Received: {tmp_path}"):
        start(network, SMALL, WarmStart(weights=str(tmp_path)), tmp_path / "state")
