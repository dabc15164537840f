"""What came out, as a table, as JSON and as a picture."""

from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

JSON_FILE, PICTURE_FILE = "benchmark.json", "benchmark.png"
_DPI = 150
_MARKS = ("o", "s", "^", "D")
_HEADINGS = {
    "form": "form", "size": "MB", "multiply_adds": "M mult-adds", "mAP50": "mAP@.5",
    "mAP": "mAP@[.5:.95]", "xnnpack": "XNNPACK", "threads": "threads", "median_ms": "median ms",
    "p90_ms": "p90 ms", "times_first": "times the first", "peak": "peak MB",
}  # fmt: skip
_PHONE_HEADINGS = {
    "form": "form", "xnnpack": "XNNPACK", "threads": "threads", "median_ms": "median ms",
    "p95_ms": "p95 ms", "mean_ms": "mean ms", "memory_mb": "MB in use",
}  # fmt: skip


def as_table(results: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the table: a row for each file, with or without XNNPACK, on 1 or 2 threads."""
    rows = []
    for file in results["files"]:
        facts = {
            "form": file["form"],
            "size": f"{file['size_bytes'] / 1e6:.2f}",
            "multiply_adds": f"{file['multiply_adds'] / 1e6:.0f}",
            "mAP50": _share(file["mAP50"]),
            "mAP": _share(file["mAP"]),
        }
        for at in file["latency"]:
            peak = at["peak_bytes"]
            rows.append((file["model"], facts | {
                **_where(at),
                "median_ms": f"{at['median_ms']:.2f}",
                "p90_ms": f"{at['p90_ms']:.2f}",
                "times_first": f"{at['times_first']:.2f}",
                "peak": "" if peak is None else f"{peak / 1e6:.1f}",
            }))  # fmt: skip
            facts = dict.fromkeys(facts, "")
    yield from _columns(_HEADINGS, rows)
    phone = results["phone"]
    if phone:
        yield ""
        yield f"On {phone['name']}, by TensorFlow's benchmark_model with noise:"
        rows = [
            (file["model"], {
                "form": file["form"],
                **_where(at),
                **{key: "" if at[key] is None else f"{at[key]:.2f}"
                   for key in ("median_ms", "p95_ms", "mean_ms", "memory_mb")},
            })
            for file in phone["files"] for at in file["latency"]
        ]  # fmt: skip
        yield from _columns(_PHONE_HEADINGS, rows)


def _where(at: Mapping[str, Any]) -> dict[str, str]:
    return {"xnnpack": "yes" if at["xnnpack"] else "no", "threads": str(at["threads"])}


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _columns(headings: Mapping[str, str], rows: Sequence[tuple[str, dict[str, str]]]):
    """Lines with a heading above the rows of each model."""
    widths = {
        key: max(len(text), *(len(row[key]) for _, row in rows)) for key, text in headings.items()
    }

    def line(values: Mapping[str, str]) -> str:
        first, *others = headings
        cells = [values[first].ljust(widths[first])]
        return "  ".join([*cells, *(values[key].rjust(widths[key]) for key in others)]).rstrip()

    yield f"  {line(headings)}"
    last = None
    for model, row in rows:
        if model != last:
            yield model
            last = model
        yield f"  {line(row)}"


def draw(results: Mapping[str, Any], target: IO[bytes]) -> None:
    """Draws the latency of each file, its mAP if pictures were evaluated, and its size."""
    files = results["files"]
    bars = {"MB": [file["size_bytes"] / 1e6 for file in files]}
    if results["pictures"]:
        bars = {"mAP@.5": [file["mAP50"] for file in files], **bars}
    figure = Figure(figsize=(7 + 2.5 * len(bars), 1.6 + 0.5 * len(files)), layout="constrained")
    FigureCanvasAgg(figure)
    ratios = [3, *[1] * len(bars)]
    times, *others = figure.subplots(1, 1 + len(bars), sharey=True, width_ratios=ratios)
    places = range(len(files))
    for number, mark in zip(range(len(files[0]["latency"])), _MARKS, strict=True):
        at = [file["latency"][number] for file in files]
        where = _where(at[0])
        medians = [one["median_ms"] for one in at]
        label = f"XNNPACK: {where['xnnpack']}, threads: {where['threads']}"
        (line,) = times.plot(medians, places, mark, label=label, alpha=0.8)
        times.hlines(places, medians, [one["p90_ms"] for one in at], colors=line.get_color())
    names = [f"{file['model']}\n{file['form']}".replace("$", r"\$") for file in files]
    times.set_yticks(places, names, fontsize=8)
    times.invert_yaxis()
    times.set_xscale("log")
    for axis in (times.xaxis.set_major_formatter, times.xaxis.set_minor_formatter):
        axis(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
    times.tick_params(axis="x", which="both", labelsize=8)
    times.set_xlabel("ms an image: the median, and a line up to the 90th percentile")
    times.grid(alpha=0.3)
    figure.legend(loc="outside upper left", ncols=len(_MARKS), fontsize=8)
    for axes, (name, values) in zip(others, bars.items(), strict=True):
        drawn = axes.barh(places, [value or 0 for value in values], alpha=0.6)
        labels = ["not known" if value is None else f"{value:.3g}" for value in values]
        axes.bar_label(drawn, labels, fontsize=8, padding=2)
        axes.set_xlim(right=1.4 * max((value or 0 for value in values), default=0) or 1)
        axes.set_xlabel(name)
    figure.savefig(target, format="png", dpi=_DPI)
