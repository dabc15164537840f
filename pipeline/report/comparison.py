"""The page that compares two runs: which classes got better, which pictures changed sides."""

from collections.abc import Mapping
from typing import Any

from pipeline.report.page import document, printable

Side = tuple[Mapping[str, Any], Mapping[str, Any]]
"""The facts and the run, see `pipeline.report.page.render`."""

BETTER, WORSE, OTHER = "better", "worse", "other"


def render_comparison(before: Side, after: Side) -> str:
    """The page of two runs.

    Args:
      before: of the first run.
      after: of the second.
    """
    return document("comparison.html", **printable(compare(before, after)))


def compare(before: Side, after: Side) -> dict[str, Any]:
    """What differs between two runs, as JSON.

    Pictures are compared by their ids, where both runs evaluated them. A picture got better if it
    had mistakes and now has none, or worse the other way round; `other` ones had mistakes before
    and after, of other kinds.

    Returns:
      {runs: [{id, text}], shared, only: [before, after], metrics: [{name, before, after}], classes:
      likewise, the largest change first, kinds: [{name, before, after}], changes: {better, worse,
      other: [{id, before: [kinds], after, views}]}}, see `_views`.
    """
    sides = [facts for facts, _ in (before, after)]
    outcomes = [facts["mistakes"]["outcomes"] for facts in sides]
    shared = sorted(outcomes[0].keys() & outcomes[1].keys())
    words = {kind: each["words"] for kind, each in sides[1]["mistakes"]["kinds"].items()}
    pictures = [{row["id"]: row for row in facts["mistakes"]["pictures"]} for facts in sides]
    changes: dict[str, list] = {BETTER: [], WORSE: [], OTHER: []}
    for image_id in shared:
        one, other = (set(each[image_id]) for each in outcomes)
        if one == other:
            continue
        change = OTHER if one and other else BETTER if one else WORSE
        changes[change].append(
            {
                "id": image_id,
                "before": [words[kind] for kind in words if kind in one],
                "after": [words[kind] for kind in words if kind in other],
                "views": _views(*(found.get(image_id) for found in pictures), one, other),
            }
        )
    return {
        "runs": [_run(*side) for side in (before, after)],
        "shared": len(shared),
        "only": [len(each) - len(shared) for each in outcomes],
        "thresholds": [facts["mistakes"]["threshold"] for facts in sides],
        "metrics": _metrics(sides),
        "classes": _classes(sides),
        "kinds": [
            {"name": text, **_pair(facts["mistakes"]["kinds"][kind]["count"] for facts in sides)}
            for kind, text in words.items()
        ],
        "changes": changes,
    }


def _views(
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None, one: set, other: set
) -> list[dict[str, Any]] | None:
    """The picture with what was found before and after; None if a run has kept no view of it.

    A run keeps views of pictures with mistakes. One without has found what is labelled.
    """
    either = before or after
    if either is None or (one and not before) or (other and not after):
        return None
    right = [
        each if each["kind"] == "ignored" else {**each, "kind": "right"}
        for each in either["objects"]
    ]
    shared = {name: either[name] for name in ("jpeg", "width", "height")}
    return [{**shared, "items": view["detections"] if view else right} for view in (before, after)]


def _pair(values) -> dict[str, Any]:
    before, after = values
    return {"before": before, "after": after}


def _run(facts: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, str]:
    summary = run["summary"]
    status = summary["status"].replace("_", " ")
    return {"id": summary["run_id"], "text": f"{summary['pipeline']}, {status}"}


def _metrics(sides: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    verdicts = [facts["verdict"] for facts in sides]
    rows = [
        {"name": name, **_pair(each["metrics"].get(key) for each in verdicts)}
        for key, name in (("mAP50", "mAP@.5"), ("mAP", "mAP@[.5:.95]"))
    ]
    megabytes = _pair(each["device"]["size_bytes"] / 1e6 for each in verdicts)
    latency = _pair((each["device"]["latency"] or {}).get("median_ms") for each in verdicts)
    return [*rows, {"name": "file, MB", **megabytes}, {"name": "latency, ms", **latency}]


def _classes(sides: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """AP@.5 by class, the largest change first; None where a run has no such objects."""
    found = [{row["name"]: row["AP50"] for row in facts["quality"]["classes"]} for facts in sides]
    rows = [
        {"name": name, **_pair(each.get(name) for each in found)}
        for name in sorted(found[0].keys() | found[1].keys())
    ]

    def change(row: Mapping[str, Any]) -> float:
        known = row["before"] is not None and row["after"] is not None
        return -abs(row["after"] - row["before"]) if known else 0.0

    return sorted(rows, key=change)
