"""The export, by the official OpenLineage client."""

import json

import pytest

from pipeline.lineage import trace
from pipeline.lineage.export import openlineage_events


@pytest.fixture
def answer(sqlite_filled):
    return trace(sqlite_filled.open(), "run-00007")


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
