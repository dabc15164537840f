import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.networks.families import build_network
from models.training import distribution
from tests.models.helpers import TINY


@pytest.mark.parametrize(("batch", "replicas"), [(8, 8), (128, 8), (32, 1)])
def test_batches_that_divide_pass(batch, replicas):
    distribution.check_batch(batch, replicas)


@pytest.mark.parametrize(
    ("batch", "replicas", "sizes"), [(12, 8, "8 or 16"), (4, 8, "8"), (33, 2, "32 or 34")]
)
def test_other_batches_are_refused_with_sizes_that_do(batch, replicas, sizes):
    message = rf"the {replicas} replicas\. Received: {batch}\. Set it to {sizes}\."
    with pytest.raises(ValueError, match=message):
        distribution.check_batch(batch, replicas)


def test_one_device_needs_no_strategy(monkeypatch):
    monkeypatch.setattr(distribution, "_tpu_strategy", lambda: None)
    assert distribution.choose_strategy("one_device", 3) is None
    assert distribution.choose_strategy("auto", 3) is None  # tests run without accelerators
    with distribution.scope_of(None):
        assert tf.distribute.get_replica_context() is not None


def test_a_strategy_checks_the_batch(monkeypatch):
    class Strategy:
        num_replicas_in_sync = 8

    monkeypatch.setattr(distribution, "_tpu_strategy", Strategy)
    assert isinstance(distribution.choose_strategy("auto", 16), Strategy)
    with pytest.raises(ValueError, match="8 replicas"):
        distribution.choose_strategy("auto", 12)
    assert distribution.choose_strategy("one_device", 12) is None


def test_xla_is_for_accelerators_unless_asked_for():
    assert distribution.use_xla("on")
    assert not distribution.use_xla("off")
    assert not distribution.use_xla("auto")


def test_a_prediction_needs_no_xla_for_the_cpu_beside_a_tpu(monkeypatch):
    # TensorFlow's build for TPUs has none, and lists this device even where there is no TPU.
    tpu = types.SimpleNamespace(device_type="TPU_SYSTEM", name="/physical_device:TPU_SYSTEM:0")
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda *_: [tpu])
    assert build_network(TINY).jit_compile
    network = build_network(TINY)
    outputs = distribution.predict(network, np.zeros((2, 64, 64, 3), np.uint8))
    assert outputs["class_logits"].shape == (2, len(TINY.anchors), 3)
    assert not network.jit_compile


PROGRAM = """
import sys, tempfile
sys.path.insert(0, sys.argv[1])
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tests.models.helpers import TINY, records, training
from models.training import checkpoint
from models.training.detector import Detector
from models.training.input_pipeline import evaluation_batches, training_batches
from models.settings import Augmentation
from models.networks.families import build_network
from models.training.distribution import predict
from models.training.optimizer import make_optimizer

def train(scope, synchronized):
    keras.utils.set_random_seed(0)
    settings = training(optimizer="momentum", learning_rate=0.001, clip_norm=0.0)
    with scope:
        network = build_network(TINY, synchronized=synchronized)
        model = Detector(network, TINY, settings)
        model.compile(optimizer=make_optimizer(settings))
        model.optimizer.build(model.trainable_variables)
    # As if there were one record: a strategy shuffles in another order, so nothing is shuffled.
    data = training_batches(records(), input_size=64, batch_size=4, max_boxes=4,
                            augmentation=Augmentation(), seed=1, num_records=1)
    # One step: batch norms over the few cells of so small a network amplify roundings from then on.
    history = model.fit(data, steps_per_epoch=1, epochs=1, shuffle=False, verbose=0).history
    return model, data, history

one, data, alone = train(tf.distribute.get_strategy().scope(), False)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
two, _, shared = train(strategy.scope(), True)
for term in ("loss", "classification_loss", "localization_loss"):
    print(term, alone[term][0], shared[term][0])
print("weights", max(float(np.abs(np.asarray(a) - np.asarray(b)).max())
                     for a, b in zip(one.network.variables, two.network.variables)))

images = np.stack([image for image, *_ in evaluation_batches(
    records(), input_size=64, batch_size=1, max_boxes=4)])[:, 0]
answers = [predict(model.network, images) for model in (one, two)]
print("answers", *(max(float(np.abs(a[name] - b[name]).max()) for name in a) if
                   all(a[name].shape == b[name].shape for name in a) else "of other shapes"
                   for a, b in [answers]))

with tempfile.TemporaryDirectory() as folder:
    checkpoint.save_state(folder + "/state.npz", two, {"step": 1})
    checkpoint.restore_state(folder + "/state.npz", one)
print("resumed", max(float(np.abs(np.asarray(a) - np.asarray(b)).max())
                     for a, b in zip(checkpoint._state(one), checkpoint._state(two), strict=True)))

def poison(images, targets):
    bad = tf.equal(targets["image_index"], 4)[:, None, None]
    return images, targets | {"boxes": tf.where(bad, float("nan"), targets["boxes"])}

last = []
class Watch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]) and not last:
            last.append(int(self.model.non_finite_image.result()))
poisoned = data.map(poison)
two.fit(poisoned, steps_per_epoch=3, epochs=1, shuffle=False, verbose=0, callbacks=[Watch()])
print("image", last)
"""


@pytest.mark.slow
def test_two_replicas_train_as_one_device_does():
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, str(Path(__file__).parents[3])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    lines = dict(line.split(" ", 1) for line in result.stdout.splitlines())
    for term in ("loss", "classification_loss", "localization_loss"):
        alone, shared = map(float, lines[term].split())
        assert shared == pytest.approx(alone, rel=1e-5), term
    assert float(lines["weights"]) < 5e-4
    assert float(lines["answers"]) < 5e-3
    # A run continues on one device what it began on two.
    assert float(lines["resumed"]) == 0
    assert lines["image"] == "[4]"
