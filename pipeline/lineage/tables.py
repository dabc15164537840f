"""The answers for people."""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.lineage.diff import Diff
from pipeline.lineage.fate import Fate
from pipeline.lineage.impact import Impact
from pipeline.lineage.records import iso
from pipeline.lineage.table_reasons import diff_lines, hanging, short, verification_lines, why_lines
from pipeline.lineage.trace import Trace
from pipeline.lineage.training import DATA_FACTS, Training, data_json
from pipeline.lineage.verify import Verification
from pipeline.lineage.why import Why

_WIDEST = 160


def show(answer: Any) -> None:
    """Prints the answer of a verb."""
    # What does not fit into a terminal is wrapped by it; nothing is cut off.
    console = Console(highlight=False, markup=False, soft_wrap=True, width=_WIDEST)
    if isinstance(answer, list):
        console.print(_runs(answer))
        return
    lines = {
        Trace: _trace,
        Impact: _impact,
        Diff: diff_lines,
        Why: why_lines,
        Verification: verification_lines,
    }[type(answer)](answer)
    for line in lines:
        console.print(line)


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
            short(facts.get("data_fingerprint")),
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
    refused = [
        name for name, value in (("Evaluator", blessed), ("DeviceCheck", infra_blessed))
        if value is False
    ]  # fmt: skip
    return f"not blessed ({', '.join(refused)})" if refused else "undecided"


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
            f"  data         {short(data['data_fingerprint'])} span {data['span']}: {counts}"
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
            yield hanging("  settings     ", f"{section}: {text}")
    base = training.warm_start
    weights = training.settings.get("warm_start", {}).get("weights")
    yield (f"  warm start   {f'model {base.id}, {base.uri}' if base else weights or 'none'}")
    yield (
        f"  code {short(facts.get('code')) or 'unknown'}, environment "
        f"{short(facts.get('environment')) or 'unknown'}, configuration "
        f"{short(facts.get('configuration')) or 'unknown'}"
    )
    for fate in training.fates:
        yield from _fate(fate)


def _fate(fate: Fate) -> Iterator[str]:
    facts = fate.shipping_model.properties
    metrics = ", ".join(
        f"{name} {fate.metrics[name]:.3f}" for name in ("mAP50", "mAP") if name in fate.metrics
    )
    yield (
        f"  file         sha256 {short(facts.get('sha256'))}, {facts.get('size_bytes')} bytes, "
        f"{iso(fate.shipping_model.created_ms)} (Model {fate.shipping_model.id})"
    )
    judged = iso(fate.evaluator.started_ms) if fate.evaluator else "not evaluated"
    yield (
        f"  judgement    {metrics or 'no figures'}; "
        f"{_blessing(fate.blessed, fate.infra_blessed) or 'undecided'}, {judged}"
    )
    for push in fate.pushes:
        state = "latest" if push.is_latest else "there" if push.is_present else "gone"
        yield (
            f"  pushed       version {push.version}, {iso(push.artifact.created_ms)}, "
            f"{push.destination} ({state})"
        )


def _count(items: list, noun: str) -> str:
    return f"{len(items)} {noun}{'s' * (len(items) != 1)}"


def _impact(answer: Impact) -> Iterator[str]:
    pushes = [push for touched in answer.touched for fate in touched.training.fates
              for push in fate.pushes]  # fmt: skip
    latest = [push for push in pushes if push.is_latest]
    yield (
        f"{answer.subject}: {_count(answer.touched, 'model')}, "
        f"{_count(pushes, 'pushed version')}, {len(latest)} of them latest now"
    )
    for sighting in answer.sightings:
        image = sighting.image
        yield (
            f"  in Examples {sighting.examples.id} ({sighting.split}): {image['file']}"
            f"{': ' + image['reason'] if 'reason' in image else ''}"
        )
    if answer.unknown:
        ids = ", ".join(str(examples.id) for examples in answer.unknown)
        yield f"  nobody can tell about Examples {ids}: their lists of images are gone"
    for touched in answer.touched:
        run = touched.training.run
        yield f"{touched.how:<10} model {touched.training.model.id} of {run.name if run else '?'}"
        for fate in touched.training.fates:
            yield from _fate(fate)
