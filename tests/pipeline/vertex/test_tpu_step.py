"""The training step for TPUs, as far as it can be tested on a machine without one."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("training_step.py")
# Operations by which a program talks to its host, or hands work to a library of the host.
LEAVES_THE_CHIP = ("infeed", "outfeed", "send", "recv", "custom_call")
# Biases before a batch norm: their gradients are zero but for rounding.
SMALLEST_UPDATE = 1e-10
needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="the optional group `tpu` is not installed"
)


def take_step(way: str, out: Path, *flags: str):
    """The program's text, or its arrays by name."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    if way in ("jax", "lower"):
        environment["KERAS_BACKEND"] = "jax"
    command = [sys.executable, str(PROGRAM), way, str(out), *flags]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(np.load(out)) if out.suffix == ".npz" else out.read_text()


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return take_step("single", tmp_path_factory.mktemp("step") / "single.npz")


def test_the_input_pipeline_delivers_one_shape_and_drops_the_remainder():
    import tensorflow as tf

    from models.settings import Augmentation
    from models.training.input_pipeline import training_batches

    count, batch_size = 10, 4
    records = tf.data.Dataset.from_tensor_slices(
        {
            "encoded": [tf.io.encode_png(np.zeros((80, 80, 3), np.uint8)).numpy()] * count,
            "boxes": np.tile(np.float32([[0.2, 0.2, 0.7, 0.8]]), (count, 3, 1)),
            "class_ids": np.zeros((count, 3), np.int32),
            "image_index": np.arange(count, dtype=np.int32),
        }
    )
    batches = training_batches(
        records, input_size=64, batch_size=batch_size, max_boxes=8, num_records=count, seed=1,
        augmentation=Augmentation(flip=True, crop_probability=0.5),
    )  # fmt: skip
    images, targets = batches.element_spec
    for spec in (images, *targets.values()):
        assert spec.shape.is_fully_defined()
        assert spec.shape[0] == batch_size
    # Three passes over ten records: no batch is smaller at the end of a pass.
    for images, targets in batches.take(3 * count // batch_size):
        assert images.shape == (batch_size, 64, 64, 3)
        assert targets["boxes"].shape == (batch_size, 8, 4)


def differences(received, expected) -> dict[str, float]:
    """By name: of a loss relative to it, of a variable's update relative to the update.

    Weights alone would prove little: a step changes many of them by less than any tolerance for
    them. What float32 rounds away when a small update is added to a large weight is no difference.
    """
    assert set(received) == set(expected)
    found = {}
    for name, value in expected.items():
        difference = np.linalg.norm(received[name] - value)
        if name.startswith("update/"):
            weight = expected[name.replace("update/", "weight/")]
            rounding = np.finfo(np.float32).eps * np.abs(weight).max() + SMALLEST_UPDATE
            difference = max(difference - rounding * np.sqrt(value.size), 0.0)
        if not name.startswith("weight/"):
            found[name] = difference / max(np.linalg.norm(value), 1e-30)
    return found


def assert_same(received, expected, losses: float, updates: float):
    found = differences(received, expected)
    limits = {name: updates if name.startswith("update/") else losses for name in found}
    assert {name: found[name] for name in found if found[name] > limits[name]} == {}


@pytest.mark.slow
def test_a_slightly_too_long_or_too_short_step_is_noticed(single):
    for factor, limit in ((1.003, 1e-3), (0.95, 3e-2)):
        other = {
            name: value * (factor if name.startswith("update/") else 1.0)
            for name, value in single.items()
        }
        found = differences(other, single)
        updates = [found[name] for name in found if name.startswith("update/")]
        # Rounding hides it only in the variables that this step hardly changes.
        assert np.mean(np.array(updates) > limit) > 0.6
        with pytest.raises(AssertionError):
            assert_same(other, single, losses=1e-5, updates=limit)


@pytest.mark.slow
def test_eight_devices_train_like_one(single, tmp_path):
    eight = take_step("replicated", tmp_path / "eight.npz")
    assert_same(eight, single, losses=1e-5, updates=1e-3)


@pytest.mark.slow
def test_gradients_are_summed_once_over_the_devices(tmp_path):
    # The step above clips its gradients, which would hide a factor common to all of them.
    one = take_step("single", tmp_path / "one.npz", "--unclipped")
    two = take_step("replicated", tmp_path / "two.npz", "--unclipped", "--replicas", "2")
    assert_same(two, one, losses=1e-5, updates=1e-2)


@pytest.mark.slow
@needs_jax
def test_the_lowered_step_computes_what_tensorflow_computes(single, tmp_path):
    on_jax = take_step("jax", tmp_path / "jax.npz")
    assert_same(on_jax, single, losses=1e-4, updates=3e-2)


@pytest.mark.slow
@needs_jax
def test_the_recipe_has_the_losses_that_tensorflow_computes(tmp_path):
    expected = take_step("single", tmp_path / "single.npz", "--recipe")
    received = take_step("jax", tmp_path / "jax.npz", "--recipe")
    for name in received:
        np.testing.assert_allclose(received[name], expected[name], rtol=1e-4, err_msg=name)


@pytest.mark.slow
@needs_jax
@pytest.mark.parametrize(
    ("images", "flags"),
    [
        ("128x300x300x3", ["--recipe"]),
        ("16x100x100x3", ["--family", "ssd_fpn"]),
        ("16x100x100x3", ["--family", "retinanet"]),
    ],
    ids=["2018 recipe", "ssd_fpn", "retinanet"],
)
def test_the_step_lowers_for_tpu_and_stays_on_the_chip(tmp_path, images, flags):
    program = take_step("lower", tmp_path / "step.mlir", *flags)
    assert f"tensor<{images}xui8>" in program
    operations = set(re.findall(r"\b(?:stablehlo|mhlo|chlo)\.(\w+)", program))
    assert "convolution" in operations
    assert not operations & set(LEAVES_THE_CHIP)
    assert not re.search(r"tensor<[^>]*\?", program)  # every shape is static


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "flags"),
    [
        ("128,300,300,3", ["--recipe"]),
        ("16,100,100,3", ["--family", "ssd_fpn"]),
        ("16,100,100,3", ["--family", "retinanet"]),
    ],
    ids=["2018 recipe", "ssd_fpn", "retinanet"],
)
def test_the_step_is_one_xla_program_with_static_shapes(tmp_path, images, flags):
    program = take_step("hlo", tmp_path / "step.hlo", *flags)
    assert program.count("ENTRY") == 1
    assert f"u8[{images}]" in program
    assert "<=" not in program.split("ENTRY")[1]  # no bounded, i.e. dynamic, dimension
