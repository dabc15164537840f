"""The command line: `python -m pipeline.benchmark MODEL [MODEL ...]`."""

import argparse
import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.detect import differences_from_manifest, find_model_file
from pipeline.errors import UserError
from pipeline.files import write_whole

if TYPE_CHECKING:
    from pipeline.benchmark.candidates import Candidate, Origin
    from pipeline.benchmark.scoring import Pictures

# Whether XNNPACK runs a file, and on how many threads; accuracy is measured with the first.
CONFIGURATIONS = ((True, 1), (True, 2), (False, 1), (False, 2))
# Timed in a row, before it is the next file's turn.
_TURN = 5
_PICTURES = 8  # to time with
_EXIT_CODES = "exit codes: 0 measured; 2 nothing could be done; 130 interrupted"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.benchmark",
        description="Compares detectors, ours and other people's, in all forms that are there or "
        "can be made from what is recorded: size, multiply-adds, latency, memory, mAP.",
        epilog=_EXIT_CODES,
    )
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL[=LABELS]",
        help="a pushed version, the folder pushed to, or any .tflite file with the four outputs of "
        "TFLite_Detection_PostProcess; LABELS names its classes, if no file inside or beside does",
    )
    parser.add_argument(
        "--images",
        metavar="FOLDER",
        help="labelled images to evaluate on; default: those of the run that made the first MODEL "
        "with a recorded one",
    )
    parser.add_argument(
        "--class-from",
        choices=("name", "filename"),
        help="of FOLDER: class from each object's label (default), or the picture's file name",
    )
    parser.add_argument("--runs", type=int, default=50, help="timed for each row (%(default)s)")
    parser.add_argument("--out", default="benchmark", help="folder to write to (%(default)s)")
    parser.add_argument("--workdir", default="workdir", help="of the local runner (workdir)")
    parser.add_argument(
        "--metadata",
        metavar="FILE_OR_URL",
        help="the store that records the runs (WORKDIR/metadata.sqlite)",
    )
    return parser.parse_args(argv)


def _benchmark(options: argparse.Namespace) -> None:
    if options.runs < 1:
        raise UserError(f"Expected --runs to be at least 1. Received: {options.runs}.")
    if options.class_from and not options.images:
        raise UserError(
            "Expected --class-from together with --images. Received: it alone; it would be ignored."
        )
    given = [_model_of(text) for text in options.models]
    # Loads TensorFlow and TFX.
    from pipeline.benchmark.candidates import forms_beside, read_candidate
    from pipeline.benchmark.scoring import pictures_in, pictures_of_run

    notes: list[str] = []
    groups = []
    for name, path, labels in given:
        first = read_candidate(name, path, labels)
        groups.append([first, *forms_beside(first)])
        if not first.labels:
            notes.append(
                f"no labels for the {first.interface.num_classes} classes of {name}, hence no mAP: "
                "name them as MODEL=LABELS"
            )
    out = Path(options.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Expected --out to be a folder to write to. Received: {error}") from error
    location = options.metadata or os.path.join(options.workdir, "metadata.sqlite")
    origins = [_origin_of(group[0], location, notes) for group in groups]
    pictures = None
    if options.images:
        pictures = pictures_in(options.images, options.class_from or "name")
    elif known := [origin for origin in origins if origin]:
        try:
            pictures = pictures_of_run(known[0])
        except UserError as error:
            notes.append(str(error))
    with tempfile.TemporaryDirectory(prefix="detector-benchmark-") as folder:
        for number, (group, origin) in enumerate(zip(groups, origins, strict=True)):
            if origin:
                group += _made(group[0], origin, Path(folder, str(number)), notes)
        candidates = [candidate for group in groups for candidate in group]
        results = _measure(candidates, pictures, options.runs)
        results["phone"] = _measure_on_phone(candidates, options.runs, notes)
    results["notes"] = notes
    _write(results, out)


def _model_of(text: str) -> tuple[str, Path, str]:
    """The name, file and labels of a MODEL[=LABELS]."""
    model, equals, labels = text.rpartition("=")
    if not equals or os.path.exists(text):
        model, labels = text, ""
    path = find_model_file(model).resolve()
    if labels and not os.path.isfile(labels):
        raise UserError(f"Expected a file of labels behind {model}=. Received: {labels!r}.")
    for difference in differences_from_manifest(path):
        print(f"WARNING: {difference}", file=sys.stderr)
    return model.rstrip("/"), path, labels


def _origin_of(candidate: "Candidate", location: str, notes: list[str]) -> "Origin | None":
    from pipeline.benchmark.candidates import find_origin
    from pipeline.lineage.subject import NotFoundError

    try:
        with _without_output():
            return find_origin(candidate.path, location)
    except NotFoundError:
        why = f"it is not in {location}"
    except UserError as error:
        why = str(error)
    notes.append(f"of {candidate.model}, only the forms that lie there are measured: {why}")
    return None


def _made(
    first: "Candidate", origin: "Origin", folder: Path, notes: list[str]
) -> "list[Candidate]":
    from pipeline.benchmark.candidates import make_float_forms

    folder.mkdir()
    try:
        with _without_output():
            return list(make_float_forms(first, origin, folder))
    except UserError as error:
        notes.append(str(error))
        return []


@contextlib.contextmanager
def _without_output() -> Iterator[None]:
    """Silences native code, such as ML Metadata's and the converter's."""
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        for target in (1, 2):
            os.dup2(nowhere, target)
        yield
    finally:
        for target, source in zip((1, 2), kept, strict=True):
            os.dup2(source, target)
            os.close(source)
        os.close(nowhere)


def _measure(
    candidates: "Sequence[Candidate]", pictures: "Pictures | None", runs: int
) -> dict[str, Any]:
    """Times all files in turns, so that what else the machine does falls on all alike."""
    import numpy as np
    from ai_edge_litert import __version__ as runtime
    from rich.console import Console
    from rich.progress import track

    from models.tflite.detector import as_input
    from pipeline.benchmark.scoring import FIGURES, first_images, score
    from pipeline.benchmark.worker import Worker
    from pipeline.shipping.app_check import cpu_name

    # Where there is no terminal, progress would be an empty line.
    console = Console(stderr=True, highlight=False, quiet=not sys.stderr.isatty())
    progress = {"console": console, "transient": True}
    rows = [(n, at) for n in range(len(candidates)) for at in CONFIGURATIONS]
    with contextlib.ExitStack() as stack:
        workers = {}
        for n, (xnnpack, threads) in track(rows, "opening", **progress):
            candidate = candidates[n]
            interface = candidate.interface
            images = first_images(pictures, _PICTURES, interface.input_size)
            taken = [as_input(image, interface.dtype) for image in images]
            worker = Worker(candidate.path, interface.outputs, taken, threads, xnnpack)
            workers[n, (xnnpack, threads)] = stack.enter_context(worker)
        times: dict[Any, list[float]] = {row: [] for row in rows}
        turns = [min(_TURN, runs - done) for done in range(0, runs, _TURN)]
        for turn in track(turns, "timing", **progress):
            for row in rows:
                times[row] += workers[row].time(turn)
        peaks = {row: workers[row].peak_bytes() for row in rows}
        figures = {}
        if pictures is not None:
            scored = {n: each for n, each in enumerate(candidates) if each.labels}
            with_first = {n: workers[n, CONFIGURATIONS[0]] for n in scored}
            figures = score(scored, with_first, track(pictures.pictures, "evaluating", **progress))
    medians = {row: float(np.median(found)) for row, found in times.items()}
    files = []
    for n, candidate in enumerate(candidates):
        content = candidate.path.read_bytes()
        interface = candidate.interface
        files.append({
            "model": candidate.model,
            "form": interface.form,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
            "input_size": interface.input_size,
            "classes": interface.num_classes,
            "multiply_adds": interface.multiply_adds,
            **(figures.get(n) or dict.fromkeys(FIGURES)),
            "latency": [
                {
                    "xnnpack": at[0],
                    "threads": at[1],
                    "median_ms": round(medians[n, at], 4),
                    "p90_ms": round(float(np.percentile(times[n, at], 90)), 4),
                    "times_first": round(medians[n, at] / medians[0, at], 4),
                    "peak_bytes": peaks[n, at],
                }
                for at in CONFIGURATIONS
            ],
        })  # fmt: skip
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "runtime": f"ai-edge-litert {runtime}",
        "runs": runs,
        "pictures": pictures.source if pictures else None,
        "files": files,
    }


def _measure_on_phone(
    candidates: "Sequence[Candidate]", runs: int, notes: list[str]
) -> dict[str, Any] | None:
    from pipeline.benchmark.phone import PhoneError, find_phone, measure

    files: list[dict[str, Any]] = []
    phone = None
    try:
        phone = find_phone()
        for candidate in candidates if phone else ():
            latency = measure(phone, candidate.path, CONFIGURATIONS, runs)
            files.append(
                {"model": candidate.model, "form": candidate.interface.form, "latency": latency}
            )
    except PhoneError as error:  # what was measured so far stays
        notes.append(str(error))
    return {"name": phone.name, "files": files} if files else None


def _write(results: dict[str, Any], out: Path) -> None:
    from pipeline.benchmark.results import JSON_FILE, PICTURE_FILE, as_table, draw
    from pipeline.lineage.tables import escaped, print_lines

    print_lines(as_table(results))
    print()
    print(
        f"{results['cpu']}, {results['cores']} cores, {results['runtime']}, {results['runs']} runs "
        "a row in turns; raw forms without their post-processing."
    )
    print(escaped(f"mAP:      on {results['pictures'] or 'no images: name some with --images'}"))
    picture = io.BytesIO()
    draw(results, picture)
    write_whole(out / PICTURE_FILE, picture.getvalue())
    write_whole(out / JSON_FILE, json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    print(f"Picture:  {out / PICTURE_FILE}")
    print(f"As JSON:  {out / JSON_FILE}")
    for note in results["notes"]:
        print(escaped(f"note: {note}"), file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    options = _parse(argv)
    # Before TensorFlow is imported, which otherwise prints a page of messages.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        _benchmark(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print()
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
