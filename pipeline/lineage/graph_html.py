"""The graph of a lineage as one HTML page that loads nothing: X first, below it what it came from.

Every node is a row, and a rail beside the rows carries the lines, as in `git log --graph`: the page
is as wide as the screen it is read on, a phone's too, however long the lineage is. Each run is a
section that folds. What a run took from another one is a dashed row there, and links to its place.
"""

import collections
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_LANE, _ROW = 14, 44
_TALL = 99999  # lines end where the row does
_COLORS = 6
# Nearest runs first, sections are unfolded until so many rows are visible.
_UNFOLDED_ROWS = 15
_DIGITS = 12
# What a WarmStart brings, and nothing else in the store made.
_FOREIGN = {"result": "weights of unknown origin"}
_ASKED = " <mark>asked for</mark>"
_TEMPLATE = Path(__file__).with_name("graph_page.html")

Node = dict[str, Any]


class Row(NamedTuple):
    """A node's place on the rail.

    Attributes:
      key: of the node.
      lane: of its mark.
      ends: whether a line from above ends in it.
      passing: lanes of the lines that pass it.
      leaving: lanes in which its lines go on, to what it came from.
    """

    key: str
    lane: int
    ends: bool
    passing: list[int]
    leaving: list[int]


class Section(NamedTuple):
    """A run.

    Attributes:
      run: its name; None for what belongs to no run that is known.
      nodes: made or executed by this run, and those that it took from others, by key.
      rows: in their order.
    """

    run: str | None
    nodes: dict[str, Node]
    rows: list[Row]

    @property
    def own(self) -> list[Node]:
        """Nodes that are this run's."""
        return [node for node in self.nodes.values() if node["run"] == self.run]


def page(graph: dict[str, Any]) -> str:
    """The page of a graph.

    Args:
      graph: see `pipeline.lineage.graph.to_json`.
    """
    parts = picture(graph)
    count = f"{_count(len(graph['nodes']), 'node')} of {_count(len(parts), 'run')}"
    replaced = {"TITLE": html.escape(graph["title"]), "COUNT": count, "RUNS": "\n".join(parts)}
    # In one pass, so that nothing inside the values is replaced.
    text = re.sub("@([A-Z]+)@", lambda match: replaced[match[1]], _TEMPLATE.read_text())
    # Can be written in any encoding, names with bytes that are no UTF-8 included.
    return text.encode("ascii", "xmlcharrefreplace").decode()


def picture(graph: dict[str, Any], unfolded_rows: int = _UNFOLDED_ROWS) -> list[str]:
    """The runs of a graph as HTML, for a page with the styles of this one.

    Args:
      graph: see `page`.
      unfolded_rows: runs are unfolded until so many rows are visible.
    """
    found = sections(graph)
    taken = {
        key
        for section in found
        for key, node in section.nodes.items()
        if node["run"] != section.run
    }
    writer = _Writer(graph, taken)
    visible, parts = 0, []
    for section in found:
        parts.append(writer.section(section, visible < unfolded_rows))
        visible += len(section.rows)
    return parts


def sections(graph: dict[str, Any]) -> list[Section]:
    """The runs of a graph: first that of X, and every other one below those that took from it."""
    nodes = {node["key"]: node for node in graph["nodes"]}
    members: dict[str | None, dict[str, Node]] = {node["run"]: {} for node in nodes.values()}
    for key, node in nodes.items():
        members[node["run"]][key] = node
    steps = collections.defaultdict(list)
    takers = collections.defaultdict(set)
    for edge in graph["edges"]:
        source, target = nodes[edge["source"]], nodes[edge["target"]]
        execution, artifact = sorted((source, target), key=lambda n: n["kind"], reverse=True)
        members[execution["run"]][artifact["key"]] = artifact
        steps[execution["run"]].append((source["key"], target["key"]))
        takers[artifact["run"]] |= {execution["run"]} - {artifact["run"]}
    found = {run: Section(run, group, _rows(group, steps[run])) for run, group in members.items()}
    first = {nodes[key]["run"] for key in graph["begin"]}
    ranks = {
        run: (run in first, run is not None, max(map(_time, section.own)))
        for run, section in found.items()
    }
    return [found[run] for run in _ordered(ranks, takers)]


def _time(node: Node) -> str:
    return node.get("started") or node.get("created") or ""


def _ordered(ranks: Mapping[Any, tuple], users: Mapping[Any, set]) -> Iterator[Any]:
    """Keys, each after all of its users; of those that may come next, the one of highest rank."""
    waiting = dict(ranks)
    while waiting:
        ready = [key for key in waiting if not users[key] & waiting.keys()]
        # A damaged store may go in circles.
        key = max(ready or waiting, key=ranks.__getitem__)
        del waiting[key]
        yield key


def _rows(nodes: Mapping[str, Node], steps: Iterable[tuple[str, str]]) -> list[Row]:
    """Each node below all that came from it, the latest first, with the lines between them."""
    sources: dict[str, list[str]] = {key: [] for key in nodes}
    users: dict[str, set[str]] = {key: set() for key in nodes}
    for source, target in dict.fromkeys(steps):
        sources[target].append(source)
        users[source].add(target)
    lanes: list[str | None] = []  # whose line is in each lane
    done: set[str] = set()

    def lane_of(key: str) -> int:
        if key not in lanes:
            if None not in lanes:
                lanes.append(None)
            lanes[lanes.index(None)] = key
        return lanes.index(key)

    def row(key: str) -> Row:
        done.add(key)
        ends, lane = key in lanes, lane_of(key)
        passing = [n for n, other in enumerate(lanes) if other not in (None, key)]
        lanes[lane] = None
        leaving = [lane_of(source) for source in sources[key] if source not in done]
        return Row(key, lane, ends, passing, leaving)

    # Of equal times an artifact comes first: it was made at the end of its execution.
    ranks = {key: (_time(node), node["kind"] == "artifact") for key, node in nodes.items()}
    return [row(key) for key in _ordered(ranks, users)]


class _Writer:
    """Writes a graph's sections as HTML.

    Args:
      graph: see `page`.
      taken: keys of the artifacts that runs took from other runs.
    """

    def __init__(self, graph: dict[str, Any], taken: set[str]):
        self._nodes = {node["key"]: node for node in graph["nodes"]}
        self._begin, self._taken = set(graph["begin"]), taken
        self._links: dict[str, list[tuple[str, str, str]]] = collections.defaultdict(list)
        for edge in graph["edges"]:
            source, target, channel = edge["source"], edge["target"], edge["channel"]
            self._links[target].append(("from", channel, source))
            self._links[source].append(("to", channel, target))
        self._made_as = {e["target"]: e["channel"] for e in graph["edges"] if not e["reused"]}

    def section(self, section: Section, is_open: bool) -> str:
        """A run with its rows."""
        own = section.own
        given = [_caption(n) for n in reversed(own) if n["key"] in self._taken]
        facts = [_moment(min(map(_time, own))), _count(len(own), "node"), *_outcome(own)]
        if given:
            facts.append("made " + ", ".join(given))
        lanes = 1 + max(
            lane for row in section.rows for lane in (row.lane, *row.passing, *row.leaving)
        )
        rows = "\n".join(self._row(row, section.run) for row in section.rows)
        asked = _ASKED * any(n["key"] in self._begin and n["kind"] == "execution" for n in own)
        name = section.run if section.run is not None else "outside of the runs in this store"
        return (
            f'<details class="run"{" open" * is_open}><summary><b>{_text(name)}</b>{asked} '
            f"<small>{_text(' · '.join(facts))}</small></summary>\n"
            f'<ol style="--rail: {lanes * _LANE + 6}px">\n{rows}\n</ol></details>'
        )

    def _row(self, row: Row, run: str | None) -> str:
        node = self._nodes[row.key]
        is_taken, is_artifact = node["run"] != run, node["kind"] == "artifact"
        facts = [_moment(_time(node)), *_remarks(node)]
        if is_artifact and row.key in self._made_as:
            channel = self._made_as[row.key]
            facts.insert(1, _FOREIGN.get(channel, channel))
        if is_taken:
            facts.insert(0, f"from run {node['run']}" if node["run"] else "from another run")
        rail, caption = _rail(row, is_artifact), f"<b>{_text(_caption(node))}</b>"
        remarks = f" <small>{_text(' · '.join(filter(None, facts)))}</small>"
        if is_taken:
            return f'<li class="taken">{rail}<a href="#{row.key}">{caption}{remarks}</a></li>'
        asked = _ASKED * (is_artifact and row.key in self._begin)
        return (
            f'<li class="{node.get("state", "")}" id="{row.key}">{rail}'
            f"<details><summary>{caption}{asked}{remarks}</summary>"
            f"<table>{''.join(self._table(node))}</table></details></li>"
        )

    def _table(self, node: Node) -> Iterable[str]:
        for way, channel, other in self._links[node["key"]]:
            there = self._nodes[other]
            link = f'<a href="#{other}">{_text(_caption(there))}</a>'
            elsewhere = f" of run {there['run']}" * (there["run"] not in (node["run"], None))
            yield f"<tr><th>{way} {_text(channel)}<td>{link}{_text(elsewhere)}"
        facts = {
            name: node[name] for name in ("type", "uri", "started", "created") if node.get(name)
        }
        for name, value in {**facts, **node["properties"]}.items():
            text = (
                value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False)
            )
            yield f"<tr><th>{_text(name)}<td>{_text(text)}"


def _rail(row: Row, is_circle: bool) -> str:
    def x(lane: int) -> int:
        return 10 + lane * _LANE

    here, middle = x(row.lane), _ROW // 2

    def line(lane: int, path: str) -> str:
        return f'<path class="c{lane % _COLORS}" d="{path}"/>'

    lines = [line(lane, f"M{x(lane)},0V{_TALL}") for lane in row.passing]
    if row.ends:
        lines.append(line(row.lane, f"M{here},0V{middle}"))
    for lane in row.leaving:
        there = x(lane)
        lines.append(
            line(lane, f"M{here},{middle}C{here},{_ROW} {there},{middle} {there},{_ROW}V{_TALL}")
        )
    mark = f'<rect x="{here - 5}" y="{middle - 5}" width="10" height="10" rx="2"/>'
    if is_circle:
        mark = f'<circle cx="{here}" cy="{middle}" r="5.5"/>'
    return (
        f'<svg aria-hidden="true">{"".join(lines)}<g class="c{row.lane % _COLORS}">{mark}</g></svg>'
    )


def _text(value: Any) -> str:
    return html.escape(str(value))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _caption(node: Node) -> str:
    return f"{node.get('node') or node['type']} {node['id']}"


def _moment(time: str) -> str:
    """2026-11-28 09:24; times of the graph are ISO 8601 in UTC."""
    return time[:16].replace("T", " ")


def _remarks(node: Node) -> list[str]:
    """What tells this node from others of its kind."""
    if node["kind"] == "execution":
        state = node["state"]
        duration = [] if state == "cached" else [_duration(node["seconds"])]
        return duration + [state] * (state != "complete")
    facts, remarks = node["properties"], []
    if facts.get("num_train") is not None:
        train, held_out = facts["num_train"], facts.get("num_eval") or 0
        remarks.append(f"{train + held_out:,} images: {train:,} train, {held_out:,} eval")
    if facts.get("pushed"):
        remarks.append(f"version {facts.get('pushed_version')}")
    if "blessed" in facts and node["type"].endswith("Blessing"):
        remarks.append("blessed" if facts["blessed"] else "not blessed")
    if facts.get("mAP50") is not None:
        remarks.append(f"mAP@.5 {facts['mAP50']:.3f}")
    if facts.get("sha256"):
        remarks.append(f"sha256 {str(facts['sha256'])[:_DIGITS]}")
    return remarks


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _outcome(nodes: Iterable[Node]) -> list[str]:
    """What became of a run's model, as far as the graph shows it."""
    facts = {node["type"]: node["properties"] for node in nodes if node["kind"] == "artifact"}
    pushed = facts.get("PushedModel", {})
    if pushed.get("pushed"):
        return [f"pushed version {pushed.get('pushed_version')}"]
    verdicts = [facts[name] for name in ("ModelBlessing", "InfraBlessing") if name in facts]
    return ["not blessed"] if any(not verdict.get("blessed") for verdict in verdicts) else []
