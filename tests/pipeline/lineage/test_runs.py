"""`runs`: the last ones first to be read, of which pipeline, and which `latest` is whose."""

import json

import pytest

from pipeline.lineage import open_backend, runs
from pipeline.lineage.__main__ import main
from tests.pipeline.lineage.shipped_files import ShippedFiles


@pytest.fixture
def store(tmp_path):
    """25 runs, in turns of two pipelines that push to places of their own."""
    made = ShippedFiles(tmp_path)
    for number in range(25):
        pipeline = ("cats", "dogs")[number % 2]
        made.run(
            f"run-{number:02}", content=str(number), version=str(number), pipeline=pipeline,
            to=pipeline, blessed=number % 10 != 3,
        )  # fmt: skip
    made.write()
    return made


def ask(store, capfd, *arguments):
    assert main(["runs", *arguments, "--metadata", store.location]) == 0
    return capfd.readouterr()


def names(text):
    return [line.split()[0] for line in text.splitlines()[1:]]


def test_the_last_20_unless_all_are_asked_for(store, capfd):
    shown = ask(store, capfd)
    assert names(shown.out) == [f"run-{number:02}" for number in range(5, 25)]
    assert shown.err == "note: the last 20 runs; --all shows every one.\n"
    shown = ask(store, capfd, "--all")
    assert len(names(shown.out)) == 25
    assert shown.err == ""
    assert names(ask(store, capfd, "--last", "3").out) == ["run-22", "run-23", "run-24"]
    assert len(json.loads(ask(store, capfd, "--json").out)) == 20
    assert len(json.loads(ask(store, capfd, "--json", "--all").out)) == 25


def test_filters_look_back_as_far_as_it_takes(store, capfd):
    shown = ask(store, capfd, "--state", "not_blessed", "--last", "2")
    assert names(shown.out) == ["run-13", "run-23"]


def test_the_last_and_all_cannot_be_asked_for_at_once(store, capfd):
    with pytest.raises(SystemExit, match="2"):
        main(["runs", "--all", "--last", "3", "--metadata", store.location])
    assert "not allowed with" in capfd.readouterr().err


def test_only_what_is_asked_for_is_read(store, monkeypatch):
    backend = open_backend(store.location)
    asked = []
    original = backend._store.get_events_by_execution_ids

    def get_events(ids):
        asked.extend(ids)
        return original(ids)

    monkeypatch.setattr(backend._store, "get_events_by_execution_ids", get_events)
    monkeypatch.setattr(backend._store, "get_contexts_by_type", None)
    assert len(runs(backend, last=2)) == 2
    assert 0 < len(asked) <= 10


def test_the_pipeline_and_its_own_latest_are_told(store, capfd):
    lines = ask(store, capfd).out.splitlines()
    assert lines[0].split()[:2] == ["run", "pipeline"]
    latest = {line.split()[1]: line.rpartition("(")[2] for line in lines if "(latest" in line}
    assert latest == {name: f"latest in {store.folder / name})" for name in ("cats", "dogs")}
    (line,) = json.loads(ask(store, capfd, "--json", "--last", "1").out)
    assert line["pipeline"] == "cats"


def test_one_place_need_not_be_named(tmp_path, capfd):
    made = ShippedFiles(tmp_path)
    made.run("run", version="1")
    made.write()
    assert ask(made, capfd).out.rstrip().endswith("version 1 (latest)")
