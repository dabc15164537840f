"""The page of a run, and the page that compares two. Facts in, HTML out."""

import base64
import hashlib
import math
import unicodedata
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from pipeline.report.charts import NUM_COLORS, chart

VERSION = 1
"""Of the facts that this page shows. Raise it when what it needs of them changes."""
_FOLDER = Path(__file__).parent
_TEMPLATES = ("page.html", "comparison.html", "parts.html", "style.css", "page.js")
_LONGEST_NAME = 80
# Names are shown, not obeyed: control characters, and those that reverse what follows.
_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
_MOST_IN_MATRIX = 16
_LISTED_CONFUSIONS = 20
_COLORS = 360


def render(facts: Mapping[str, Any] | None, run: Mapping[str, Any] | None) -> str:
    """The page of a run: one HTML document that loads nothing.

    Args:
      facts: see `pipeline.report.facts`; None if the run did not get that far.
      run: what only the runner knows, see `pipeline.report.run_page`; None inside the pipeline.
    """
    facts, run = printable(facts), printable(run)
    shown = {
        "facts": facts,
        "run": run,
        "verdict": _verdict(facts, run),
        "fingerprints": (facts or {}).get("fingerprints", {}) | (run or {}).get("fingerprints", {}),
        "artifacts": _artifacts(facts, run),
    }
    if facts:
        shown |= _for_template(facts)
    return document("page.html", **shown)


def document(template: str, **shown: Any) -> str:
    """A template as HTML, with the style and the script of all pages; texts are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"name": _name, "score": _score, "duration": _duration}
    script, style = (_FOLDER.joinpath(name).read_text() for name in ("page.js", "style.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(
        **shown, script=Markup(script), script_hash=digest, style=Markup(style)
    )


def templates_fingerprint() -> str:
    """Hex sha256 of the files that are no Python."""
    content = b"".join(_FOLDER.joinpath(name).read_bytes() for name in _TEMPLATES)
    return hashlib.sha256(content).hexdigest()


def printable(value: Any) -> Any:
    """JSON whose texts, from file names and annotations, are safe to look at.

    Escaping them is the template's part.
    """
    if isinstance(value, Markup):
        return value
    if isinstance(value, str):
        if value.isascii() and value.isprintable():
            return value
        return "".join(
            "\N{REPLACEMENT CHARACTER}"
            if unicodedata.category(each) in _INVISIBLE and each != "\n"  # messages have lines
            else each
            for each in value
        )
    if isinstance(value, Mapping):
        return {printable(key): printable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [printable(each) for each in value]
    return value


def _name(text: str) -> str:
    """A name from a file or an annotation, short enough to be shown."""
    return text if len(text) <= _LONGEST_NAME else text[: _LONGEST_NAME - 1] + "…"


def _score(value: float | None, digits: int = 3) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.0f} s"


def _artifacts(
    facts: Mapping[str, Any] | None, run: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Name, uri and link of everything that the run has written, or read."""
    if run and run["artifacts"]:
        found = [
            {"name": f"{a['component']}: {a['channel']}", "uri": a["uri"]} for a in run["artifacts"]
        ]
    else:
        found = [
            {"name": a["channel"], "uri": a["uri"]} for a in (facts or {}).get("artifacts", ())
        ]
    return [{**each, "href": _href(each["uri"])} for each in found]


def _href(uri: str) -> str | None:
    """Where a browser finds a uri; None for what it must not follow."""
    if uri.startswith("gs://"):
        return "https://console.cloud.google.com/storage/browser/" + urllib.parse.quote(uri[5:])
    return Path(uri).as_uri() if uri.startswith("/") else None


def _verdict(facts: Mapping[str, Any] | None, run: Mapping[str, Any] | None) -> dict[str, str]:
    """`status` and one sentence."""
    summary = run["summary"] if run else None
    if summary and summary["status"] in ("failed", "running"):
        reason = summary["error"] or "it has recorded no end"
        return {"status": "failed", "text": f"The run failed: {reason}"}
    if facts is None:
        return {"status": "failed", "text": "The run did not come to a verdict."}
    found = facts["verdict"]
    if found["pushed"]:
        bounds = [_condition(each) for each in found["conditions"] if each["kind"] == "value"]
        text = f"Pushed as version {found['version']}: {'; '.join(bounds)}."
        return {"status": "pushed", "text": text}
    failed = [_condition(each) for each in found["conditions"] if not each["passed"]]
    if not found["blessed"] and not failed:
        failed = ["the Evaluator found no value for a gated metric"]
    reasons = failed + found["device"]["reasons"]
    why = "; ".join(reasons) or "the Pusher did not finish"
    return {"status": "refused", "text": f"Not pushed: {why}."}


def _condition(condition: Mapping[str, Any]) -> str:
    """A condition of the gate in words."""
    value, bound, passed = condition["value"], condition["bound"], condition["passed"]
    if condition["kind"] == "change":
        if value is None:
            return "the change of mAP@.5 against the last blessed model is not a number"
        return (
            f"mAP@.5 changed by {value:+.3f} against the last blessed model, and may "
            f"{'lose up to' if passed else 'only lose'} {-bound:.3g}"
        )
    if value is None:
        return f"mAP@.5 is not a number, and at least {bound:.3g} was asked for"
    return f"mAP@.5 is {value:.3f}, and at least {bound:.3g} was asked for"


def _for_template(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What is derived from the facts for the eye: charts, colours, sentences."""
    quality = facts["quality"]
    names = [row["name"] for row in quality["classes"]]
    labels = {name: number for number, name in enumerate(names)}
    for picture in facts["mistakes"]["pictures"]:
        for each in (*picture["objects"], *picture["detections"]):
            labels.setdefault(each["label"], len(labels))
    in_data = {name for split in facts["data"]["splits"].values() for name in split["objects"]}
    return {
        "kinds": {kind: each["words"] for kind, each in facts["mistakes"]["kinds"].items()},
        "labels": labels,
        "class_names": sorted(in_data),
        "uncertainty": _uncertainty(facts["verdict"]["metrics"].get("mAP50"), quality),
        "against": _against(facts),
        "precision_recall": _precision_recall(quality),
        "matrix": _matrix(quality["confusion"]),
        "box_charts": _box_charts(facts["data"]["boxes"]),
        "training_charts": _training_charts(facts["training"]),
    }


def _uncertainty(value: float | None, quality: Mapping[str, Any]) -> str:
    count = quality["images"]
    pictures = f"{count:,} evaluation picture" + "s" * (count != 1)
    if value is None:
        return f"On {pictures}, none of which has a labelled object: there is nothing to score."
    if quality["interval"] is None:
        return f"On {pictures}: too few with objects to say how far chance goes."
    low, high = quality["interval"]["mAP50"]
    other = high if high - value >= 0.005 else low
    difference = (
        ""
        if abs(other - value) < 0.005
        else (f" They cannot tell a detector of {value:.2f} from one of {other:.2f}.")
    )
    return (
        f"On {pictures}. With other pictures of this kind, mAP@.5 would be between {low:.2f} and "
        f"{high:.2f} in 19 of 20 cases (bootstrap over pictures).{difference}"
    )


def _against(facts: Mapping[str, Any]) -> str:
    baseline = facts["verdict"]["baseline_metrics"]
    if not baseline:
        return "No earlier blessed model to compare with."
    earlier, now = baseline.get("mAP50"), facts["verdict"]["metrics"].get("mAP50")
    if earlier is None or now is None:
        return "The last blessed model has no mAP@.5 on these pictures."
    text = (
        f"The last blessed model has mAP@.5 {earlier:.3f} on the same pictures: "
        f"a change of {now - earlier:+.3f}"
    )
    interval = facts["quality"]["change_interval"]
    if interval is None:
        return f"{text}."
    low, high = interval["mAP50"]
    meaning = "which may be chance" if low <= 0 <= high else "more than chance explains"
    better, worse = _changed_sides(facts["mistakes"])
    return (
        f"{text} (95% interval {low:+.3f} to {high:+.3f}, {meaning}). At the threshold below, "
        f"{better} of its pictures with mistakes have none now, and {worse} without have some."
    )


def _changed_sides(mistakes: Mapping[str, Any]) -> tuple[int, int]:
    """How many pictures got better than with the last blessed model, and how many worse."""
    earlier, now = mistakes["baseline"], mistakes["outcomes"]
    better = sum(bool(earlier[key]) and not now[key] for key in now)
    return better, sum(bool(now[key]) and not earlier[key] for key in now)


def _precision_recall(quality: Mapping[str, Any]) -> dict[str, Any]:
    """The curves of the classes, the worst ones if there are many; `legend` is in their order."""
    rows = sorted(quality["classes"], key=lambda row: row["AP50"])[:NUM_COLORS]
    recalls = np.linspace(0, 1, 101)
    return {
        "legend": [row["name"] for row in rows],
        "chart": chart(
            [(recalls, quality["curves"][row["name"]]) for row in rows],
            title="Precision over recall of each class at an overlap of 0.5",
            x="recall",
            y="precision",
            limits=(0, 1.03),
        ),
    }


def _matrix(confusion: Mapping[str, Any]) -> dict[str, Any]:
    """Rows with shares for shading; for many classes the largest confusions instead."""
    names, counts = confusion["names"], np.array(confusion["counts"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = [
        {"name": name, "cells": [
            {"count": int(count), "share": round(float(share), 3), "right": row == column}
            for column, (count, share) in enumerate(zip(counts[row], shares[row], strict=True))
        ]}
        for row, name in enumerate(names)
    ]  # fmt: skip
    wrong = counts * (1 - np.eye(len(names), dtype=int))
    order = np.dstack(np.unravel_index(np.argsort(-wrong, axis=None, kind="stable"), wrong.shape))[
        0
    ]
    largest = [
        {"true": names[row], "found": names[column], "count": int(wrong[row, column])}
        for row, column in order[:_LISTED_CONFUSIONS]
        if wrong[row, column]
    ]
    return {
        "names": names,
        "rows": rows,
        "largest": largest,
        "is_small": len(names) <= _MOST_IN_MATRIX,
    }


def _box_charts(boxes: Mapping[str, Any]) -> dict[str, Any]:
    edges, splits = boxes["edges"], boxes["splits"]
    sides = [(edges["side"], each["side"]) for each in splits.values()]
    ratios = [(edges["ratio"], each["ratio"]) for each in splits.values()]
    percent = {0: "0", 0.25: "25%", 0.5: "50%", 0.75: "75%", 1: "100%"}
    powers = {-3: "1:8", -2: "1:4", -1: "1:2", 0: "1:1", 1: "2:1", 2: "4:1", 3: "8:1"}
    share = "share of boxes"
    return {
        "legend": list(splits),
        "charts": [
            chart(sides, title="Sizes of the boxes", x="side of the box / side of the picture",
                  y=share, steps=True, ticks=percent),
            chart(ratios, title="Shapes of the boxes", x="width : height, in a square picture",
                  y=share, steps=True, ticks=powers),
        ],
    }  # fmt: skip


def _training_charts(training: Mapping[str, Any]) -> list[dict[str, Any]]:
    """[{title, legend, chart}]; a dashed line marks where quantization began."""
    curves, mark = training["curves"], training["quantized_from"]

    def of(title: str, y: str, tags: Sequence[str], limits=None) -> dict[str, Any] | None:
        found = [tag for tag in tags if curves.get(tag)]
        if not found:
            return None
        series = [tuple(zip(*curves[tag], strict=True)) for tag in found]
        drawn = chart(series, title=title, x="step", y=y, mark=mark, limits=limits)
        return {"title": title, "legend": [tag.rpartition("/")[2] for tag in found], "chart": drawn}

    losses = sorted(tag for tag in curves if tag.startswith("train/") and "loss" in tag)
    charts = [
        of("Losses", "loss", losses),
        of("Learning rate", "learning rate", ["train/learning_rate"]),
        of("Accuracy of the network", "mAP", ["eval/mAP50", "eval/mAP"], (0, 1.03)),
    ]
    return [each for each in charts if each]
