"""One set in three formats, from its folder to the file that ships."""

import hashlib
import subprocess
import sys

import pytest

from pipeline.fingerprint import ROOT
from tests.pipeline.data_samples import Sample, picture, write_coco, write_voc, write_yolo

# A pyramid, whose levels share layers: their gradients are sums of many.
SETTINGS = (
    "model.input_size=128",
    "transform.canvas_size=144",
    "training.batch_size=8",
    "training.steps=6",
    "training.quantization_delay=3",
    "training.warmup_steps=1",
    "training.eval_every=3",
    "evaluation.min_map50=1",
    "rewriter.max_map_drop=1",
)
PICTURES = [
    Sample(
        f"shot_{number:02}",
        picture(number, size=(160, 120)),
        [
            ("cat", 10 + number, 20, 70 + number, 80),
            *([("dog", 90, 30, 150, 100 - number)] if number % 3 else []),
        ],
        "val" if number % 4 == 3 else "train",
        (160, 120),
    )
    for number in range(20)
]


@pytest.mark.slow
def test_the_same_set_makes_the_same_file_in_every_format(tmp_path):
    files = {}
    for write in (write_voc, write_coco, write_yolo):
        name = write.__name__
        write(tmp_path / name, PICTURES)
        workdir = tmp_path / "runs" / name
        ended = subprocess.run(
            [
                *(sys.executable, "local_runner.py", "--preset", "small_file_cpu"),
                *("--data", str(tmp_path / name), "--workdir", str(workdir), "--set", *SETTINGS),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 3, ended.stdout[-2000:] + ended.stderr[-2000:]
        (file,) = workdir.glob("pipeline_root/TFLiteRewriter/shipping_model/*/*/tflite")
        files[name] = hashlib.sha256(file.read_bytes()).hexdigest()
    assert len(set(files.values())) == 1, files
