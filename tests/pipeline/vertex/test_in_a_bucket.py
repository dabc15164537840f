"""Reading from and writing to a bucket, with TensorFlow's and Beam's Cloud Storage clients."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import keras
import pytest
from keras.src.legacy.saving import legacy_h5_format
from PIL import Image

from tests.pipeline.data_samples import samples, write_coco

ROOT = Path(__file__).parents[3]
FOLDER = "gs://my-bucket/training_state/demo/run"
# Trains in a process of its own, as the container would.
PROGRAM = """
import sys
import keras, numpy as np
from tests.models.helpers import TINY, records, training
from models.training import checkpoint
from models.training.input_pipeline import training_batches
from models.settings import Augmentation
from models.training.run import TrainingRun
from models.training.distribution import scope_of

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
XML = """<annotation><filename>{name}.png</filename>
<size><width>32</width><height>24</height></size>
<object><name>cat</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>
</object></annotation>"""
WARM_START = """
import sys
import keras
from models.networks.families import DetectorConfig, build_network
from models.weights.warm_start import load_imagenet_weights

config = DetectorConfig(num_classes=2, input_size=64, depth_multiplier=0.25)
print("loaded", len(load_imagenet_weights(build_network(config), config, sys.argv[1])))
"""

EXAMPLE_GEN = """
import json
import sys
import tfx.v1 as tfx
from pipeline.data.example_gen import DetectionExampleGen

component = DetectionExampleGen("gs://my-bucket/" + sys.argv[2], **json.loads(sys.argv[3]))
metadata = tfx.orchestration.metadata.sqlite_metadata_connection_config(sys.argv[1])
tfx.orchestration.LocalDagRunner().run(tfx.dsl.Pipeline(
    "spans", "gs://my-bucket/root", components=[component], metadata_connection_config=metadata,
    beam_pipeline_args=["--runner=FnApiRunner", "--project=my-project"]))
"""


UNPACK = """
import sys
from pipeline import presets
from pipeline.config import override
from pipeline.local.preparation import complete
from pipeline.local.workdir import Workdir

config = override(presets.load("small_data_cpu"), {"data.path": "gs://my-bucket/" + sys.argv[2]})
for _ in range(2):
    print("data", complete(config, Workdir(sys.argv[1])).data.path)
"""


@pytest.fixture
def in_the_cloud(cloud, tmp_path):
    """Runs a program that sees the fake cloud at Google's addresses."""
    environment = os.environ | cloud.open_proxy(tmp_path).environment
    del environment["STORAGE_EMULATOR_HOST"]
    environment |= {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'models'}",
        "NO_GCE_CHECK": "true",
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
def test_a_preempted_trainer_resumes_from_its_checkpoint_in_the_bucket(in_the_cloud, cloud):
    killed = in_the_cloud(PROGRAM, FOLDER, "4")
    assert killed.returncode == 1, killed.stderr
    assert "preempted" in killed.stderr
    names = {name.removeprefix("training_state/demo/run/") for _, name in cloud.objects}
    assert "state.npz" in names
    assert not {name for name in names if "writing" in name}

    finished = in_the_cloud(PROGRAM, FOLDER, "-1")
    assert finished.returncode == 0, finished.stderr[-3000:]
    assert "resuming from step 2 (gs://my-bucket/" in finished.stdout
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


@pytest.mark.slow
def test_the_newest_span_of_a_bucket_becomes_examples_in_it(in_the_cloud, cloud, tmp_path):
    for span, day in ((1, "old"), (2, "new")):
        for number in range(12):
            name = f"{day}_{number}"
            picture = io.BytesIO()
            Image.new("RGB", (32, 24), (number * 20, 90, 90)).save(picture, "PNG")
            objects = {
                f"pets/span-{span}/images/{name}.png": picture.getvalue(),
                f"pets/span-{span}/xmls/{name}.xml": XML.format(name=name).encode(),
            }
            cloud.objects |= {("my-bucket", path): (data, 1) for path, data in objects.items()}
    folders = {"images": "span-{SPAN}/images", "annotations": "span-{SPAN}/xmls"}
    done = in_the_cloud(EXAMPLE_GEN, str(tmp_path / "metadata.db"), "pets", json.dumps(folders))
    assert done.returncode == 0, done.stderr[-3000:]
    (report,) = [name for _, name in cloud.objects if name.endswith("/images.jsonl")]
    lines = cloud.objects["my-bucket", report][0].decode().splitlines()
    assert {json.loads(line)["id"] for line in lines} == {f"new_{n}" for n in range(12)}
    folder = report.removesuffix("images.jsonl")
    for split in ("train", "eval"):
        assert any(name.startswith(f"{folder}Split-{split}/") for _, name in cloud.objects)


@pytest.mark.slow
def test_a_coco_data_set_of_a_bucket_is_found_out_when_the_component_runs(
    in_the_cloud, cloud, tmp_path
):
    folder = write_coco(tmp_path / "pets", samples(8, ["train", "val"]))
    for path in folder.rglob("*.*"):
        name = path.relative_to(tmp_path).as_posix()
        cloud.objects["my-bucket", name] = (path.read_bytes(), 1)
    done = in_the_cloud(EXAMPLE_GEN, str(tmp_path / "metadata.db"), "pets", "{}")
    assert done.returncode == 0, done.stderr[-3000:]
    (report,) = [name for _, name in cloud.objects if name.endswith("/images.jsonl")]
    lines = map(json.loads, cloud.objects["my-bucket", report][0].decode().splitlines())
    sides = {line["id"]: line["file"] for line in lines}
    assert len(sides) == 8
    assert sides["eval/image_0"] == "val/images/image_0.jpg"


@pytest.mark.slow
def test_an_archive_in_a_bucket_is_downloaded_once(in_the_cloud, cloud, tmp_path):
    write_coco(tmp_path / "pets", samples(4))
    packed = shutil.make_archive(str(tmp_path / "pets"), "zip", tmp_path, "pets")
    cloud.objects["my-bucket", "pets.zip"] = (Path(packed).read_bytes(), 1)
    done = in_the_cloud(UNPACK, str(tmp_path / "work"), "pets.zip")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("downloading gs://my-bucket/pets.zip") == 1
    first, again = (line for line in done.stdout.splitlines() if line.startswith("data "))
    folder = Path(first.removeprefix("data "))
    assert first == again
    assert (folder.name, len(list(folder.rglob("*.jpg")))) == ("pets", 4)
    assert [path.name for path in (tmp_path / "work" / "unpacked").iterdir()] == [
        folder.parent.name
    ]
    missing = in_the_cloud(UNPACK, str(tmp_path / "work"), "lost.zip")
    assert "UserError: Expected an archive. Received: gs://my-bucket/lost.zip" in missing.stderr
