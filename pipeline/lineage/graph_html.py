"""The graph of a lineage as one self-contained HTML page: layers from left to right, as SVG.

Lines keep to lanes between the boxes. Without lanes, 30 of the 85 lines of a run with seven warm
starts behind it would run through a box of another node.
"""

import html
import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_COLUMN, _ROW, _WIDTH, _HEIGHT, _MARGIN = 190, 46, 150, 30, 20
# Passes over the layers, each sorting nodes by where their neighbours are.
_PASSES = 8
_MOST_LANES = 5000
_TEMPLATE = Path(__file__).with_name("graph_page.html")


def page(graph: dict[str, Any]) -> str:
    """The page of a graph.

    Args:
      graph: see `pipeline.lineage.graph.to_json`.

    Returns:
      HTML that loads nothing; every artifact and execution shows its properties when it is clicked,
      or chosen with the keyboard.
    """
    places, ways = layout([node["key"] for node in graph["nodes"]], graph["edges"])
    width = max((x for x, _ in places.values()), default=0) + _WIDTH + _MARGIN
    height = max((y for _, y in places.values()), default=0) + _HEIGHT + _MARGIN
    drawing = "\n".join([*_lines(graph["edges"], ways, places), *_boxes(graph["nodes"], places)])
    replaced = {
        "TITLE": html.escape(graph["title"]),
        "WIDTH": str(width),
        "HEIGHT": str(height),
        "DRAWING": drawing,
        # Nothing inside the JSON may end the script element.
        "GRAPH": json.dumps(graph).replace("<", "\\u003c"),
    }
    # In one pass, so that nothing inside the values is replaced.
    return re.sub("@([A-Z]+)@", lambda match: replaced[match[1]], _TEMPLATE.read_text())


def layout(
    keys: Iterable[str], edges: list[dict[str, Any]]
) -> tuple[dict[str, tuple[int, int]], list[list[str]]]:
    """Places the nodes: sources left of their targets, with few crossings.

    Args:
      keys: of the nodes.
      edges: with `source` and `target`.

    Returns:
      Upper left corners in pixels by key; and for every edge the keys on its way, from its source
      to its target. Those between are lanes: places kept free in the columns that it passes, shared
      by all edges of a source. Graphs that would need more than `_MOST_LANES` have none.
    """
    keys = list(keys)
    ends = [(edge["source"], edge["target"]) for edge in edges]
    depth = _depths(*_neighbours(keys, ends))
    ways = [[source, *_lanes(source, target, depth), target] for source, target in ends]
    lanes = {lane: level for way in ways for level, lane in enumerate(way[1:-1], depth[way[0]] + 1)}
    if len(lanes) > _MOST_LANES:
        lanes, ways = {}, [[source, target] for source, target in ends]
    depth |= lanes
    steps = dict.fromkeys(step for way in ways for step in itertools.pairwise(way))
    before, after = _neighbours(depth, steps)
    layers: dict[int, list[str]] = {}
    for key in before:
        layers.setdefault(depth[key], []).append(key)
    row = {key: float(place) for layer in layers.values() for place, key in enumerate(layer)}
    for number in range(_PASSES):
        neighbours = before if number % 2 == 0 else after
        for level in sorted(layers, reverse=bool(number % 2)):
            layer = layers[level]
            row |= {key: _mean(row, neighbours[key], row[key]) for key in layer}
            layer.sort(key=row.__getitem__)
            row |= {key: float(place) for place, key in enumerate(layer)}
    for level in sorted(layers):  # straightens lines without changing the order
        free = 0.0
        for key in layers[level]:
            row[key] = max(free, _mean(row, before[key], free))
            free = row[key] + 1
    places = {
        key: (_MARGIN + depth[key] * _COLUMN, _MARGIN + int(row[key] * _ROW)) for key in before
    }
    return places, ways


def _lanes(source: str, target: str, depth: dict[str, int]) -> list[str]:
    return [f"{source}@{level}" for level in range(depth[source] + 1, depth[target])]


def _neighbours(
    keys: Iterable[str], steps: Iterable[tuple[str, str]]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    before: dict[str, list[str]] = {key: [] for key in keys}
    after: dict[str, list[str]] = {key: [] for key in before}
    for source, target in steps:
        before[target].append(source)
        after[source].append(target)
    return before, after


def _mean(row: dict[str, float], keys: list[str], default: float) -> float:
    return sum(row[key] for key in keys) / len(keys) if keys else default


def _depths(before: dict[str, list[str]], after: dict[str, list[str]]) -> dict[str, int]:
    """Columns: sources left of their targets, as close as possible.

    First every node is as far left as possible: its column is the longest path to it. Then, from
    the right, every node with targets moves to the column before the first of them.
    """
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
    for key in sorted(before, key=depth.__getitem__, reverse=True):
        if after[key]:
            depth[key] = min(depth[target] for target in after[key]) - 1
    return depth


def _lines(
    edges: list[dict[str, Any]], ways: list[list[str]], places: dict[str, tuple[int, int]]
) -> Iterable[str]:
    for edge, way in zip(edges, ways, strict=True):
        classes = "edge reused" if edge["reused"] else "edge"
        yield (
            f'<path class="{classes}" data-source="{edge["source"]}" '
            f'data-target="{edge["target"]}" d="{_path([places[key] for key in way])}">'
            f"<title>{html.escape(edge['channel'])}</title></path>"
        )


def _path(corners: list[tuple[int, int]]) -> str:
    """From the right side of the first box to the left side of the last, straight in lanes."""
    (x, y), *rest = corners
    x, y = x + _WIDTH, y + _HEIGHT // 2
    text = f"M{x},{y}"
    for number, (to_x, to_y) in enumerate(rest, 1):
        to_y += _HEIGHT // 2
        bend = max(20, (to_x - x) // 2)
        text += f" C{x + bend},{y} {to_x - bend},{to_y} {to_x},{to_y}"
        x, y = to_x + _WIDTH, to_y
        text += f" H{x}" * (number < len(rest))
    return text


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
