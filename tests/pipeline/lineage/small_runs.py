"""Runs several small pipelines in one process and notes what it did, beside the metadata.

    python small_runs.py PROJECT WORKDIR STORE NOTES.json [first]

PROJECT is a copy of the project, because one of the runs edits its code; for the first run alone it
may be the project itself. Nothing in the notes comes from the metadata store: they hold the state
of the folders, the flags, and summary.json.
"""

import functools
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SETTINGS = (
    "model.input_size=96",
    "transform.canvas_size=96",
    "model.depth_multiplier=0.25",
    "quantization=none",
    "training.batch_size=4",
    "training.steps=4",
    "training.warmup_steps=1",
    "training.learning_rate=0.01",
    "training.eval_every=4",
    # These find something after four steps.
    "training.matching=iou",
    "training.class_loss=focal",
    "training.box_loss=smooth_l1",
    "training.localization_weight=0.3",
    "augmentation.crop_probability=0",
    "augmentation.zoom_out_probability=0",
    "rewriter.num_images=2",
    "device.num_images=2",
    "evaluation.min_map50=0.000001",
    "post_processing.score_threshold=0.001",
    "evaluation.max_drop=1",
)
XML = """<annotation><filename>{name}.png</filename>
<size><width>96</width><height>96</height></size>
<object><name>square</name><bndbox><xmin>{x}</xmin><ymin>16</ymin><xmax>{right}</xmax>
<ymax>80</ymax></bndbox></object><object><name>square</name><bndbox><xmin>1</xmin><ymin>1</ymin>
<xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>"""
NUM_IMAGES = 24
REMOVED, CHANGED, ADDED, BROKEN = "image_03", "image_05", "image_90", "image_91"


def add_image(folder: Path, name: str, seed: int) -> None:
    """A bright square on noise, and an invisible one, so that no model finds everything."""
    pixels = np.random.default_rng(seed).integers(0, 60, (96, 96, 3), np.uint8)
    x = 12 + seed % 8
    pixels[16:80, x : x + 64] = (250, 240, 30)
    Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
    annotation = XML.format(name=name, x=x, right=x + 64)
    (folder / "annotations" / "xmls" / f"{name}.xml").write_text(annotation)


def make_data(folder: Path) -> None:
    """A VOC folder with `NUM_IMAGES`."""
    for name in ("images", "annotations/xmls"):
        (folder / name).mkdir(parents=True)
    for number in range(NUM_IMAGES):
        add_image(folder, f"image_{number:02}", number)


def change_data(folder: Path) -> None:
    """One image removed, one redrawn, one added, one added that nobody can read."""
    for suffix, inner in ((".png", "images"), (".xml", "annotations/xmls")):
        (folder / inner / f"{REMOVED}{suffix}").unlink()
    add_image(folder, CHANGED, 1005)
    add_image(folder, ADDED, 90)
    add_image(folder, BROKEN, 91)
    (folder / "images" / f"{BROKEN}.png").write_bytes(b"no picture")


def sha256s(folder: Path) -> dict[str, str]:
    """Of all files of a folder by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def train_without_tracing() -> None:
    """A training of so few steps spends its time on tracing them otherwise."""
    import keras

    keras.Model.compile = functools.partialmethod(keras.Model.compile, run_eagerly=True)


class Runner:
    """Runs the pipeline in this process, and notes."""

    def __init__(self, project: Path, workdir: Path, store: str, notes: Path):
        self.project, self.workdir, self.store, self.notes_file = project, workdir, store, notes
        self.data = workdir / "voc"
        self.notes: dict[str, dict] = {}

    def run(self, name: str, *settings: str, warm_start: str | None = None) -> dict:
        """One run; returns its notes."""
        import local_runner
        from pipeline import fingerprint

        fingerprint.code_fingerprint.cache_clear()
        arguments = ["--workdir", str(self.workdir / "workdir"), "--data", str(self.data),
                     "--metadata", self.store, "--preset", "small_data_cpu"]  # fmt: skip
        for setting in (*SETTINGS, "data.max_set_aside=0.1", *settings):
            arguments += ["--set", setting]
        if warm_start:
            arguments += ["--warm-start", warm_start]
        code = local_runner.main(arguments)
        if code not in (0, 3):
            raise SystemExit(f"the run {name!r} failed with exit code {code}")
        folder = (self.workdir / "workdir" / "latest_run").resolve()
        summary = json.loads((folder / "summary.json").read_text())
        pushed = summary["pushed_path"]
        self.notes[name] = {
            "exit_code": code,
            "settings": settings,
            "images": sha256s(self.data / "images"),
            "summary": summary,
            "trainer_model": warm_start,
            "pushed_files": sha256s(Path(pushed)) if pushed else {},
            "latest": os.path.realpath(self.workdir / "workdir" / "pushed" / "latest"),
        }
        self.notes_file.write_text(json.dumps(self.notes, indent=1))
        return self.notes[name]

    def trainer_model(self, note: dict) -> str:
        """The folder of the model that a run's Trainer made."""
        execution = note["summary"]["components"]["Trainer"]["execution_id"]
        models = self.workdir / "workdir" / "pipeline_root" / "Trainer" / "model"
        return str(models / str(execution))

    def edit(self, file: str) -> None:
        """Adds a comment to the code."""
        with open(self.project / file, "a") as code:
            code.write("# edited\n")


def main() -> None:
    """All runs, or the first alone."""
    project, workdir, notes = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[4])
    sys.path.insert(0, str(project))
    train_without_tracing()
    runner = Runner(project, workdir, sys.argv[3], notes)
    make_data(runner.data)
    first = runner.run("first")
    if sys.argv[5:] == ["first"]:
        return
    runner.run("again")
    runner.run("setting", "training.seed=7")
    runner.edit("pipeline/shipping/device_check.py")
    runner.run("code", "training.seed=7")
    change_data(runner.data)
    runner.run("data", "training.seed=7")
    # A copy: that it is the first run's model is told by its content alone.
    copy = workdir / "copy"
    shutil.copytree(runner.trainer_model(first), copy)
    runner.run("warm", "training.seed=8", warm_start=str(copy))
    runner.run("refused", "training.seed=7", "evaluation.min_map50=1.0")
    # Only the rewriter runs again: another file of the model that the run `data` trained.
    again = ("rewriter.num_images=3", "evaluation.min_map50=1.0")
    runner.run("rewritten", "training.seed=7", *again)


if __name__ == "__main__":
    main()
