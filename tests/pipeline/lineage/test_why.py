"""Reasons that a person can use: why a run failed, and what really differs."""

import json

import pytest

from benchmarks.lineage_writer import Writer
from pipeline.lineage import open_backend, why
from pipeline.lineage.why import _short
from pipeline.metadata import store
from pipeline.metadata.facts import RECORD_TYPE


@pytest.fixture
def answer(tmp_path):
    """Asks about the second of two runs of an ExampleGen with these properties."""

    def ask(before, after, cached_before=False, **facts):
        location = str(tmp_path / "metadata.sqlite")
        writer = Writer(store.open_store(store.connection_config(location)), tmp_path / "root")
        examples = writer.artifact("Examples", "ExampleGen", "examples")
        for name, properties, cached in (("a", before, cached_before), ("b", after, False)):
            config = {"execution": {"pipeline_root": f"/{name}/pipeline_root"}}
            writer.context(RECORD_TYPE, f"configuration/{name}", json=json.dumps(config))
            told = {"configuration": name, **(facts if name == "b" else {})}
            run = writer.run(name, 1, **told)
            writer.execute(
                "ExampleGen", run, {}, {"examples": examples}, cached=cached, millis=1, **properties
            )
        writer.write()
        return why(open_backend(location), "b")

    return ask


def test_the_error_of_a_failed_run_is_the_reason(answer):
    found = answer({}, {}, error="Expected images. Received: none.")
    assert found.decision == "not pushed: the run failed: Expected images. Received: none."


def test_what_a_cached_execution_does_not_record_is_no_reason(answer):
    found = answer({"a": 1}, {"a": 2, "input_fingerprint": "x", "span": 3}, cached_before=True)
    assert found.reruns[0].reason == "a: 1 -> 2"


def test_the_place_of_the_workdir_is_no_reason(answer):
    before = {"input_base": "/a/data", "state": '{"dir": "/a/checkpoints"}', "pushed": "/a/pushed"}
    after = {"input_base": "/b/data", "state": '{"dir": "/b/checkpoints"}', "pushed": "/c/pushed"}
    assert answer(before, after).reruns[0].reason == "pushed: /a/pushed -> /c/pushed"


def test_one_truth_value_in_two_spellings_is_no_reason(answer):
    found = answer({"quantized": "false", "a": 1}, {"quantized": 0, "a": 2})
    assert found.reruns[0].reason == "a: 1 -> 2"
    assert json.dumps(found.to_json()).count("quantized") == 0


def test_long_values_are_cut_to_where_they_differ():
    before, after = _short("/very/long" * 20 + "/one/end", "/very/long" * 20 + "/two/end")
    assert before == "...very/long/very/long/one/end"
    assert after == "...very/long/very/long/two/end"
    assert _short("a" * 64, "b" * 64) == ["a" * 12, "b" * 12]
    assert _short(None, 3) == ["None", "3"]
    long, short = _short("x" * 100, "y")
    assert (long, short) == ("x" * 57 + "...", "y")
