"""The answers as tables and lines of text."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.lineage.diff import Diff
from pipeline.lineage.fate import Fate, Judgement
from pipeline.lineage.impact import Impact
from pipeline.lineage.trace import Trace
from pipeline.lineage.training import DATA_FACTS, Training, data_json
from pipeline.lineage.verify import Verification
from pipeline.lineage.why import Why
from pipeline.metadata.records import NO_ORIGIN, Run, iso

_WIDEST = 160
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
    # Nothing is cut off: the terminal wraps lines that are too long for it.
    console = Console(highlight=False, markup=False, soft_wrap=True, width=_WIDEST)
    if isinstance(answer, list):
        console.print(_runs(answer))
        return
    lines = {
        Trace: _trace,
        Impact: _impact,
        Diff: _diff,
        Why: _why,
        Verification: _verification,
    }[type(answer)](answer)
    for line in lines:
        console.print(_escaped(line))


def _escaped(line: str) -> str:
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


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    return table


def _runs(found: list) -> Table:
    table = _table("run", "began", "state", "preset", "span", "data", "mAP@.5", "gate", "pushed")
    for line in found:
        facts = line.examples.properties if line.examples else {}
        score = line.metrics.get("mAP50")
        push = line.push
        table.add_row(
            line.run.name,
            iso(line.run.created_ms),
            line.state,
            line.run.facts.get("preset", ""),
            str(facts.get("span", "")),
            _short(facts.get("data_fingerprint")),
            "" if score is None else f"{score:.3f}",
            _blessing(line.blessed, line.infra_blessed),
            "" if push is None else f"version {push.version}{' (latest)' * bool(push.is_latest)}",
        )
    return table


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
    base = training.warm_start
    weights = training.settings.get("warm_start", {}).get("weights")
    yield (f"  warm start   {f'model {base.id}, {base.uri}' if base else weights or 'none'}")
    yield (
        f"  code {_short(facts.get('code')) or 'unknown'}, environment "
        f"{_short(facts.get('environment')) or 'unknown'}, configuration "
        f"{_short(facts.get('configuration')) or 'unknown'}"
    )
    if origin := _origin(training.run):
        yield f"  origin       {origin}"
    for fate in training.fates:
        yield from _fate(fate, training.run)


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
        state = "latest" if push.is_latest else state
        yield (
            f"  pushed       version {push.version}, {iso(push.artifact.created_ms)}, "
            f"{push.destination} ({state})"
        )


def _judgement(judgement: Judgement, metrics: Mapping[str, float]) -> str:
    figures = ", ".join(
        f"{name} {metrics[name]:.3f}" for name in ("mAP50", "mAP") if name in metrics
    )
    verdict = _blessing(judgement.blessed, judgement.infra_blessed) or "undecided"
    reasons = f" ({'; '.join(judgement.reasons)})" if judgement.reasons else ""
    judged = iso(judgement.evaluator.started_ms) if judgement.evaluator else "not evaluated"
    run = f" in {judgement.run.name}" if judgement.run else ""
    return f"  judgement    {figures or 'no figures'}; {verdict}{reasons}, {judged}{run}"


def _count(items: list, noun: str) -> str:
    return f"{len(items)} {noun}{'s' * (len(items) != 1)}"


def _impact(answer: Impact) -> Iterator[str]:
    pushes = [push for touched in answer.touched for fate in touched.training.fates
              for push in fate.pushes]  # fmt: skip
    latest = [push for push in pushes if push.is_latest]
    yield (
        f"{answer.subject}: {_count(answer.touched, 'model')}, "
        f"{_count(pushes, 'pushed version')}, {len(latest)} of them latest now"
        + (f"; cannot tell for {len(answer.untold)} more" if answer.untold else "")
    )
    contents = {sighting.image.get("sha256") for sighting in answer.sightings} - {None}
    if len(contents) > 1:
        hashes = ", ".join(sorted(map(_short, contents)))
        yield f"  {len(contents)} different pictures go by this name: sha256 {hashes}"
    for sighting in answer.sightings:
        image = sighting.image
        yield (
            f"  in Examples {sighting.examples.id} ({sighting.split}): {image['file']}"
            f"{': ' + image['reason'] if 'reason' in image else ''}"
        )
    if answer.unknown:
        ids = ", ".join(str(examples.id) for examples in answer.unknown)
        yield f"  unknown for Examples {ids}: their lists of images are gone or cannot be read"
    for touched in answer.touched:
        run = touched.training.run
        yield f"{touched.how:<10} model {touched.training.model.id} of {run.name if run else '?'}"
        for fate in touched.training.fates:
            yield from _fate(fate, run)
    for training in answer.untold:
        run = training.run
        yield (
            f"cannot tell model {training.model.id} of {run.name if run else '?'}: it began from "
            f"weights of unknown origin{_weights_of(training)}"
        )
        for fate in training.fates:
            yield from _fate(fate, run)


def _weights_of(training: Training) -> str:
    base = training.warm_start
    if base is None:
        return ""
    digest = base.properties.get("sha256")
    return f" ({base.uri}{f', sha256 {_short(digest)}' if digest else ''})"


def _diff(answer: Diff) -> Iterator[str]:
    data = answer.data.to_json()
    counts = ", ".join(f"{count} {name}" for name, count in data["counts"].items())
    if data["same"]:
        yield "data         the same"
    elif not data["known"]:
        yield "data         differs; the lists of images are gone or cannot be read"
    else:
        yield f"data         {counts} images"
        for name in ("added", "removed"):
            yield from _listed(data[name], name)
        yield from _listed((f"{key} ({', '.join(what)})" for key, what in data["changed"]), "~")
    if answer.schema is None:
        yield "schema       differs; a file is gone or cannot be read"
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
        yield f"warm start   model {answer.warm_start[0]} -> model {answer.warm_start[1]}"


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
