"""The export, by the official OpenLineage client, OpenSSL, and what the specifications say."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.lineage_store import ORIGIN
from benchmarks.lineage_writer import PIPELINE
from pipeline.errors import UserError
from pipeline.lineage import open_backend, trace
from pipeline.lineage.__main__ import main
from pipeline.lineage.export import export, openlineage_events
from tests.pipeline.lineage.statements import check_statement

_DOCUMENT = Path(__file__).parents[3] / "docs" / "lineage.md"
KEYS = {
    "ed25519": ("-algorithm", "ed25519"),
    "p256": ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
}


@pytest.fixture
def answer(sqlite_filled):
    return trace(sqlite_filled.open(), "run-00007")


def openssl(folder, *arguments):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_key(folder, kind) -> str:
    openssl(folder, "genpkey", *KEYS[kind], "-out", "key.pem")
    openssl(folder, "pkey", "-in", "key.pem", "-pubout", "-out", "public.pem")
    return str(folder / "key.pem")


def test_jobs_are_named_by_their_pipeline_and_belong_to_its_run(answer):
    nodes = {execution.id: execution.node for execution in answer.subgraph.executions.values()}
    runs = answer.backend.runs_of(nodes)
    parents = {}
    for event in openlineage_events(answer):
        facets = event["run"]["facets"]
        key = facets["tfx"]["execution"]
        assert event["job"]["name"] == f"{PIPELINE}.{nodes[key]}"
        assert facets["parent"]["job"]["name"] == PIPELINE
        parents.setdefault(runs[key].name, set()).add(facets["parent"]["run"]["runId"])
    assert all(len(ids) == 1 for ids in parents.values())
    assert len(set.union(*parents.values())) == len(parents) > 1


def test_the_official_client_accepts_the_events(answer, tmp_path):
    event_v2 = pytest.importorskip("openlineage.client.event_v2")
    from openlineage.client import OpenLineageClient
    from openlineage.client.facet_v2 import parent_run
    from openlineage.client.transport.file import FileConfig, FileTransport

    log = tmp_path / "events.jsonl"
    transport = FileTransport(FileConfig(log_file_path=str(log), append=True))
    client = OpenLineageClient(transport=transport)
    events = list(openlineage_events(answer))

    def parent_of(event):
        run, job = (event["run"]["facets"]["parent"][name] for name in ("run", "job"))
        return parent_run.ParentRunFacet(parent_run.Run(run["runId"]), parent_run.Job(**job))

    for event in events:
        client.emit(
            event_v2.RunEvent(
                eventTime=event["eventTime"],
                producer=event["producer"],
                run=event_v2.Run(event["run"]["runId"], {"parent": parent_of(event)}),
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
        parent, received_parent = (e["run"]["facets"]["parent"] for e in (ours, theirs))
        assert received_parent["run"]["runId"] == parent["run"]["runId"]
        assert received_parent["_schemaURL"] == parent["_schemaURL"]
        assert theirs["schemaURL"] == ours["schemaURL"]
        assert theirs["eventType"] == ours["eventType"]
        assert [d["name"] for d in theirs["inputs"]] == [d["name"] for d in ours["inputs"]]


def test_a_store_that_was_moved_gives_the_same_run_ids(sqlite_filled, answer, tmp_path):
    shutil.copy(sqlite_filled.location, tmp_path / "copy.sqlite")
    copied = trace(open_backend(str(tmp_path / "copy.sqlite")), "run-00007")
    assert list(openlineage_events(copied)) == list(openlineage_events(answer))
    ids = {event["run"]["runId"] for event in openlineage_events(answer)}
    assert len(ids) == len(answer.subgraph.executions)


def statement_of(answer, **more):
    return check_statement(export(answer, "in-toto", **more))


def test_the_statement_names_the_commit_the_host_and_the_user(answer):
    definition = statement_of(answer)["predicate"]["buildDefinition"]
    assert definition["internalParameters"]["host"] == ORIGIN["host"]
    assert definition["internalParameters"]["user"] == ORIGIN["user"]
    (source,) = (d for d in definition["resolvedDependencies"] if d["name"] == "source")
    assert source["digest"] == {"gitCommit": ORIGIN["commit"]}
    assert source["annotations"] == {"dirty": True}


def test_the_builder_is_tfx_on_this_machine_unless_it_is_given(answer):
    def builder(**more):
        return statement_of(answer, **more)["predicate"]["runDetails"]["builder"]["id"]

    assert builder().endswith("/LocalDagRunner")
    assert builder(builder_id="https://example.org/farm") == "https://example.org/farm"
    with pytest.raises(UserError, match="Expected a URI for --builder-id"):
        builder(builder_id="our farm")


@pytest.mark.parametrize("option", ["--builder-id", "--sign-with"])
def test_what_only_a_statement_has_is_refused_elsewhere(sqlite_filled, capfd, option):
    arguments = ["export", "run-00007", option, "x:y", "--metadata", sqlite_filled.location]
    assert main(arguments) == 2
    assert "Expected --format in-toto" in capfd.readouterr().err


@pytest.mark.parametrize("kind", KEYS)
def test_the_documented_commands_check_the_signature(sqlite_filled, tmp_path, kind):
    key = make_key(tmp_path, kind)
    arguments = ["export", "run-00007", "--format", "in-toto", "--sign-with", key]
    out = tmp_path / "provenance.json"
    assert main([*arguments, "--out", str(out), "--metadata", sqlite_filled.location]) == 0
    (tmp_path / "detect.tflite").write_text("file 7")  # the generator's content
    (commands,) = re.findall(r"```sh verify\n(.*?)```", _DOCUMENT.read_text(), re.S)

    def checked() -> str:
        done = subprocess.run(
            ["sh", "-c", commands], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return "ok" if done.returncode == 0 else done.stderr + done.stdout

    assert checked() == "ok"
    envelope = json.loads(out.read_text())
    check_statement(base64.b64decode(envelope["payload"]).decode())
    assert envelope["payloadType"] == "application/vnd.in-toto+json"

    changed = base64.b64decode(envelope["payload"]).replace(b'"farm"', b'"park"')
    forged = {**envelope, "payload": base64.b64encode(changed).decode()}
    out.write_text(json.dumps(forged))
    assert "Verification Failure" in checked()
    out.write_text(json.dumps(envelope))
    (tmp_path / "detect.tflite").write_text("another file")
    assert "of another file" in checked()


def test_what_is_no_key_for_signing_is_one_error(answer, tmp_path):
    openssl(tmp_path, "genpkey", "-algorithm", "RSA", "-out", "rsa.pem")
    openssl(tmp_path, "genpkey", *KEYS["ed25519"], "-aes256", "-pass", "pass:x", "-out", "safe.pem")
    (tmp_path / "text.pem").write_text("no key")
    for name, reason in {
        "rsa.pem": "another kind",
        "safe.pem": "openssl pkey -in",
        "text.pem": "something else",
        "none.pem": "No such file",
    }.items():
        with pytest.raises(UserError, match=f"Expected a private key in PEM.*{reason}"):
            export(answer, "in-toto", key_file=str(tmp_path / name))
