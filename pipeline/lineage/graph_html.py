"""The graph of a lineage as one self-contained HTML page: layers from left to right, as SVG."""

import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_COLUMN, _ROW, _WIDTH, _HEIGHT, _MARGIN = 190, 46, 150, 30, 20
# Passes over the layers, each sorting nodes by where their neighbours are.
_PASSES = 8
_TEMPLATE = Path(__file__).with_name("graph_page.html")


def page(graph: dict[str, Any]) -> str:
    """The page of a graph.

    Args:
      graph: see `pipeline.lineage.graph.to_json`.

    Returns:
      HTML that loads nothing; every artifact and execution can be clicked, or reached with the
      keyboard, and then shows its properties.
    """
    places = layout([node["key"] for node in graph["nodes"]], graph["edges"])
    width = max((x for x, _ in places.values()), default=0) + _WIDTH + _MARGIN
    height = max((y for _, y in places.values()), default=0) + _HEIGHT + _MARGIN
    drawing = "\n".join([*_lines(graph["edges"], places), *_boxes(graph["nodes"], places)])
    replaced = {
        "TITLE": html.escape(graph["title"]),
        "WIDTH": str(width),
        "HEIGHT": str(height),
        "DRAWING": drawing,
        # Nothing inside the JSON may end the script element.
        "GRAPH": json.dumps(graph).replace("<", "\\u003c"),
    }
    # In one pass: what is filled in is not looked at again.
    return re.sub("@([A-Z]+)@", lambda match: replaced[match[1]], _TEMPLATE.read_text())


def layout(keys: Iterable[str], edges: list[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """Left upper corners in pixels by key: sources left of their targets, few crossings."""
    before: dict[str, list[str]] = {key: [] for key in keys}
    after: dict[str, list[str]] = {key: [] for key in before}
    for edge in edges:
        before[edge["target"]].append(edge["source"])
        after[edge["source"]].append(edge["target"])
    depth = _depths(before, after)
    layers: dict[int, list[str]] = {}
    for key in before:
        layers.setdefault(depth[key], []).append(key)
    row = {key: float(place) for layer in layers.values() for place, key in enumerate(layer)}
    for number in range(_PASSES):
        neighbours = before if number % 2 == 0 else after
        for level in sorted(layers, reverse=bool(number % 2)):
            for key in layers[level]:
                rows = [row[other] for other in neighbours[key]]
                row[key] = sum(rows) / len(rows) if rows else row[key]
            layers[level].sort(key=row.__getitem__)
            row |= {key: float(place) for place, key in enumerate(layers[level])}
    return {key: (_MARGIN + depth[key] * _COLUMN, _MARGIN + int(row[key]) * _ROW) for key in before}


def _depths(before: dict[str, list[str]], after: dict[str, list[str]]) -> dict[str, int]:
    """Longest way from a beginning, in topological order."""
    depth = dict.fromkeys(before, 0)
    open_inputs = {key: len(sources) for key, sources in before.items()}
    ready = [key for key, count in open_inputs.items() if not count]
    while ready:
        key = ready.pop()
        for target in after[key]:
            depth[target] = max(depth[target], depth[key] + 1)
            open_inputs[target] -= 1
            if not open_inputs[target]:
                ready.append(target)
    return depth


def _lines(edges: list[dict[str, Any]], places: dict[str, tuple[int, int]]) -> Iterable[str]:
    for edge in edges:
        (x, y), (to_x, to_y) = places[edge["source"]], places[edge["target"]]
        x, y, to_y = x + _WIDTH, y + _HEIGHT // 2, to_y + _HEIGHT // 2
        bend = max(20, (to_x - x) // 2)
        classes = "edge reused" if edge["reused"] else "edge"
        yield (
            f'<path class="{classes}" data-source="{edge["source"]}" '
            f'data-target="{edge["target"]}" '
            f'd="M{x},{y} C{x + bend},{y} {to_x - bend},{to_y} {to_x},{to_y}">'
            f"<title>{html.escape(edge['channel'])}</title></path>"
        )


def _boxes(nodes: list[dict[str, Any]], places: dict[str, tuple[int, int]]) -> Iterable[str]:
    for node in nodes:
        x, y = places[node["key"]]
        rounding = 3 if node["kind"] == "execution" else _HEIGHT // 2
        caption = html.escape(f"{node['label']} {node['id']}")
        yield (
            f'<g class="node {node["kind"]}" id="{node["key"]}" tabindex="0" role="button" '
            f'transform="translate({x},{y})"><rect width="{_WIDTH}" height="{_HEIGHT}" '
            f'rx="{rounding}"/><text x="{_WIDTH // 2}" y="{_HEIGHT // 2}">{caption}</text></g>'
        )
