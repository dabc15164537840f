"""The answers of `diff`, `why` and `verify` for people, line by line."""

import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.lineage.diff import Diff
from pipeline.lineage.verify import Verification
from pipeline.lineage.why import Why

_MOST_IMAGES = 20
_WIDTH = 110


def short(digest: Any) -> str:
    """The beginning of a hash; empty for none."""
    return str(digest)[:12] if digest else ""


def hanging(head: str, text: str) -> str:
    """A text of many items behind its heading, over several lines where it is long."""
    return textwrap.fill(
        text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _figure(value: Any) -> Any:
    """Figures are compared, not copied: --json has all of their digits."""
    return f"{value:.4f}" if isinstance(value, float) else value


def diff_lines(answer: Diff) -> Iterator[str]:
    """Of `diff`."""
    data = answer.data.to_json()
    counts = ", ".join(f"{count} {name}" for name, count in data["counts"].items())
    if data["same"]:
        yield "data         the same"
    elif not data["known"]:
        yield "data         differs; the lists of images are gone"
    else:
        yield f"data         {counts} images"
        for name in ("added", "removed"):
            yield from _listed(data[name], name)
        yield from _listed((f"{key} ({', '.join(what)})" for key, what in data["changed"]), "~")
    if answer.schema is None:
        yield "schema       differs; a file is gone"
    else:
        yield "schema       the same" if not answer.schema else "schema"
        yield from (f"  {line}" for line in answer.schema)
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
                before, after = short(before) or "absent", short(after) or "absent"
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


def why_lines(answer: Why) -> Iterator[str]:
    """Of `why`."""
    yield f"run {answer.run.name}: {answer.decision}"
    evaluation = (answer.fate and answer.fate.evaluation) or {}
    yield from (f"  {text}" for text in evaluation.get("text", ()))
    baseline = evaluation.get("baseline_metrics")
    if baseline:
        yield f"  baseline: Model {answer.fate.baseline}, mAP50 {baseline['mAP50']:.4f}"
    elif evaluation:
        yield "  baseline: none, no model was blessed before"
    if answer.fate:
        yield from (f"  DeviceCheck: {reason}" for reason in answer.fate.reasons)
    yield ""
    for rerun in answer.reruns:
        yield hanging(f"{rerun.execution.node:<18} {rerun.execution.state:<9} ", rerun.reason)


def verification_lines(answer: Verification) -> Iterator[str]:
    """Of `verify`."""
    for finding in answer.findings:
        yield f"{finding.problem:<8} {finding.path}: {finding.detail} (artifact {finding.artifact})"
    verdict = "all is what it was" if answer.is_sound else "not what it was"
    yield f"{answer.files} files of {answer.artifacts} artifacts: {verdict}"
