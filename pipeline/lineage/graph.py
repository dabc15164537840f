"""`graph`: the lineage of X as Mermaid, DOT, JSON, or one HTML page."""

import json
from typing import Any

from pipeline.lineage.trace import Trace
from pipeline.lineage.walk import Subgraph, find_makers
from pipeline.metadata.records import Artifact, Event


def draw(trace: Trace, form: str) -> str:
    """The graph of a trace as text.

    Args:
      trace: of X.
      form: "mermaid", "dot", "json" (`to_json`) or "html".
    """
    graph = to_json(trace)
    if form == "html":
        from pipeline.lineage.graph_html import page

        return page(graph)
    writers = {"mermaid": _mermaid, "dot": _dot, "json": lambda g: json.dumps(g, indent=2)}
    return writers[form](graph)


def to_json(trace: Trace) -> dict[str, Any]:
    """{title, begin, nodes: [{key, kind, label, run, ...}], edges: [{source, target, ...}]}.

    Keys are a<id> for artifacts and e<id> for executions; `begin` are those of X: the artifact, or
    the run's executions. `kind` is "artifact" or "execution"; `run` is the run that executed it, or
    made the artifact; the other facts are those of `Artifact.to_json` and `Execution.to_json`. An
    edge is `reused` when another execution made the artifact: it came from the cache, or was
    resolved or imported.
    """
    part, backend, subject = trace.subgraph, trace.backend, trace.subject
    # Also of what is not followed, such as a baseline.
    makers = {**find_makers(backend, part.artifacts.keys() - part.makers.keys()), **part.makers}
    runs = {
        key: run.name for key, run in backend.runs_of({*part.executions, *makers.values()}).items()
    }
    nodes = [
        {"key": f"e{key}", "kind": "execution", "label": execution.node, "run": runs.get(key)}
        | execution.to_json()
        for key, execution in sorted(part.executions.items())
    ]
    nodes += [
        {"key": f"a{key}", "kind": "artifact", "label": _label(artifact)}
        | {"run": runs.get(makers.get(key))}
        | artifact.to_json()
        for key, artifact in sorted(part.artifacts.items())
    ]
    begin = [f"a{subject.artifact.id}"] if subject.artifact else [
        node["key"] for node in nodes
        if node["kind"] == "execution" and node["run"] == subject.run.name
    ]  # fmt: skip
    title = f"Lineage of {subject.given}"
    return {"title": title, "begin": begin, "nodes": nodes, "edges": _edges(part)}


def _label(artifact: Artifact) -> str:
    is_pushed = artifact.type == "PushedModel" and artifact.properties.get("pushed")
    version = f" {artifact.properties.get('pushed_version')}" if is_pushed else ""
    return f"{artifact.type}{version}"


def _edges(part: Subgraph) -> list[dict[str, Any]]:
    """Inputs and outputs; an output is reused if another execution made the artifact."""

    def edge(event: Event) -> dict[str, Any]:
        ends = f"e{event.execution}", f"a{event.artifact}"
        source, target = ends if event.is_output else ends[::-1]
        maker = part.makers.get(event.artifact, event.execution)
        is_reused = event.is_output and maker != event.execution
        return {"source": source, "target": target, "channel": event.channel, "reused": is_reused}

    return [edge(event) for event in sorted(part.events)]


def _caption(node: dict[str, Any]) -> str:
    return f"{node['label']} {node['id']}"


def _mermaid(graph: dict[str, Any]) -> str:
    lines = ["flowchart LR"]
    for node in graph["nodes"]:
        opening, closing = ("[", "]") if node["kind"] == "execution" else ("([", "])")
        lines.append(f'  {node["key"]}{opening}"{_caption(node)}"{closing}')
    lines += [
        f"  {edge['source']} {'-.->' if edge['reused'] else '-->'}|{edge['channel']}| "
        f"{edge['target']}"
        for edge in graph["edges"]
    ]
    return "\n".join(lines)


def _dot(graph: dict[str, Any]) -> str:
    lines = ["digraph lineage {", "  rankdir=LR;"]
    for node in graph["nodes"]:
        shape = "box" if node["kind"] == "execution" else "ellipse"
        lines.append(f"  {node['key']} [shape={shape}, label={json.dumps(_caption(node))}];")
    lines += [
        f"  {edge['source']} -> {edge['target']} [label={json.dumps(edge['channel'])}"
        f"{', style=dashed' * edge['reused']}];"
        for edge in graph["edges"]
    ]
    return "\n".join([*lines, "}"])
