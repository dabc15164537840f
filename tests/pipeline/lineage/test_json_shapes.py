"""What docs/lineage.md says of the JSON, against real answers: neither can drift alone."""

import datetime
import json
import re
from pathlib import Path

import pytest

from pipeline.lineage.__main__ import main

_TEXT = (Path(__file__).parents[3] / "docs" / "lineage.md").read_text()
SHAPES = {
    name: json.loads(text) for name, text in re.findall(r"```json (\w+)\n(.*?)```", _TEXT, re.S)
}
_TYPES = {"str": str, "int": int, "float": (int, float), "bool": bool, "id": (int, str)}


def check(value, shape, where: str, used: set) -> None:
    if isinstance(shape, dict):
        assert isinstance(value, dict), where
        if "*" not in shape:
            assert value.keys() == shape.keys(), where
        for name, inner in value.items():
            check(inner, shape.get("*", shape.get(name)), f"{where}.{name}", used)
    elif isinstance(shape, list):
        assert isinstance(value, list), where
        for inner in value:
            check(inner, shape[0], f"{where}[]", used)
    elif shape != "any" and not (shape.endswith("?") and value is None):
        name = shape.removesuffix("?")
        if name.startswith("@"):
            used.add(name[1:])
            check(value, SHAPES[name[1:]], where, used)
        elif name == "time":
            datetime.datetime.fromisoformat(value)
        else:
            assert isinstance(value, _TYPES[name]), where
            assert isinstance(value, bool) == (name == "bool"), where


@pytest.fixture(scope="module")
def used():
    return set()


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ("runs", ["runs", "--json"]),
        ("trace", ["trace", "run-00005", "--json"]),
        ("trace", ["trace", "run-00009", "--json"]),
        ("impact", ["impact", "picture_000001", "--json"]),
        ("diff", ["diff", "run-00001", "run-00012", "--json"]),
        ("why", ["why", "run-00013", "--json"]),
        ("why", ["why", "run-00002", "--json"]),
        ("verify", ["verify", "run-00001", "--json"]),
    ],
)
def test_answers_have_the_documented_shape(sqlite_filled, capfd, used, shape, arguments):
    assert main([*arguments, "--metadata", sqlite_filled.location]) in (0, 1)
    answer = json.loads(capfd.readouterr().out)
    if shape == "diff":
        # A generated store holds neither of them.
        assert (answer.pop("code"), answer.pop("environment")) == (None, None)
        documented = dict(SHAPES[shape])
        assert documented.pop("code") == documented.pop("environment") == {"*": ["any"]}
        check(answer, documented, shape, used)
        return
    for item in answer if shape == "runs" else [answer]:
        check(item, SHAPES[shape], shape, used)


def test_the_graph_has_the_documented_shape(sqlite_filled, capfd, used):
    assert (
        main(["graph", "run-00005", "--format", "json", "--metadata", sqlite_filled.location]) == 0
    )
    graph = json.loads(capfd.readouterr().out)
    for node in graph["nodes"]:
        assert node.pop("key")[0] == node["kind"][0]
        assert node.pop("label")
        assert node.pop("run").startswith("run-")
        check(node, SHAPES[node.pop("kind")], "node", used)
    check({**graph, "nodes": []}, SHAPES["graph"], "graph", used)


def test_every_documented_shape_was_met(used):
    verbs = {"embedded", "runs", "trace", "impact", "diff", "why", "verify", "graph"}
    assert used == SHAPES.keys() - verbs
