"""How good a preset is: k-fold cross-validation of the whole pipeline, with its spread.

    python -m benchmarks.accuracy DATA [--recipe 'NAME: FLAGS'] [--peer 'FILE.tflite LABELS.txt']

DATA is a folder of labelled images in any format that `local_runner.py` reads. All that are usable,
but for the data's own test images, are dealt into folds by a hash of their ids. For each fold, seed
and recipe the local runner trains on the other folds and judges the .tflite that would ship on
this one; nothing here scores that file again. A recipe is a name and flags of `local_runner.py`, as
in 'coco: --preset small_data_cpu --warm-start coco.tflite --set training.steps=800'; several
recipes run in turns. A peer is somebody else's detector with the four outputs of
`TFLite_Detection_PostProcess`; it is scored on the pictures of each fold by the same metric. If it
was trained on some of them, its figures are too good.

A run that finished is not run again: the same command resumes after an interruption. The gate is
off, and nothing is pushed anywhere but into the work folder.
"""

import argparse
import hashlib
import json
import os
import shlex
import subprocess
import sys
import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

# The Evaluator blesses nothing without a threshold.
_UNGATED = ("evaluation.min_map50=0.000001", "evaluation.max_drop=1")
_FINISHED = (0, 3)  # pushed, not blessed
_WORST = 3


class Result(NamedTuple):
    """One file on one fold: COCO's figures in 0..1, bytes, milliseconds and seconds."""

    map50: float
    map: float
    classes: Mapping[str, float]
    size_bytes: int
    latency_ms: float
    seconds: float


def folds(ids: Iterable[str], count: int) -> list[list[str]]:
    """Deals image ids into folds of equal size; an id's fold hangs on the set of ids alone."""
    ordered = sorted(ids, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return [sorted(ordered[fold::count]) for fold in range(count)]


def image_ids(data: Path) -> set[str]:
    """The ids of the labelled images in a folder that may be trained on."""
    from pipeline.data.readers.detection import Source, find_inputs
    from pipeline.data.split import TEST
    from pipeline.settings import DataSettings

    inputs = find_inputs(
        str(data.resolve()), [Source("")], max_megapixels=DataSettings().max_megapixels
    )
    found = (line for item in inputs.items for line, image in inputs.read(item) if image)
    # The split of the data itself names the side in the ids; with lists, the ids have none.
    return {line.image_id.removeprefix(f"{line.side}/") for line in found if line.side != TEST}


def write_lists(data: Path, folder: Path, count: int) -> list[list[str]]:
    """Writes `train_K.txt` and `eval_K.txt` for each fold K, and returns the folds."""
    dealt = folds(image_ids(data), count)
    if not all(dealt):
        raise SystemExit(
            f"error: expected at least {count} usable images. Received: {sum(map(len, dealt))} in "
            f"{data}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    for number, held_out in enumerate(dealt):
        others = [name for fold in dealt if fold is not held_out for name in fold]
        (folder / f"train_{number}.txt").write_text("\n".join(others) + "\n")
        (folder / f"eval_{number}.txt").write_text("\n".join(held_out) + "\n")
    return dealt


def run(flags: list[str], workdir: Path, lists: Path, fold: int, seed: int, data: Path) -> Path:
    """Trains and judges once, unless that is done; returns the folder of the finished run."""
    settings = [*_UNGATED, f"training.seed={seed}"]
    command = [
        *(sys.executable, "local_runner.py", "--workdir", str(workdir), "--data", str(data)),
        *("--train", str(lists / f"train_{fold}.txt"), "--eval", str(lists / f"eval_{fold}.txt")),
        *flags,
        *("--set", *settings),
    ]
    done = workdir / "command.json"
    if done.is_file() and json.loads(done.read_text()) == command:
        return workdir / "latest_run"
    workdir.mkdir(parents=True, exist_ok=True)
    with open(workdir / "output.txt", "w") as output:
        finished = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    if finished.returncode not in _FINISHED:
        raise SystemExit(f"error: the run failed: see {workdir / 'output.txt'}")
    done.write_text(json.dumps(command))
    return workdir / "latest_run"


def read_result(folder: Path) -> Result:
    """What the pipeline's Evaluator and DeviceCheck said of a run's .tflite."""
    summary = json.loads((folder / "summary.json").read_text())
    metrics = summary["metrics"]
    return Result(
        metrics["mAP50"],
        metrics["mAP"],
        {name: figures.get("AP50", np.nan) for name, figures in metrics["per_class"].items()},
        summary["size_bytes"],
        summary["latency_ms"],
        summary["seconds"],
    )


def eval_pictures(folder: Path) -> list[tuple[bytes, np.ndarray, list[str]]]:
    """(picture, boxes float32 [n, 4], class names) of a run's evaluation split, by image id."""
    import tensorflow as tf

    summary = json.loads((folder / "summary.json").read_text())
    files = sorted(Path(summary["images"]["reports"], "Split-eval").iterdir())
    found = []
    for record in tf.data.TFRecordDataset([str(file) for file in files]):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        sides = [
            features[f"image/object/bbox/{side}"].float_list.value
            for side in ("ymin", "xmin", "ymax", "xmax")
        ]
        boxes = np.stack([np.asarray(side, np.float32) for side in sides], axis=-1)
        names = [name.decode() for name in features["image/object/class/text"].bytes_list.value]
        name = features["image/source_id"].bytes_list.value[0]
        picture = features["image/encoded"].bytes_list.value[0]
        found.append((name, picture, boxes, names))
    return [entry[1:] for entry in sorted(found, key=lambda entry: entry[0])]


def score_peer(model: Path, labels: Path, pictures: list) -> Result:
    """Scores somebody else's file; classes that the pictures do not show cost it nothing."""
    from models.image import decode_and_resize
    from models.training.coco import coco_metrics

    known = labels.read_text().splitlines()
    names = sorted({name for _, _, shown in pictures for name in shown})
    of_label = {number: names.index(name) for number, name in enumerate(known) if name in names}
    detect, size = _peer(model)
    times, detections, groundtruth = [], [], []
    for encoded, boxes, shown in pictures:
        image = decode_and_resize(encoded, size).numpy()
        started = time.perf_counter()
        found_boxes, class_ids, scores = detect(image)
        times.append(1000 * (time.perf_counter() - started))
        kept = [row for row, class_id in enumerate(class_ids) if int(class_id) in of_label]
        mapped = np.array([of_label[int(class_ids[row])] for row in kept], np.int32)
        detections.append((found_boxes[kept], mapped, scores[kept]))
        groundtruth.append((boxes, np.array([names.index(name) for name in shown], np.int32)))
    metrics = coco_metrics(groundtruth, detections, names)
    return Result(
        metrics["mAP50"],
        metrics["mAP"],
        {name: metrics[f"AP50/{name}"] for name in names},
        model.stat().st_size,
        float(np.median(times)),
        0.0,
    )


def _peer(model: Path):
    """A function of a picture, uint8 [S, S, 3], that gives boxes, class ids and scores; and S."""
    from models.tflite.detector import as_input
    from models.tflite.interface import read_interface
    from pipeline.benchmark.worker import open_file

    interface = read_interface(model.read_bytes(), str(model))
    interpreter = open_file(str(model), threads=1, xnnpack=True)
    taken = interpreter.get_input_details()[0]["index"]

    def detect(image: np.ndarray):
        interpreter.set_tensor(taken, as_input(image, interface.dtype))
        interpreter.invoke()
        return interface.detections([interpreter.get_tensor(at) for at in interface.outputs])

    return detect, interface.input_size


def table(results: Mapping[str, list[Result]]) -> str:
    """Mean and standard deviation over folds and seeds, and the extremes of mAP@.5."""
    lines = [
        f"{'':24} {'mAP@.5':>16} {'least..most':>14} {'mAP@[.5:.95]':>16} {'MB':>6} {'ms':>6} "
        f"{'minutes':>8}  weakest classes by AP@.5"
    ]
    for name, rows in results.items():
        map50, map_ = (np.array([getattr(row, key) for row in rows]) for key in ("map50", "map"))
        latency, seconds = np.median([row.latency_ms for row in rows]), rows[0].seconds
        minutes = f"{np.mean([row.seconds for row in rows]) / 60:8.1f}" if seconds else f"{'':8}"
        classes = {key: np.nanmean([row.classes.get(key, np.nan) for row in rows])
                   for key in sorted({key for row in rows for key in row.classes})}  # fmt: skip
        weakest = sorted(classes, key=classes.get)[:_WORST]
        lines.append(
            f"{name:24} {map50.mean():8.3f} ± {map50.std():.3f} "
            f"{map50.min():6.3f}..{map50.max():.3f} {map_.mean():8.3f} ± {map_.std():.3f} "
            f"{np.mean([row.size_bytes for row in rows]) / 1e6:6.2f} {latency:6.1f} {minutes}  "
            + ", ".join(f"{key} {classes[key]:.3f}" for key in weakest)
        )
    return "\n".join(lines)


def main() -> None:
    """Runs all that is missing, says what each run gave, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--recipe", action="append", default=[], metavar="'NAME: FLAGS'",
        help="default: what the local runner does by itself",
    )  # fmt: skip
    parser.add_argument("--common", default="", metavar="FLAGS", help="flags of all recipes")
    parser.add_argument("--peer", action="append", default=[], metavar="'FILE LABELS'")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--only-folds", type=int, nargs="+", metavar="K", help="default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--work", type=Path, default=Path("workdir/accuracy"))
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=FutureWarning)  # Google's client, of Python's age
    recipes = dict(recipe.split(":", 1) for recipe in options.recipe or ["default:"])
    lists = options.work / "folds"
    write_lists(options.data, lists, options.folds)
    results: dict[str, list[Result]] = {}
    for seed in options.seeds:
        for fold in options.only_folds or range(options.folds):
            for name, flags in recipes.items():
                workdir = options.work / f"{name.strip()}_seed{seed}_fold{fold}"
                given = shlex.split(options.common) + shlex.split(flags)
                folder = run(given, workdir, lists, fold, seed, options.data)
                result = read_result(folder)
                results.setdefault(name.strip(), []).append(result)
                print(
                    f"{name.strip()} seed {seed} fold {fold}: mAP@.5 {result.map50:.3f}, "
                    f"mAP@[.5:.95] {result.map:.3f}, {result.seconds / 60:.1f} min",
                    flush=True,
                )
            for peer in options.peer if seed == options.seeds[0] else ():
                model, labels = map(Path, shlex.split(peer))
                scored = score_peer(model, labels, eval_pictures(folder))
                results.setdefault(model.stem, []).append(scored)
    print(f"\n{options.data.name}: {options.folds} folds, seeds {options.seeds}\n{table(results)}")


if __name__ == "__main__":
    main()
