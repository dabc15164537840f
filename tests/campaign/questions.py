"""All questions of the lineage, each answer beside the notes."""

import contextlib
import io
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files import LATEST
from pipeline.lineage import Backend, diff, impact, runs, trace, verify, why
from pipeline.lineage.export import export
from pipeline.lineage.graph import draw
from pipeline.lineage.images import images_of
from pipeline.lineage.tables import show
from tests.campaign.notes import Notes, sha256_of

# The states that `runs` may give for the exit codes; None is a run that was killed. A run may be
# interrupted after its push, at its report: the file is out.
_STATES = {0: ("pushed",), 3: ("not_blessed",), 1: ("failed",), 130: ("failed", "pushed")}
_KILLED = ("running", "failed", "pushed", "not_blessed")


def ask_everything(
    backend: Backend, notes: Notes, workdir: Path, data: Path, chance: random.Random
) -> Iterator[tuple[str, str | None]]:
    """Asks, and compares.

    Args:
      backend: the store.
      notes: what the answers should be.
      workdir: of the runs.
      data: the folder of pictures: what changed in there is no damage.
      chance: chooses the picture and the runs.

    Yields:
      Each question with what is wrong with its answer, or None.
    """
    questions: list[tuple[str, Callable[[], str | None]]] = [
        ("runs", lambda: _runs(backend, notes))
    ]
    latest = served(workdir)
    if latest.exists():
        questions.append(("trace", lambda: _trace(backend, notes, latest)))
        questions.append(("graph", lambda: _graph(backend, notes, latest)))
        questions.append(("export", lambda: _export(backend, latest)))
        questions.append(("verify", lambda: _verify(backend, notes, workdir, data)))
    if notes.finished():
        picture = chance.choice(notes.pictures())
        questions.append((f"impact {picture[:12]}", lambda: _impact(backend, notes, picture)))
        before, after = chance.choices(notes.finished(), k=2)
        questions.append((f"diff {before} {after}", lambda: _diff(backend, notes, before, after)))
        questions.append((f"why {after}", lambda: shown(why(backend, after)) and None))
    for question, answer in questions:
        try:
            yield question, answer()
        except UserError as error:
            yield question, f"error: {error}"
        except Exception as error:  # a trace where a user expects an answer
            yield question, f"{type(error).__name__}: {error}"


def _runs(backend: Backend, notes: Notes) -> str | None:
    states = {line.run.name: line.state for line in shown(runs(backend))}
    for run, state in states.items():
        if state not in _STATES.get(notes.exit_codes.get(run), _KILLED):
            return f"{run} is {state}, its exit code was {notes.exit_codes.get(run)}"
        if state == "pushed" and notes.told[run] not in notes.accepted.values():
            return f"{run} is {state}, but nothing was served"
    missing = set(notes.finished()) - states.keys()
    return f"no word of {sorted(missing)}" if missing else None


def _trace(backend: Backend, notes: Notes, latest: Path) -> str | None:
    expected = notes.accepted[sha256_of(latest / "detect.tflite")].chain()
    found = shown(trace(backend, str(latest))).trainings
    seeds = [training.settings["training"]["seed"] for training in found]
    if seeds != [training.seed for training in expected]:
        return f"seeds {seeds}, expected {[training.seed for training in expected]}"
    for training, told in zip(found, expected, strict=True):
        images = images_of(training.examples[0])
        if images is None:
            continue  # deleted by the campaign; `verify` has to say so
        seen = {name: (image["sha256"], image["split"]) for name, image in images.items()}
        if seen != told.images():
            return f"other pictures than run {training.run.name} was given"
    return None


def _graph(backend: Backend, notes: Notes, latest: Path) -> str | None:
    found = trace(backend, str(latest))
    drawn = {form: draw(found, form) for form in ("json", "mermaid", "dot", "html")}
    nodes = json.loads(drawn["json"])["nodes"]
    trainers = sum(node["label"] == "Trainer" for node in nodes)
    expected = len(notes.accepted[sha256_of(latest / "detect.tflite")].chain())
    return None if trainers == expected else f"{trainers} trainings, expected {expected}"


def _export(backend: Backend, latest: Path) -> str | None:
    found = trace(backend, str(latest))
    (subject,) = json.loads(export(found, "in-toto"))["subject"]
    if subject["digest"] != {"sha256": sha256_of(latest / "detect.tflite")}:
        return f"in-toto: {subject['digest']} is not what is served"
    events = [json.loads(line) for line in export(found, "openlineage").splitlines()]
    return None if events else "no OpenLineage events"


def _impact(backend: Backend, notes: Notes, picture: str) -> str | None:
    found = impact(backend, picture)
    answered = {}
    for touched in found.touched:
        told = notes.told[touched.training.run.name]
        answered[told] = touched.how
        if touched.how != told.touched_by(picture):
            return f"{touched.how} in {touched.training.run.name}, not {told.touched_by(picture)}"
    if found.unknown:
        return None  # it says that it cannot tell about some
    for run in notes.finished():
        told = notes.told[run]
        if told.touched_by(picture) and told not in answered:
            return f"no word of run {run}, which it {told.touched_by(picture)}"
    return None


def _diff(backend: Backend, notes: Notes, before: str, after: str) -> str | None:
    found = shown(diff(backend, before, after))
    old, new = notes.told[before].images(), notes.told[after].images()
    expected = (
        sorted(new.keys() - old.keys()),
        sorted(old.keys() - new.keys()),
        sorted(name for name in old.keys() & new.keys() if old[name] != new[name]),
    )
    data = found.data
    answered = (sorted(data.added), sorted(data.removed), sorted(name for name, _ in data.changed))
    if data.is_known and answered != expected:
        return f"added, removed, changed {answered}, expected {expected}"
    seeds = notes.told[before].seed, notes.told[after].seed
    answered = [(d.before, d.after) for d in found.settings if d.name == "training.seed"]
    if answered != ([seeds] if seeds[0] != seeds[1] else []):
        return f"seeds {answered}, expected {seeds}"
    return None


def _verify(backend: Backend, notes: Notes, workdir: Path, data: Path) -> str | None:
    found = damage_found(backend, workdir, data)
    unknown = [path for path in found if not any(path.is_relative_to(d) for d in notes.damaged)]
    return f"{', '.join(map(str, unknown))} where nothing is damaged" if unknown else None


def damage_found(backend: Backend, workdir: Path, data: Path) -> set[Path]:
    """What `verify` complains about in what is served, relative to the workdir.

    Changes in the folder of pictures are none: there, pictures come and go.
    """
    paths = {
        Path(finding.path) for finding in shown(verify(backend, str(served(workdir)))).findings
    }
    return {
        path.relative_to(workdir) if path.is_relative_to(workdir) else path
        for path in paths
        if not path.is_relative_to(data)
    }


def shown(answer: Any) -> Any:
    """The answer, after it was printed as on a terminal: that must not fail either."""
    with contextlib.redirect_stdout(io.StringIO()):
        show(answer)
    return answer


def served(workdir: Path) -> Path:
    """The folder that apps read."""
    return workdir / "pushed" / LATEST
