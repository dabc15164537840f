"""The answers as tables and lines of text."""

import os
import re
import shlex
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

from pipeline.lineage.diff import Diff
from pipeline.lineage.embedded import Embedded
from pipeline.lineage.fate import Fate, Judgement, Push
from pipeline.lineage.impact import NEVER, UNTOLD, Impact, Impacts, Version
from pipeline.lineage.retraining import Retraining
from pipeline.lineage.runs import RunLine
from pipeline.lineage.trace import Trace
from pipeline.lineage.training import DATA_FACTS, Training, data_json
from pipeline.lineage.verify import Verification
from pipeline.lineage.why import Why
from pipeline.metadata.records import NO_ORIGIN, Run, iso

# Long values are wrapped at this width, and long lists of images are cut.
_WRAPPED = 110
_MOST_IMAGES = 20
# Control characters but the line breaks of our own, overrides of the writing direction, and the
# surrogates that stand for bytes that are no UTF-8.
_STEERING = re.compile(
    "[\0-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def show(answer: Any) -> None:
    """Prints the answer of a verb."""
    lines = {
        list: _runs,
        Trace: _trace,
        Embedded: _embedded,
        Impacts: _impact,
        Diff: _diff,
        Why: _why,
        Verification: _verification,
    }[type(answer)](answer)
    print_lines(lines)


def print_lines(lines: Iterable[str]) -> None:
    """Prints lines; nothing in them steers a terminal."""
    for line in lines:
        print(escaped(line))


def escaped(line: str) -> str:
    """Names come from anybody's files: nothing in them steers a terminal, or fails to print."""
    return _STEERING.sub(lambda match: repr(match[0])[1:-1], line)


def _short(digest: Any) -> str:
    """The first digits of a hash; empty for None."""
    return str(digest)[:12] if digest else ""


def _hanging(heading: str, text: str) -> str:
    """A long text wrapped beside its heading."""
    return textwrap.fill(
        text, _WRAPPED, initial_indent=heading, subsequent_indent=" " * len(heading),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _figure(value: Any) -> Any:
    """Rounds a metric for comparison; --json has all digits."""
    return f"{value:.4f}" if isinstance(value, float) else value


def _runs(found: list[RunLine]) -> Iterator[str]:
    folders = {os.path.dirname(line.push.destination) for line in found if line.push}
    rows = [("run", "pipeline", "began", "state", "preset", "span", "data", "mAP@.5", "gate",
             "pushed")]  # fmt: skip
    for line in found:
        facts = line.examples.properties if line.examples else {}
        score = line.metrics.get("mAP50")
        rows.append(
            (
                line.run.name,
                line.run.facts.get("pipeline") or "",
                iso(line.run.created_ms) or "",
                line.state,
                line.run.facts.get("preset") or "",
                str(facts.get("span", "")),
                _short(facts.get("data_fingerprint")),
                "" if score is None else f"{score:.3f}",
                _blessing(line.blessed, line.infra_blessed),
                _pushed(line.push, len(folders) > 1) if line.push else "",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _pushed(push: Push, is_one_of_several: bool) -> str:
    """A version; each place that is pushed to has a `latest` of its own."""
    place = f" in {os.path.dirname(push.destination)}" if is_one_of_several else ""
    withdrawn = ", withdrawn" if push.withdrawn else ""
    return f"version {push.version}{withdrawn}" + (f" (latest{place})" if push.is_latest else place)


def _blessing(blessed: bool | None, infra_blessed: bool | None) -> str:
    if blessed is None and infra_blessed is None:
        return ""
    if blessed and infra_blessed:
        return "blessed"
    judges = (("the Evaluator", blessed), ("DeviceCheck", infra_blessed))
    refused = [name for name, value in judges if value is False]
    return f"refused by {' and '.join(refused)}" if refused else "undecided"


def _trace(answer: Trace) -> Iterator[str]:
    counts = answer.subgraph
    yield (
        f"{_subject(answer.subject)}: {len(counts.executions)} executions and "
        f"{len(counts.artifacts)} artifacts behind it"
    )
    for training in answer.trainings:
        yield ""
        yield from _training(training)
    if not answer.trainings:
        yield ""
        for execution in sorted(counts.executions.values(), key=lambda e: e.started_ms):
            yield f"  {iso(execution.started_ms)}  {execution.node} ({execution.id})"


def _embedded(found: Embedded) -> Iterator[str]:
    yield f"{found.path} says of itself (sha256 {found.sha256}):"
    facts = {
        "name": found.name,
        "version": found.version,
        "description": found.description,
        "classes": ", ".join(found.classes),
        **(found.provenance if isinstance(found.provenance, dict) else {}),
    }
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {_figure(inner)}" for key, inner in value.items())
        yield _hanging(f"  {name:<16} ", "not said" if value in (None, "") else str(_figure(value)))


def _subject(subject) -> str:
    if subject.run:
        return f"run {subject.run.name}"
    artifact = subject.artifact
    return f"{artifact.type} artifact {artifact.id} of {iso(artifact.created_ms)}"


def _training(training: Training) -> Iterator[str]:
    run = training.run.name if training.run else "unknown run"
    facts = training.run.facts if training.run else {}
    model = f"model {training.model.id}" if training.model else "no model"
    yield f"{model}, trained {iso(training.execution.finished_ms)} in {run}"
    for examples in training.examples:
        data = data_json(examples)
        counts = ", ".join(f"{name.removeprefix('num_')} {data[name]}" for name in DATA_FACTS[2:6])
        reasons = data["set_aside_reasons"] or {}
        why_aside = ", ".join(f"{count} {kind}" for kind, count in reasons.items())
        yield (
            f"  data         {_short(data['data_fingerprint'])} span {data['span']}: {counts}"
            f"{f' ({why_aside})' if why_aside else ''}, {data['created']} "
            f"(Examples {examples.id})"
        )
    if training.schema:
        yield f"  schema       {training.schema.uri}, {iso(training.schema.created_ms)}"
    if training.transform:
        transform = training.transform
        yield f"  transform    execution {transform.id}, {iso(transform.finished_ms)}"
    for section in ("model", "training", "quantization"):
        values = training.settings.get(section)
        if values:
            text = values if isinstance(values, str) else ", ".join(
                f"{key} {value}" for key, value in values.items()
            )  # fmt: skip
            yield _hanging("  settings     ", f"{section}: {text}")
    if training.plan:
        text = ", ".join(f"{key} {value}" for key, value in training.plan.items() if key != "rates")
        yield f"  plan         {text}"
    yield f"  warm start   {_weights(training)}"
    yield (
        f"  code {_short(facts.get('code')) or 'unknown'}, environment "
        f"{_short(facts.get('environment')) or 'unknown'}, configuration "
        f"{_short(facts.get('configuration')) or 'unknown'}"
    )
    if origin := _origin(training.run):
        yield f"  origin       {origin}"
    for fate in training.fates:
        yield from _fate(fate, training.run)


def _weights(training: Training) -> str:
    base = training.warm_start
    if base is None:
        return training.settings.get("warm_start", {}).get("weights") or "none"
    if training.knows_weights:
        return f"model {base.id}, {base.uri}"
    digest = base.properties.get("sha256")
    return f"weights of unknown origin, {base.uri}{f', sha256 {_short(digest)}' if digest else ''}"


def _origin(run: Run | None) -> str | None:
    origin = run.origin if run else NO_ORIGIN
    if not origin["commit"]:
        return None
    who = f", by {origin['user']} on {origin['host']}" if origin["host"] else ""
    return f"commit {_commit(origin)}{who}"


def _commit(origin: Mapping[str, Any]) -> str:
    if origin["dirty"] is None:  # not in git, or unknown
        return str(origin["commit"] or "not recorded")
    return f"{_short(origin['commit'])}{' with changes' * origin['dirty']}"


def _fate(fate: Fate, trained_in: Run | None) -> Iterator[str]:
    facts = fate.shipping_model.properties
    yield (
        f"  file         sha256 {_short(facts.get('sha256'))}, {facts.get('size_bytes')} bytes, "
        f"{iso(fate.shipping_model.created_ms)} (Model {fate.shipping_model.id})"
    )
    if fate.run and fate.run != trained_in:
        prints = ", ".join(
            f"{name} {_short(fate.fingerprints[name]) or 'unknown'}"
            for name in ("code", "environment", "configuration")
        )
        yield f"    made by      {fate.run.name}, {prints}"
        if origin := _origin(fate.run):
            yield f"    origin       {origin}"
        settings = ", ".join(f"{name} {value}" for name, value in fate.settings.items())
        yield _hanging("    settings     ", settings)
    for judgement in fate.judgements or [fate.judgement]:
        yield _judgement(judgement, judgement.metrics or fate.metrics)
    for push in fate.pushes:
        state = {True: "there", False: "gone", None: "cannot tell whether it is there"}[
            push.is_present
        ]
        state = ("latest" if push.is_latest else state) + _withdrawal(push)
        yield (
            f"  pushed       version {push.version}, {iso(push.artifact.created_ms)}, "
            f"{push.destination} ({state})"
        )
        facts = push.artifact.properties
        if "test_images" in facts:
            figures = {name: facts.get(f"test_{name}") for name in ("mAP50", "mAP")}
            shown = ", ".join(f"{k} {v:.3f}" for k, v in figures.items() if v is not None)
            yield f"    test         {shown or 'no figures'}, on {facts['test_images']} images"


def _withdrawal(push: Push) -> str:
    facts = push.withdrawn
    return f", withdrawn {facts['at']}: {facts['reason']}" if facts else ""


def _judgement(judgement: Judgement, metrics: Mapping[str, float]) -> str:
    figures = ", ".join(
        f"{name} {metrics[name]:.3f}" for name in ("mAP50", "mAP") if name in metrics
    )
    verdict = _blessing(judgement.blessed, judgement.infra_blessed) or "undecided"
    reasons = f" ({'; '.join(judgement.reasons)})" if judgement.reasons else ""
    judged = iso(judgement.evaluator.started_ms) if judgement.evaluator else "not evaluated"
    run = f" in {judgement.run.name}" if judgement.run else ""
    return f"  judgement    {figures or 'no figures'}; {verdict}{reasons}, {judged}{run}"


def _count(items: Sized, noun: str) -> str:
    return f"{len(items)} {noun}{'s' * (len(items) != 1)}"


def _impact(answers: Impacts) -> Iterator[str]:
    """The versions first: the latest, the older ones, those that never saw it."""
    versions = answers.versions()
    for version in versions:
        if version.push.is_latest:
            yield f"latest: {_version(version)}"
    if not versions:
        yield "latest: none, no version was ever pushed"
    nobody_knows = "nobody knows, no `latest` leads to a version of this store"
    for folder in answers.without_latest():
        yield f"latest: {nobody_knows} in {folder}"
    if versions and all(version.push.is_present is False for version in versions):
        yield f"latest: {nobody_knows}"
    older = [version for version in versions if not version.push.is_latest]
    for version in older:
        if version.how not in (UNTOLD, NEVER):
            yield f"older: {_version(version)}"
    untouched: dict[str, list[str]] = {}
    for version in older:
        if version.how == NEVER:
            folder = os.path.dirname(version.push.destination)
            untouched.setdefault(folder, []).append(version.push.version)
    for folder, numbers in untouched.items():
        yield f"never saw {answers.it}: {_ranges(numbers)} in {folder}"
    for version in older:
        if version.how == UNTOLD:
            yield f"cannot tell: {_version(version)}"
    for model, way in answers.never_pushed().items():
        reason = answers.reason(model) if way == UNTOLD else None
        yield f"never pushed: model {model} ({way}{f'; {reason}' if reason else ''})"
    yield ""
    for answer in answers.answers:
        yield from _seen(answer)
    for name in answers.lost:
        yield f"not found: {name}"


def _version(version: Version) -> str:
    """What can be said in one line."""
    push = version.push
    state = {True: "", False: ", gone", None: ", cannot tell whether it is there"}[push.is_present]
    pipeline = f" of {version.pipeline}" if version.pipeline else ""
    run = f" by {version.run.name}" if version.run else ""
    return (
        f"v{push.version}{pipeline} ({version.how}; sha256 {version.sha256}) in {push.destination}"
        f"{state}, pushed {iso(push.artifact.created_ms)}{run}{_withdrawal(push)}"
        f"{f'; {version.reason}' if version.reason else ''}"
    )


def _ranges(numbers: list[str]) -> str:
    """Versions in one text, such as "v1, v4 to v7"."""
    parts: list[list[str]] = []
    for number in sorted(numbers, key=lambda text: (not text.isdecimal(), text.zfill(20))):
        last = parts[-1][-1] if parts else ""
        follows = number.isdecimal() and last.isdecimal() and int(number) == int(last) + 1
        parts[-1].append(number) if follows else parts.append([number])
    return ", ".join(f"v{p[0]}" if len(p) == 1 else f"v{p[0]} to v{p[-1]}" for p in parts)


def _seen(answer: Impact) -> Iterator[str]:
    """X, where it is, and where nobody knows."""
    contents = sorted({s.image.get("sha256") for s in answer.sightings} - {None})
    yield f"{answer.subject}: {_count(answer.ways, 'model')}" + (
        f"; sha256 {', '.join(contents)}" if contents else ""
    )
    if len(contents) > 1:
        yield f"  {len(contents)} different pictures go by this name"
    places: dict[tuple, list[str]] = {}
    for sighting in answer.sightings:
        image = sighting.image
        reason = f": {image['reason']}" if "reason" in image else ""
        which = f", sha256 {_short(image.get('sha256'))}" if len(contents) > 1 else ""
        place = sighting.split, f"{image['file']}{which}{reason}"
        places.setdefault(place, []).append(str(sighting.examples.id))
    for (split, file), examples in places.items():
        yield _hanging("  ", f"in Examples {', '.join(examples)} ({split}): {file}")
    for doubt in answer.unknown:
        yield f"  unknown for Examples {doubt.examples.id}: their list of images {doubt.reason}"


def withdrawal(answers: Impacts, place: list[str]) -> Iterator[str]:
    """The commands that withdraw every version that pictures have touched.

    Args:
      answers: about pictures; of anything else there are none.
      place: the words that name the store.
    """
    if not any(answer.sightings for answer in answers.answers):
        return
    folders: dict[str, list[str]] = {}
    for version in answers.versions()[::-1]:
        push = version.push
        if version.how not in (UNTOLD, NEVER) and push.is_present is not False:
            numbers = folders.setdefault(os.path.dirname(push.destination), [])
            numbers += [] if push.withdrawn else [push.version]
    commands = [
        [_python(), "-m", "pipeline.publish", "withdraw", *numbers, "--push-to", folder, *place]
        for folder, numbers in folders.items() if numbers
    ]  # fmt: skip
    if commands:
        yield ""
        yield f"to withdraw every version that has to do with {answers.it}, run:"
        for command in commands:
            yield shlex.join([*command, "--reason", "a photograph was withdrawn"])


def retraining(found: Retraining, write_lists: list[str], lists: str) -> Iterator[str]:
    """The command that trains again without the images.

    Args:
      found: what to repeat.
      write_lists: the words of the command that writes the lists of images.
      lists: their folder.
    """
    yield ""
    if found.obstacle:
        yield f"to repeat run {found.run} without the pictures: {found.obstacle}, then run:"
        yield shlex.join([_python(), *found.command(None)])
        return
    yield f"to repeat run {found.run} without the pictures, run:"
    first = f"{shlex.join([_python(), '-m', 'pipeline.lineage', *write_lists])} && \\\n  "
    yield (first if found.ids else "") + shlex.join([_python(), *found.command(lists)])


def _python() -> str:
    """This Python, in short if it is below the current folder."""
    relative = os.path.relpath(sys.executable)
    return sys.executable if relative.startswith("..") else relative


def csv_rows(answers: Impacts) -> Iterator[tuple]:
    """A heading, and a row for every image (or other X) and version, or model without a version."""
    yield ("x", "image_sha256", "how", "state", "pipeline", "version", "destination", "pushed",
           "sha256", "model", "run", "reason")  # fmt: skip
    for answer in answers.answers:
        contents = sorted({s.image.get("sha256") for s in answer.sightings} - {None})
        x = answer.given, " ".join(contents)
        for version in answer.versions:
            push = version.push
            state = "latest" if push.is_latest else "older" if push.is_present else "gone"
            state = "unknown" if push.is_latest is None else state
            yield (*x, version.how, state, version.pipeline, push.version, push.destination,
                   iso(push.artifact.created_ms), version.sha256, version.model,
                   version.run and version.run.name, version.reason)  # fmt: skip
        for model, way in answer.never_pushed.items():
            yield (*x, way, "never pushed", None, None, None, None, None, model, None,
                   answer.doubts.get(model))  # fmt: skip
    for name in answers.lost:
        yield name, None, "not found", *[None] * 9


def _diff(answer: Diff) -> Iterator[str]:
    data = answer.data.to_json()
    counts = ", ".join(f"{count} {name}" for name, count in data["counts"].items())
    if data["same"]:
        yield "data         the same"
    elif not data["known"]:
        yield "data         differs; a list of images is gone or changed"
    else:
        yield f"data         {counts} images"
        for name in ("added", "removed"):
            yield from _listed(data[name], name)
        yield from _listed((f"{key} ({', '.join(what)})" for key, what in data["changed"]), "~")
    if answer.schema is None:
        yield "schema       differs; a file is gone, damaged, or cannot be read"
    else:
        yield "schema       the same" if not answer.schema else "schema"
        yield from (f"  {line}" for line in answer.schema)
    before, after = (_commit(training.origin) for training in answer.trainings)
    yield f"commit       {before}{f' -> {after}' * (before != after)}"
    for title, found in (
        ("settings", answer.settings),
        ("code", answer.code),
        ("environment", answer.environment),
        ("metrics", answer.metrics),
    ):
        if found is None:
            yield f"{title:<12} not recorded"
            continue
        yield f"{title:<12} {'the same' if not found else f'{len(found)} differ'}"
        for name, before, after in found:
            if title == "code":
                before, after = _short(before) or "absent", _short(after) or "absent"
            if title == "metrics":
                before, after = _figure(before), _figure(after)
            yield f"  {name}: {before} -> {after}"
    if answer.warm_start[0] != answer.warm_start[1]:
        yield f"warm start   {' -> '.join(_weights(training) for training in answer.trainings)}"


def _listed(items: Iterable[str], sign: str) -> Iterator[str]:
    items = list(items)
    yield from (f"  {sign} {item}" for item in items[:_MOST_IMAGES])
    if len(items) > _MOST_IMAGES:
        yield f"  ... {len(items) - _MOST_IMAGES} more (--json has all)"


def _why(answer: Why) -> Iterator[str]:
    yield f"run {answer.run.name}: {answer.decision}"
    judgement = answer.fate and answer.fate.judgement
    evaluation = (judgement and judgement.evaluation) or {}
    yield from (f"  {text}" for text in evaluation.get("text", ()))
    baseline = evaluation.get("baseline_metrics")
    if baseline:
        yield f"  baseline: Model {judgement.baseline}, mAP50 {baseline['mAP50']:.4f}"
    elif evaluation:
        yield "  baseline: none, no model was blessed before"
    if judgement:
        yield from (f"  DeviceCheck: {reason}" for reason in judgement.reasons)
    yield ""
    for rerun in answer.reruns:
        yield _hanging(f"{rerun.execution.node:<18} {rerun.execution.state:<9} ", rerun.reason)


def _verification(answer: Verification) -> Iterator[str]:
    for finding in answer.findings:
        yield f"{finding.problem:<8} {finding.path}: {finding.detail} (artifact {finding.artifact})"
    parts = {answer.title: answer.shipped, "training inputs": answer.inputs}
    for title, part in parts.items():
        verdict = {
            True: f"intact, {_count([None] * part.files, 'file')}",
            False: "not intact",
            None: "cannot tell, no file could be checked",
        }[part.is_sound]
        if part.unchecked and part.is_sound is not None:
            verdict += f"; cannot tell for {_count([None] * part.unchecked, 'artifact')}"
        if part.files or part.findings or title == answer.title:
            yield f"{title}: {verdict}"
