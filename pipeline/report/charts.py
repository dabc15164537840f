"""Curves as inline SVG: text as text, colours from the page, so that light and dark both work."""

import io
import re
from collections.abc import Mapping, Sequence

import matplotlib
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

NUM_COLORS = 8
# What is drawn in these colours gets those of the page.
_COLORS = {f"#c0ffe{number}": f"var(--c{number})" for number in range(NUM_COLORS)}
_INK, _GRID = "#c0ff01", "#c0ff02"
_REPLACED = {**_COLORS, _INK: "currentColor", _GRID: "var(--line)"}
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",  # the same curve is the same text
    "text.parse_math": False,  # a name may have dollars
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.6,
}
_SIZE = (4.2, 2.6)  # inches of 72 units


def chart(
    series: Sequence[tuple[Sequence[float], Sequence[float]]],
    *,
    title: str,
    x: str,
    y: str,
    steps: bool = False,
    mark: float | None = None,
    limits: tuple[float, float] | None = None,
    ticks: Mapping[float, str] | None = None,
) -> Markup:
    """Draws lines; the n-th has the page's n-th colour, for a legend in HTML.

    Args:
      series: xs and ys of each line. With `steps`, one x more than ys: edges of a histogram.
      title: for who can't see it.
      x: name of the axis.
      y: likewise.
      steps: whether to draw histograms.
      mark: where on the x axis to draw a dashed line.
      limits: of the y axis; None starts at 0 or below.
      ticks: of the x axis, place to text.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        colors = list(_COLORS)
        for number, (xs, ys) in enumerate(series):
            color = colors[number % NUM_COLORS]
            if steps:
                axes.stairs(ys, xs, color=color, linewidth=1.6)
            else:
                axes.plot(xs, ys, color=color, marker="o" if len(xs) < 3 else None, markersize=3)
        if mark is not None:
            axes.axvline(mark, color=_INK, linestyle="--", linewidth=0.9)
        if limits:
            axes.set_ylim(*limits)
        elif not steps and axes.get_ylim()[0] > 0:
            axes.set_ylim(bottom=0)
        if ticks:
            axes.set_xticks(list(ticks), list(ticks.values()))
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    return _for_the_page(file.getvalue(), title)


def _for_the_page(text: str, title: str) -> Markup:
    svg = text[text.index("<svg") :]
    svg = re.sub(r"(?s)<metadata>.*?</metadata>", "", svg)
    svg = re.sub(r'font: ([\d.]+)px [^;"]*', r"font: \1px system-ui, sans-serif", svg)
    for color, replacement in _REPLACED.items():
        svg = svg.replace(color, replacement)
    used = set(re.findall(r'(?:href="#|url\(#)([\w-]+)', svg))
    svg = re.sub(r' id="([\w-]+)"', lambda match: match[0] if match[1] in used else "", svg)
    # Ids of different charts must differ; those of matplotlib are hashes of the shapes.
    head = re.search(r'viewBox="[^"]*"', svg)[0]
    opening = f'<svg class="chart" role="img" aria-label="{escape(title)}" {head}>'
    return Markup(re.sub(r"<svg [^>]*>", lambda _: opening, svg, count=1))
