"""One case: a data set is made, broken and read, and every picture of it must be accounted for."""

import contextlib
import math
import os
import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

from models.image import decode_image
from pipeline import presets
from pipeline.config import override
from pipeline.data import archives
from pipeline.data.census import require_usable
from pipeline.data.example_gen_executor import (
    _census_of,
    find_all_inputs,
    read_settings,
    split_rule,
)
from pipeline.data.labelled_image import PICTURE_SUFFIXES
from pipeline.errors import UserError
from pipeline.pipeline import example_gen_of
from tests.fuzz import damage
from tests.fuzz.data_sets import FORMATS

_SECONDS = 20
_CONFIG = presets.load("small_data_cpu")


class Fault(AssertionError):
    """What a case did that none may do."""


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_):
        raise Fault(f"it took more than {_SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run_case(kind: str, seed: int, number: int) -> str:
    """Runs a case.

    Args:
      kind: a format, or "archive".
      seed: of all cases.
      number: of this one.

    Returns:
      "examples" or "reasons".

    Raises:
      Fault: names the case, and what was broken.
    """
    rng = random.Random(f"{seed}/{kind}/{number}")
    scratch = Path(tempfile.mkdtemp())
    broken: list[str] = []
    try:
        with _time_limit():
            run = _archive_case if kind == "archive" else _format_case
            return run(kind, scratch, rng, broken)
    except UserError as error:
        _check_message(str(error), broken)
        return "reasons"
    except Exception as error:
        case = f"{kind} case {number} of seed {seed}"
        raise Fault(f"{case}: {type(error).__name__}: {error}; broken: {broken}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _check_message(message: str, broken: list[str]) -> None:
    if not message.strip() or "Traceback" in message or len(message) > 20_000:
        raise Fault(f"an error that says nothing, or too much: {message[:300]!r}; broken: {broken}")


def _format_case(kind: str, scratch: Path, rng: random.Random, broken: list[str]) -> str:
    root = scratch / "data"
    FORMATS[kind](root, rng)
    least = 0 if kind == "tfrecord" else 1  # its records are made broken, and a broken file is lost
    broken += [damage.folder(root, rng) for _ in range(rng.choice((least, 1, 2, 4)))]
    return _read(root, rng.choice(("auto", kind)))


def _read(root: Path, format_: str) -> str:
    """Reads a folder as ExampleGen does, but for Beam."""
    config = override(_CONFIG, {"data.path": str(root), "data.format": format_})
    example_gen = example_gen_of(config)
    rule = split_rule(read_settings(example_gen.exec_properties))
    inputs = find_all_inputs(example_gen)
    checked = []
    for item in inputs.items:
        for line, image in inputs.read(item):
            checked.append(line)
            if (image is None) != bool(line.kind):
                raise Fault(f"neither an image nor a reason: {line}")
            if line.kind and not (line.reason and "Traceback" not in line.reason):
                raise Fault(f"no reason: {line}")
            if image is not None:
                _check_image(image)
    census = _census_of(checked, inputs, rule)
    _account_for(root, census)
    require_usable(census, rule, 1.0, str(root))
    return "examples"


def _check_image(image) -> None:
    height, width, _ = decode_image(image.encoded).shape
    boxes_are_sound = all(
        math.isfinite(sum(box)) and 0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1
        for box in image.boxes
    )
    named = len(image.names) == len(image.boxes) and all(name.strip() for name in image.names)
    if (image.height, image.width) != (height, width) or not boxes_are_sound or not named:
        raise Fault(f"an unsound image: {image.image_id}, {image.boxes}, {image.names}")


def _account_for(root: Path, census) -> None:
    """Every picture must be an example, or be listed with a reason, or its annotation must be."""
    listed = {os.path.basename(item.picture) for item, _ in census.kept}
    listed |= {os.path.basename(item.picture) for item in census.set_aside}
    listed |= {os.path.basename(item.file) for item in (*census.set_aside, *census.ignored)}
    annotations = {os.path.splitext(os.path.basename(item.file))[0] for item in census.ignored}
    for path in root.rglob("*"):
        is_told = path.name in listed or path.stem in annotations
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file() and not is_told:
            raise Fault(f"nobody says what became of {path.relative_to(root)!s}")


def _archive_case(_: str, scratch: Path, rng: random.Random, broken: list[str]) -> str:
    FORMATS["voc"](scratch / "data", rng)
    kind = rng.choice(("zip", "tar", "gztar", "bztar", "xztar"))
    made = shutil.make_archive(str(scratch / "made"), kind, scratch / "data")
    whole = Path(made).read_bytes()
    for _ in range(rng.choice((1, 1, 3))):
        Path(made).write_bytes(damage.bytes_of(Path(made).read_bytes(), rng))
    broken.append(f"{Path(made).name}, {len(whole)} bytes")
    before = set(scratch.rglob("*"))
    try:
        archives.unpack(Path(made), scratch / "out" / "x", 0.1)
    finally:
        new = set(scratch.rglob("*")) - before
        outside = {path for path in new if not path.is_relative_to(scratch / "out")}
        if outside or (scratch / "out" / ".x.partial").exists():
            raise Fault(f"left outside, or half: {outside}")
    return "examples"
