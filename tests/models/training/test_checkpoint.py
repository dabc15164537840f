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
    assert checkpoint.load_progress(path, print) is None
    model = compiled()
    for index, variable in enumerate([*model.network.variables, *model.optimizer.variables]):
        variable.assign(np.full(variable.shape, index % 100))
    checkpoint.save_state(path, model, {"step": 3, "best": None})
    again = compiled()
    checkpoint.restore_state(path, again)
    assert checkpoint.load_progress(path, print) == {"step": 3, "best": None}
    for attribute in ("network", "optimizer"):
        pairs = zip(
            getattr(model, attribute).variables, getattr(again, attribute).variables, strict=True
        )
        for expected, received in pairs:
            np.testing.assert_array_equal(received, expected)


def damage(path, how):
    """Empties a file, truncates it, or changes a byte of its first array."""
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "bit": content}[how])


DAMAGES = pytest.mark.parametrize("how", ["empty", "cut", "bit"])


@DAMAGES
def test_a_damaged_state_is_replaced_by_the_one_before(tmp_path, how):
    path, model, lines = tmp_path / "state.npz", compiled(), []
    for step in (1, 2, 3):
        model.optimizer.iterations.assign(step)
        checkpoint.save_state(str(path), model, {"step": step})
    damage(path, how)
    assert checkpoint.load_progress(str(path), lines.append) == {"step": 2}
    assert len(lines) == 1
    assert f"{path} is damaged" in lines[0]
    again = compiled()
    checkpoint.restore_state(str(path), again)
    assert int(again.optimizer.iterations) == 2
    # It is the state now.
    assert checkpoint.load_progress(str(path), lines.append) == {"step": 2}
    assert len(lines) == 1


def test_a_kill_between_two_states_leaves_the_first(tmp_path, monkeypatch):
    path, model = str(tmp_path / "state.npz"), compiled()
    checkpoint.save_state(path, model, {"step": 1})

    def die(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write_whole", die)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save_state(path, model, {"step": 2})
    assert checkpoint.load_progress(path, print) == {"step": 1}
    checkpoint.restore_state(path, model)


@DAMAGES
def test_without_a_whole_state_the_folder_to_delete_is_named(tmp_path, how):
    path = tmp_path / "state.npz"
    checkpoint.save_state(str(path), compiled(), {"step": 1})
    damage(path, how)
    with pytest.raises(ValueError, match=f"Expected a whole training state in {tmp_path}.*Delete"):
        checkpoint.load_progress(str(path), print)


@DAMAGES
def test_damaged_weights_are_named(tmp_path, how):
    checkpoint.save_detector(str(tmp_path), build_network(TINY), TINY, {})
    damage(tmp_path / "weights.npz", how)
    with pytest.raises(ValueError, match=f"{tmp_path}/weights.npz is damaged"):
        checkpoint.load_detector(str(tmp_path))


def test_the_state_of_another_model_is_rejected(tmp_path):
    path = str(tmp_path / "state.npz")
    model = compiled()
    checkpoint.save_state(path, model, {})
    quantized = Detector(build_network(TINY, quantized=True), TINY, training())
    quantized.compile(optimizer=keras.optimizers.SGD(momentum=0.9))
    with pytest.raises(ValueError, match="Delete it to start over"):
        checkpoint.restore_state(path, quantized)
