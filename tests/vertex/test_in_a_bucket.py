"""What the Trainer keeps in a bucket, through TensorFlow's own client of Cloud Storage."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import pytest
from keras.src.legacy.saving import legacy_h5_format

ROOT = Path(__file__).parents[2]
FOLDER = "gs://my-bucket/training_state/demo/run"
# Trains in a process of its own, as the container would; what it is given to do comes as arguments.
PROGRAM = """
import sys
import keras, numpy as np
from helpers import TINY, records, training
from models import checkpoint
from models.input_pipeline import training_batches
from models.settings import Augmentation
from models.training import TrainingRun
from models.distribution import scope_of

folder, dies_at = sys.argv[1], int(sys.argv[2])
settings = training(steps=4, eval_every=2, warmup_steps=0, batch_size=4)

def score(interval):
    if interval.step == dies_at:
        raise SystemExit("preempted")
    return interval.step / 10

run = TrainingRun(
    TINY, settings, quantization_aware=False, folder=folder,
    batches=lambda step: training_batches(
        records(), input_size=64, batch_size=4, max_boxes=4, augmentation=Augmentation(), seed=1,
        num_records=10, start_step=step),
    score=score, initialize=lambda network: None, say=lambda line: print(line, flush=True),
    image_name=str, strategy_scope=lambda: scope_of(None), jit_compile=False)
network, facts = run.train()
checkpoint.save_detector(folder + "/model", network, TINY, facts)
again, _, facts = checkpoint.load_detector(folder + "/model")
print("facts", facts["resumed_at"], facts["step"])
"""
WARM_START = """
import sys
import keras
from models.ssd import SsdConfig, build_ssd
from models.warm_start import load_imagenet_weights

config = SsdConfig(num_classes=2, input_size=64, depth_multiplier=0.25)
print("loaded", len(load_imagenet_weights(build_ssd(config), config, sys.argv[1])))
"""


@pytest.fixture
def in_the_cloud(cloud, tmp_path):
    """Runs a program that sees the fake cloud at Google's addresses."""
    environment = os.environ | cloud.open_proxy(tmp_path).environment
    del environment["STORAGE_EMULATOR_HOST"]
    environment |= {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'models'}",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }

    def run(program: str, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.slow
def test_a_preempted_trainer_goes_on_from_its_checkpoint_in_the_bucket(in_the_cloud, cloud):
    killed = in_the_cloud(PROGRAM, FOLDER, "4")
    assert killed.returncode == 1, killed.stderr
    assert "preempted" in killed.stderr
    names = {name.removeprefix("training_state/demo/run/") for _, name in cloud.objects}
    assert "state.npz" in names
    assert not {name for name in names if "writing" in name}

    finished = in_the_cloud(PROGRAM, FOLDER, "-1")
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert "going on from step 2 (gs://my-bucket/" in finished.stdout
    assert finished.stdout.splitlines()[-1] == "facts [2] 4"
    assert ("my-bucket", "training_state/demo/run/model/weights.npz") in cloud.objects


@pytest.mark.slow
def test_imagenet_weights_are_read_from_the_bucket(in_the_cloud, cloud, tmp_path):
    name = "mobilenet_2_5_224_tf_no_top.h5"
    network = keras.applications.MobileNet(
        input_shape=(224, 224, 3), alpha=0.25, include_top=False, weights=None
    )
    with h5py.File(tmp_path / name, "w") as file:  # the format of Keras's downloads
        legacy_h5_format.save_weights_to_hdf5_group(file, network)
    cloud.objects["my-bucket", name] = ((tmp_path / name).read_bytes(), 1)
    done = in_the_cloud(WARM_START, f"gs://my-bucket/{name}")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("loaded ")
    assert int(done.stdout.split()[1]) >= 27
    missing = in_the_cloud(WARM_START, "gs://my-bucket/none.h5")
    assert "Expected weights of keras.applications.MobileNet" in missing.stderr
