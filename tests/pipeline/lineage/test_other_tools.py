"""The graph in a browser, and the export in the official OpenLineage client."""

import itertools
import json
import shutil
import subprocess

import pytest

from pipeline.lineage import trace
from pipeline.lineage.export import openlineage_events
from pipeline.lineage.graph import draw, to_json
from pipeline.lineage.graph_html import layout

# Clicks every node, one after the other, and leaves what the page then shows in its title.
_CLICK_ALL = """<script>
const shown = [...document.querySelectorAll(".node")].map((node) => {
  node.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  return [node.id, table.innerText];
});
const widths = ["fit", "closer", "farther"].map((button) => {
  document.getElementById(button).click();
  return drawing.clientWidth;
});
const room = drawing.parentElement.clientWidth;
document.body.replaceChildren(JSON.stringify({ shown, widths, room }));
</script></body>"""


@pytest.fixture
def answer(sqlite_filled):
    return trace(sqlite_filled.open(), "run-00007")


def test_every_node_shows_its_properties_when_clicked(answer, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed (Debian: chromium)")
    page = draw(answer, "html")
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page
    (tmp_path / "page.html").write_text(page.replace("</body>", _CLICK_ALL))
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
         f"--user-data-dir={tmp_path / 'profile'}", f"file://{tmp_path / 'page.html'}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    body = done.stdout.partition("<body>")[2].rpartition("</body>")[0]
    report = json.loads(body)
    fitting, closer, farther = report["widths"]
    assert fitting <= report["room"] < 1.25 * fitting
    assert closer == pytest.approx(1.25 * fitting, abs=1)
    assert farther == pytest.approx(fitting, abs=1)
    shown = dict(report["shown"])
    nodes = {node["key"]: node for node in to_json(answer)["nodes"]}
    assert shown.keys() == nodes.keys()
    for key, text in shown.items():
        assert nodes[key]["label"] in text
        assert nodes[key]["type"] in text
        assert all(name in text for name in nodes[key]["properties"])


def test_lines_pass_between_the_boxes(answer):
    graph = to_json(answer)
    keys = [node["key"] for node in graph["nodes"]]
    places, ways = layout(keys, graph["edges"])
    assert len(set(places.values())) == len(places)
    for edge, way in zip(graph["edges"], ways, strict=True):
        assert (way[0], way[-1]) == (edge["source"], edge["target"])
        assert not set(way[1:-1]) & set(keys)
        columns = [places[key][0] for key in way]
        assert {b - a for a, b in itertools.pairwise(columns)} == {columns[1] - columns[0]}
    rows: dict[int, list[int]] = {}
    for x, y in places.values():
        rows.setdefault(x, []).append(y)
    gaps = [b - a for column in rows.values() for a, b in itertools.pairwise(sorted(column))]
    assert min(gaps) > 30  # a box's height


def test_a_graph_cannot_inject_markup(answer):
    import dataclasses

    subject = dataclasses.replace(answer.subject, given="</script><b>@GRAPH@")
    page = draw(dataclasses.replace(answer, subject=subject), "html")
    assert "<b>" not in page
    assert page.count("</script>") == 2


def test_the_official_client_accepts_the_events(answer, tmp_path):
    event_v2 = pytest.importorskip("openlineage.client.event_v2")
    from openlineage.client import OpenLineageClient
    from openlineage.client.transport.file import FileConfig, FileTransport

    log = tmp_path / "events.jsonl"
    transport = FileTransport(FileConfig(log_file_path=str(log), append=True))
    client = OpenLineageClient(transport=transport)
    events = list(openlineage_events(answer))
    for event in events:
        client.emit(
            event_v2.RunEvent(
                eventTime=event["eventTime"],
                producer=event["producer"],
                run=event_v2.Run(event["run"]["runId"]),
                job=event_v2.Job(event["job"]["namespace"], event["job"]["name"]),
                eventType=event_v2.RunState[event["eventType"]],
                inputs=[event_v2.InputDataset(d["namespace"], d["name"]) for d in event["inputs"]],
                outputs=[
                    event_v2.OutputDataset(d["namespace"], d["name"]) for d in event["outputs"]
                ],
            )
        )
    received = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(received) == len(events) == 2 * len(answer.subgraph.executions)
    for ours, theirs in zip(events, received, strict=True):
        assert theirs["run"]["runId"] == ours["run"]["runId"]
        assert theirs["schemaURL"] == ours["schemaURL"]
        assert theirs["eventType"] == ours["eventType"]
        assert [d["name"] for d in theirs["inputs"]] == [d["name"] for d in ours["inputs"]]
