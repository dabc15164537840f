"""Would this file work in an app? The checks of the DeviceCheck component, without TFX."""

import dataclasses
import hashlib
import itertools
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from models.image import decode_and_resize
from models.labels import parse_labels
from models.tflite.description import LABELS_NAME, problem_with_description
from models.tflite.detector import INPUT_NAME, TFLiteDetector
from models.tflite.inspection import convolutions, post_processing_inputs
from models.tflite.raw import RawDetector

_WARM_UP_RUNS = 5
_SHOWN = 3  # convolutions named in a reason


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits for a file.

    Attributes:
      quantized: requires int8 convolutions and a uint8 input; otherwise a float32 input.
      max_bytes: of the file.
      max_latency_ms: of the median latency; None measures without judging.
      threads: of the interpreter.
      runs: timed inferences.
    """

    quantized: bool = True
    max_bytes: int = 4_000_000
    max_latency_ms: float | None = None
    threads: int = 1
    runs: int = 50


@dataclasses.dataclass(frozen=True)
class Latency:
    """Time of one inference, without decoding and resizing the picture.

    Attributes:
      median_ms: half of the runs were faster.
      p90_ms: nine in ten runs were faster.
      runs: timed inferences; the first few, untimed, warm up.
      threads: of the interpreter.
      cpu: on which it was measured.
    """

    median_ms: float
    p90_ms: float
    runs: int
    threads: int
    cpu: str


@dataclasses.dataclass(frozen=True)
class DeviceReport:
    """What the checks found.

    Attributes:
      sha256: hex digest of the file.
      size_bytes: its size.
      checks: by name, the reason why a check failed, or None if it passed.
      images: number of pictures that the file ran on.
      latency: None if the file does not run.
    """

    sha256: str
    size_bytes: int
    checks: dict[str, str | None]
    images: int
    latency: Latency | None

    @property
    def reasons(self) -> list[str]:
        """Why the file is not blessed; empty if it is."""
        return [f"{name}: {reason}" for name, reason in self.checks.items() if reason]

    @property
    def blessed(self) -> bool:
        """Whether every check passed."""
        return not self.reasons

    def to_json(self) -> dict:
        """Plain values for `json.dump`."""
        return {"blessed": self.blessed, "reasons": self.reasons, **dataclasses.asdict(self)}


class _CheckFailedError(Exception):
    """A check failed; the message says what was expected and what was received."""


def check_detector(
    model: bytes,
    labels_text: str,
    pictures: Sequence[bytes],
    limits: Limits,
    forms: Mapping[str, bytes] | None = None,
) -> DeviceReport:
    """Runs every check that it can; each failure is a reason not to bless.

    Args:
      model: content of the .tflite file.
      labels_text: content of its label file.
      pictures: encoded JPEG or PNG files to run on; without any, a check fails.
      limits: see `Limits`.
      forms: contents of the raw forms by name.
    """
    checks: dict[str, str | None] = {}

    def run(name: str, check: Callable, *args):
        try:
            result = check(*args)
        # The runtime raises the latter two for a broken file, at any point.
        except (_CheckFailedError, ValueError, RuntimeError) as error:
            checks[name] = str(error) or type(error).__name__
            return None
        checks[name] = None
        return result

    run("size", _check_size, model, limits)
    labels = run("labels", parse_labels, labels_text, "the label file")
    run("quantization", _check_convolutions, model, limits)
    detector = run("interface", _check_interface, model, limits)
    if detector is not None and labels is not None:
        run("classes", _check_classes, model, labels)
        if checks["classes"] is None:
            run("metadata", _check_metadata, model, labels_text)
    latency = None
    if detector is not None:
        images = [decode_and_resize(picture, detector.input_size).numpy() for picture in pictures]
        run("outputs", _check_outputs, detector, images, labels)
        if checks["outputs"] is None:
            for name, form in (forms or {}).items():
                if checks.get("metadata", "") is None:
                    run(name, _check_form, form, labels_text, detector.input_size, images)
            latency = measure_latency(detector, images, limits)
            run("latency", _check_latency, latency, limits)
    return DeviceReport(
        sha256=hashlib.sha256(model).hexdigest(),
        size_bytes=len(model),
        checks=checks,
        images=len(pictures),
        latency=latency,
    )


def _check_size(model, limits):
    if len(model) > limits.max_bytes:
        raise _CheckFailedError(
            f"Expected at most {limits.max_bytes} bytes. Received: {len(model)} bytes."
        )


def _check_convolutions(model, limits):
    found = convolutions(model)
    if not found:
        raise _CheckFailedError("Expected convolutions in the file. Received: none.")
    bad = [conv for conv in found if set(conv.dtypes) != {"INT8"}]
    if limits.quantized and bad:
        shown = "; ".join(f"{conv.op} {conv.name} {conv.dtypes}" for conv in bad[:_SHOWN])
        raise _CheckFailedError(
            f"Expected int8 in and out of every convolution. "
            f"Received: {len(bad)} of {len(found)} are not: {shown}."
        )


def _check_interface(model, limits):
    detector = TFLiteDetector(model, num_threads=limits.threads)
    [details] = Interpreter(model_content=model).get_input_details()
    size = detector.input_size
    received = (np.dtype(details["dtype"]).name, details["shape"].tolist())
    expected = ("uint8" if limits.quantized else "float32", [1, size, size, 3])
    if received != expected:
        raise _CheckFailedError(f"Expected {INPUT_NAME} as {expected}. Received: {received}.")
    return detector


def _check_classes(model, labels):
    _, scores = post_processing_inputs(model)
    details = Interpreter(model_content=model).get_tensor_details()
    (known,) = (tensor["shape"][-1] for tensor in details if tensor["index"] == scores)
    if known != len(labels):
        raise _CheckFailedError(
            f"Expected a line of the label file for each class of the file. Received: {known} "
            f"classes and {len(labels)} lines."
        )


def _check_metadata(model, labels_text):
    problem = problem_with_description(model, labels_text)
    if problem:
        raise _CheckFailedError(problem)


def _check_form(raw, labels_text, input_size, images):
    """It says of itself what the file does, and finds possible objects.

    Whether it finds as much, the TFLiteRewriter has compared.
    """
    _check_metadata(raw, labels_text)
    form = RawDetector(raw)
    if form.input_size != input_size:
        raise _CheckFailedError(
            f"Expected pictures of {input_size} pixels. Received: of {form.input_size}."
        )
    for index, image in enumerate(images):
        encodings, scores = form.outputs(image)
        shape = len(form.anchors), len(parse_labels(labels_text, LABELS_NAME))
        possible = np.isfinite(encodings).all() and ((scores >= 0) & (scores <= 1)).all()
        if scores.shape != shape or encodings.shape != (shape[0], 4) or not possible:
            raise _CheckFailedError(
                f"Expected finite boxes and scores from 0 to 1 of {shape[0]} anchors and "
                f"{shape[1]} classes. Received: {encodings.shape}, {scores.shape}, or others "
                f"(on picture {index} of {len(images)})."
            )


def _check_outputs(detector, images, labels):
    if not images:
        raise _CheckFailedError("Expected at least one picture of the eval split. Received: none.")
    for index, image in enumerate(images):
        problem = next(_problems(detector.raw_outputs(image), labels), None)
        if problem:
            raise _CheckFailedError(f"{problem} (on picture {index} of {len(images)}).")


def _problems(outputs, labels) -> Iterator[str]:
    boxes, classes = outputs["detection_boxes"], outputs["detection_classes"]
    scores, count = outputs["detection_scores"], outputs["num_detections"]
    slots = boxes.shape[1] if boxes.ndim == 3 else 0
    expected = [(1, slots, 4), (1, slots), (1, slots), (1,)]
    received = [array.shape for array in (boxes, classes, scores, count)]
    if received != expected:
        yield f"Expected outputs of shapes {expected}. Received: {received}"
        return
    if not 0 <= count[0] <= slots or count[0] != round(float(count[0])):
        yield f"Expected a whole number of detections, 0..{slots}. Received: {count[0]}"
        return
    used = int(count[0])  # the rest is garbage
    boxes, classes, scores = boxes[0, :used], classes[0, :used], scores[0, :used]
    for name, values in (("boxes", boxes), ("classes", classes), ("scores", scores)):
        if not np.isfinite(values).all():
            yield f"Expected finite {name}. Received: {values.tolist()}"
    if (scores < 0).any() or (scores > 1).any() or (np.diff(scores) > 0).any():
        yield f"Expected scores from 1 down to 0. Received: {scores.tolist()}"
    if labels is not None and not np.isin(classes, np.arange(len(labels))).all():
        yield (
            f"Expected class ids 0..{len(labels) - 1}, the lines of the label file. "
            f"Received: {sorted(set(classes.tolist()))}"
        )
    boxes = np.clip(boxes, 0, 1)
    if (boxes[:, :2] > boxes[:, 2:]).any():
        yield f"Expected boxes (ymin, xmin, ymax, xmax). Received: {boxes.tolist()}"


def _check_latency(latency, limits):
    if limits.max_latency_ms is not None and latency.median_ms > limits.max_latency_ms:
        raise _CheckFailedError(
            f"Expected a median of at most {limits.max_latency_ms} ms on {limits.threads} "
            f"thread(s). Received: {latency.median_ms} ms on {latency.cpu}."
        )


def measure_latency(
    detector: TFLiteDetector, images: Sequence[np.ndarray], limits: Limits
) -> Latency:
    """Times inferences on pictures, uint8 [S, S, 3], in turns."""
    cycle = itertools.cycle(images)
    for _ in range(_WARM_UP_RUNS):
        detector.raw_outputs(next(cycle))
    times = []
    for _ in range(limits.runs):
        image = next(cycle)
        start = time.perf_counter()
        detector.raw_outputs(image)
        times.append(1000 * (time.perf_counter() - start))
    return Latency(
        median_ms=round(float(np.median(times)), 3),
        p90_ms=round(float(np.percentile(times, 90)), 3),
        runs=limits.runs,
        threads=limits.threads,
        cpu=cpu_name(),
    )


def cpu_name() -> str:
    """The processor's model name if the system knows it, otherwise its architecture."""
    info = Path("/proc/cpuinfo")
    match = info.exists() and re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
    return match[1] if match else platform.processor() or platform.machine()
