import json
import os

import keras
import numpy as np
import pytest

from models.networks.families import build_network
from models.training import checkpoint
from models.training.detector import Detector
from models.training.optimizer import make_optimizer
from tests.models.helpers import TINY, randomize, training


@pytest.mark.parametrize("quantized", [False, True])
def test_a_saved_detector_is_restored(tmp_path, quantized):
    network = build_network(TINY, quantized)
    randomize(network)
    checkpoint.save_detector(str(tmp_path / "a"), network, TINY, {"score": 0.5})
    again, config, facts = checkpoint.load_detector(str(tmp_path / "a"))
    assert (config, facts, again.name) == (TINY, {"score": 0.5}, network.name)
    for mine, original in zip(again.variables, network.variables, strict=True):
        np.testing.assert_array_equal(mine, original)
    assert sorted(os.listdir(tmp_path / "a")) == ["detector.json", "weights.npz"]


def test_a_folder_without_a_detector_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}, which has no detector.json"):
        checkpoint.load_detector(str(tmp_path))


@pytest.mark.parametrize("content", ["{}", "[1]", '{"config": 1}', "no JSON", "\udcff"])
def test_a_folder_of_something_else_is_named(tmp_path, content):
    checkpoint.save_detector(str(tmp_path), build_network(TINY), TINY, {})
    path = tmp_path / checkpoint.NETWORK_FILE
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=rf"^Expected a detector.json .*\(in {tmp_path}\)\.$"):
        checkpoint.load_detector(str(tmp_path))


def test_weights_of_another_network_are_rejected(tmp_path):
    checkpoint.save_detector(str(tmp_path), build_network(TINY), TINY, {})
    description = json.loads((tmp_path / "detector.json").read_text())
    (tmp_path / "detector.json").write_text(json.dumps(description | {"quantized": True}))
    with pytest.raises(ValueError, match="to stand both in"):
        checkpoint.load_detector(str(tmp_path))


@pytest.mark.parametrize("place", ["", "float"])
def test_the_float_network_is_found_beside_a_quantized_one_or_alone(tmp_path, place):
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "detector.json").write_text("{}")
    found = checkpoint.float_folder(str(tmp_path))
    assert os.path.normpath(found) == os.path.normpath(tmp_path / place)


def compiled(steps=6):
    settings = training(steps=steps)
    model = Detector(build_network(TINY), TINY, settings)
    model.compile(optimizer=make_optimizer(settings))
    model.optimizer.build(model.trainable_variables)
    return model


def test_the_state_of_a_run_is_restored_with_its_optimizer(tmp_path):
    path = str(tmp_path / "state.npz")
    assert checkpoint.load_progress(path) is None
    model = compiled()
    for index, variable in enumerate([*model.network.variables, *model.optimizer.variables]):
        variable.assign(np.full(variable.shape, index % 100))
    checkpoint.save_state(path, model, {"step": 3, "best": None})
    again = compiled()
    checkpoint.restore_state(path, again)
    assert checkpoint.load_progress(path) == {"step": 3, "best": None}
    for attribute in ("network", "optimizer"):
        pairs = zip(
            getattr(model, attribute).variables, getattr(again, attribute).variables, strict=True
        )
        for expected, received in pairs:
            np.testing.assert_array_equal(received, expected)


def test_the_state_of_another_model_is_rejected(tmp_path):
    path = str(tmp_path / "state.npz")
    model = compiled()
    checkpoint.save_state(path, model, {})
    quantized = Detector(build_network(TINY, quantized=True), TINY, training())
    quantized.compile(optimizer=keras.optimizers.SGD(momentum=0.9))
    with pytest.raises(ValueError, match="Delete it to start over"):
        checkpoint.restore_state(path, quantized)
