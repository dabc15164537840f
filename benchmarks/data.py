"""The components on thousands of photographs: images a second, and memory, beside plain loops.

    python -m benchmarks.data PICTURES [--counts 2000 20000] [--steps 20] [--set ...]

PICTURES is a Pascal VOC folder whose classes are in the file names. Sets of the given sizes are
made of its pictures, each copy with a comment of its own in the JPEG: no two files have one hash.
Every set goes through a whole run of `local_runner.py`, in a process of its own whose resident
memory is sampled. Rates are net of start-up: of what a set takes longer than one of 64 pictures.
Where other programs use the machine, too, the processors' time says more than the clock. The plain
loops run in this process, right before: a converter to TFRecords (parse the XML, look at
the picture's first bytes, hash, make a tf.Example, write), and `tf.data` that decodes every picture
and resizes it to canvas and input.

Measured in November 2026 on two x86 cores that nine other programs used, too, with 2,000 pictures
of pets (178 MB); `was` is the same before pictures went from file to file:

                                     now    was   plain loop
    ExampleGen, images/s             472    164   990           (was: beside 3,792)
      by the processors' time      1,429          2,511         (2,000 to 3,800 in other runs)
    Transform, images/s              115     36   163           (was: beside 227)
      by the processors' time        542          374
    its output                    145 MB  1,061 MB

Largest memory of 2,000 and of 20,000 pictures while a component ran: ExampleGen 1.11 and 1.16 GB,
StatisticsGen 1.32 and 1.39, Transform 1.38 and 1.52, Trainer 3.34 and 3.17; of the Evaluator by
itself 1.31 and 1.52 GB, for 447 and 4,000 pictures. What is left grows with the lists of images and
of detections, 3 kB an image in ExampleGen. The Trainer keeps the training files in memory as long
as they are below 0.3 of it.
"""

import argparse
import contextlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import tensorflow as tf

from models.image import decode_image, resize
from pipeline import presets
from pipeline.data.checks import sniff_format
from pipeline.data.labelled_image import LabelledImage
from pipeline.data.raw_example import to_example
from pipeline.data.readers.voc_annotation import parse_annotation

_SMALL = 64
_PRESET = "small_data_cpu"
# What local_runner.py prints when a component starts and ends.
_STARTS, _ENDS = re.compile(r"^(\w+) \.\.\.$"), re.compile(r"^(\w+): ([\d.]+) s$")


class Component(NamedTuple):
    """What a component took.

    Attributes:
      seconds: by the clock.
      processor: seconds of all cores together.
      megabytes: the largest resident memory of the process meanwhile.
    """

    seconds: float
    processor: float
    megabytes: float


def make_set(source: Path, folder: Path, count: int) -> None:
    """Writes `count` pictures with their annotations, no two of them alike.

    Args:
      source: Pascal VOC folder with `images/*.jpg` and `annotations/xmls/*.xml`.
      folder: to write to, in the same layout.
      count: of the pictures; they repeat the source's in turns.
    """
    images, xmls = folder / "images", folder / "annotations" / "xmls"
    images.mkdir(parents=True)
    xmls.mkdir(parents=True)
    annotations = sorted((source / "annotations" / "xmls").glob("*.xml"))
    for number, annotation in zip(range(count), itertools.cycle(annotations), strict=False):
        picture = (source / "images" / f"{annotation.stem}.jpg").read_bytes()
        name = f"{annotation.stem.rpartition('_')[0]}_{number}"
        (images / f"{name}.jpg").write_bytes(with_comment(picture, f"copy {number}".encode()))
        filename = f"<filename>{annotation.stem}.jpg</filename>"
        text = annotation.read_text().replace(filename, f"<filename>{name}.jpg</filename>")
        (xmls / f"{name}.xml").write_text(text)


def with_comment(jpeg: bytes, comment: bytes) -> bytes:
    """The same picture in another file: a comment segment follows the first marker."""
    length = (len(comment) + 2).to_bytes(2, "big")
    return jpeg[:2] + b"\xff\xfe" + length + comment + jpeg[2:]


def convert(folder: Path, target: str) -> None:
    """The plain converter: an annotation and its picture to a tf.Example, one after the other."""
    with tf.io.TFRecordWriter(target) as writer:
        for path in sorted((folder / "annotations" / "xmls").glob("*.xml")):
            annotation = parse_annotation(path.read_bytes())
            encoded = (folder / "images" / annotation.filename).read_bytes()
            width, height = annotation.size
            image = LabelledImage(
                image_id=path.stem,
                filename=annotation.filename,
                encoded=encoded,
                image_format=sniff_format(encoded),
                height=height,
                width=width,
                boxes=tuple(found.normalised(width, height) for found in annotation.objects),
                names=tuple(found.name for found in annotation.objects),
            )
            writer.write(to_example(image).SerializeToString())


def decode_and_resize_all(folder: Path, canvas_size: int, input_size: int) -> None:
    """The plain loop: every picture decoded, and resized to the canvas and to the input."""

    def views(path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = decode_image(tf.io.read_file(path))
        return resize(image, canvas_size), resize(image, input_size)

    files = tf.data.Dataset.list_files(str(folder / "images" / "*.jpg"), shuffle=False)
    for _ in files.map(views, num_parallel_calls=tf.data.AUTOTUNE).batch(32).prefetch(2):
        pass


def run(folder: Path, workdir: Path, arguments: list[str]) -> dict[str, Component]:
    """Runs the pipeline on a set; what each component took, and `all` of it."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [
            *(sys.executable, "local_runner.py", "--data", str(folder), "--class-from", "filename"),
            *("--workdir", str(workdir), "--preset", _PRESET, *arguments),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    found = dict(_components(process))
    if process.wait() not in (0, 3):  # pushed, or not blessed
        raise SystemExit(f"local_runner.py ended with {process.returncode}: see {workdir}/runs")
    processor = sum(component.processor for component in found.values())
    most = max(component.megabytes for component in found.values())
    return found | {"all": Component(time.perf_counter() - started, processor, most)}


def _components(process: subprocess.Popen) -> Iterator[tuple[str, Component]]:
    watched, peak = psutil.Process(process.pid), [0.0]

    def sample() -> None:
        with contextlib.suppress(psutil.Error):
            while process.poll() is None:
                peak[0] = max(peak[0], watched.memory_info().rss / 1e6)
                time.sleep(0.02)

    def processor() -> float:
        times = watched.cpu_times()
        return times.user + times.system

    threading.Thread(target=sample, daemon=True).start()
    begun = 0.0
    for line in process.stdout:
        print(f"    {line}", end="", flush=True)
        if _STARTS.match(line):
            peak[0], begun = 0.0, processor()
        if match := _ENDS.match(line):
            yield match[1], Component(float(match[2]), processor() - begun, peak[0])


def seconds(function: Callable[..., None], *arguments: Any) -> tuple[float, float]:
    """Of one call: by the clock, and of all cores together."""
    clock, processor = time.perf_counter(), time.process_time()
    function(*arguments)
    return time.perf_counter() - clock, time.process_time() - processor


def size(folder: Path) -> int:
    """Bytes of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _compared(
    name: str, count: int, took: Component, start_up: Component, plain: tuple[float, float] | None
) -> str:
    """The rates net of start-up, by the clock and by the processors, beside the plain loop's."""
    if plain is None:
        return ""
    images = count - _SMALL
    by_clock = images / max(took.seconds - start_up.seconds, 1e-9)
    # As if all cores had been free all the time. The converter uses one.
    cores = os.cpu_count()
    by_processor = cores * images / max(took.processor - start_up.processor, 1e-9)
    loops = count / plain[0], count / plain[1] * (cores if name == "Transform" else 1)
    return (
        f"; {by_clock:.0f} images/s, the plain loop {loops[0]:.0f}: {by_clock / loops[0]:.2f}; by "
        f"the processors' time {by_processor:.0f} and {loops[1]:.0f}: "
        f"{by_processor / loops[1]:.2f}"
    )


def main() -> None:
    """Measures, and prints a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[2000])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--set", nargs="+", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--keep", type=Path, help="a folder for sets and runs that stay")
    options = parser.parse_args()
    preset = presets.load(_PRESET)
    arguments = [
        *("--set", "training.warmup_steps=0", f"training.steps={options.steps}"),
        f"training.eval_every={options.steps}",
        *(f"training.quantization_delay={options.steps // 2}", "evaluation.min_map50=0.0001"),
        *options.set,
    ]
    root = options.keep or Path(tempfile.mkdtemp())
    results: dict[int, dict[str, Component]] = {}
    for count in [_SMALL, *options.counts]:
        folder, workdir = root / f"set_{count}", root / f"run_{count}"
        shutil.rmtree(workdir, ignore_errors=True)
        if not folder.exists():
            make_set(options.pictures, folder, count)
        plain = {}
        if count != _SMALL:
            plain["ExampleGen"] = seconds(convert, folder, str(root / "plain.record"))
            sizes = preset.transform.canvas_size, preset.model.input_size
            plain["Transform"] = seconds(decode_and_resize_all, folder, *sizes)
        results[count] = run(folder, workdir, arguments)
        for name, component in results[count].items():
            print(
                f"{count:6d} {name:16s} {component.seconds:7.1f} s, of processors "
                f"{component.processor:6.1f} s, {component.megabytes:6.0f} MB"
                + _compared(name, count, component, results[_SMALL][name], plain.get(name)),
                flush=True,
            )
        pictures = size(folder / "images")
        raw = size(workdir / "pipeline_root" / "ExampleGen")
        transformed = size(workdir / "pipeline_root" / "Transform" / "transformed_examples")
        print(
            f"{count:6d} pictures {pictures / 1e6:.0f} MB, examples {raw / 1e6:.0f} MB, "
            f"transformed {transformed / 1e6:.0f} MB: {transformed / pictures:.2f} of the pictures"
        )
    if not options.keep:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
