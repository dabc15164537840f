"""The unit is the file: what made it and what was said of it, not what else came of its model."""

import json

import pytest

from benchmarks.lineage_store import sha256
from pipeline.lineage import diff, impact, trace, why
from pipeline.lineage.__main__ import main
from pipeline.lineage.export import export
from tests.pipeline.lineage.shipped_files import ShippedFiles
from tests.pipeline.lineage.statements import check_statement

OLD, NEW = sha256("old"), sha256("new")


@pytest.fixture
def runs(tmp_path):
    return ShippedFiles(tmp_path)


@pytest.fixture
def rewritten(runs):
    """The rewriter ran again on the first run's model: another file, with figures of its own."""
    runs.run("first", content="old", score=0.8, version="1", device=1)
    runs.run("second", model="first", content="new", score=0.9, version="2", device=2)
    return runs


def files_of(answer):
    return [fate for training in answer.trainings for fate in training.fates]


@pytest.mark.parametrize(("digest", "run", "score"), [(OLD, "first", 0.8), (NEW, "second", 0.9)])
def test_trace_of_a_file_is_about_this_file(rewritten, digest, run, score):
    (file,) = files_of(trace(rewritten.write(), digest))
    assert file.shipping_model.properties["sha256"] == digest
    assert (file.run.name, file.metrics) == (run, {"mAP50": score})
    assert file.settings == {"quantization": run}
    assert file.to_json()["fingerprints"]["code"] == sha256(f"code of {run}")
    assert [push.version for push in file.pushes] == ["1" if run == "first" else "2"]


@pytest.mark.parametrize(("run", "digest"), [("first", OLD), ("second", NEW)])
def test_trace_of_a_run_is_about_its_file(rewritten, run, digest):
    (file,) = files_of(trace(rewritten.write(), run))
    assert file.shipping_model.properties["sha256"] == digest


def test_trace_says_which_run_made_the_file(rewritten, capsys):
    rewritten.write()
    assert main(["trace", NEW, "--metadata", rewritten.location]) == 0
    text = capsys.readouterr().out
    assert "trained" in text.splitlines()[2]
    assert text.splitlines()[2].endswith("in first")
    assert f"made by      second, code {sha256('code of second')[:12]}" in text


def test_diff_of_two_files_of_one_model(rewritten):
    answer = diff(rewritten.write(), OLD, NEW)
    assert answer.to_json()["runs"] == ["first", "second"]
    assert ("device", 1, 2) in answer.settings
    assert [name for name, *_ in answer.code] == ["rewriter.py"]
    assert ("mAP50", 0.8, 0.9) in answer.metrics


def test_diff_of_two_runs_compares_their_own_files(rewritten):
    assert ("mAP50", 0.8, 0.9) in diff(rewritten.write(), "first", "second").metrics


@pytest.mark.parametrize("given", [NEW, "second"])
def test_the_statement_names_the_run_that_made_the_file(rewritten, given):
    predicate = check_statement(export(trace(rewritten.write(), given), "in-toto"))["predicate"]
    definition, details = predicate["buildDefinition"], predicate["runDetails"]
    assert details["metadata"]["invocationId"] == "second"
    assert definition["externalParameters"]["settings"] == {"device": 2}
    assert definition["internalParameters"]["fingerprints"]["code"] == sha256("code of second")
    code = [d["digest"]["sha256"] for d in definition["resolvedDependencies"]
            if d["name"] == "rewriter.py"]  # fmt: skip
    assert code[0] == sha256("second")
    assert details["byproducts"][0]["annotations"]["metrics"] == {"mAP50": 0.9}


def test_a_file_that_was_made_twice_is_one_answer(runs):
    """The rewriter's code changed, and the bytes did not."""
    runs.run("first", content="old", version="1")
    runs.run("second", model="first", content="old")
    backend = runs.write()
    answer = trace(backend, OLD)
    assert [file.run.name for file in files_of(answer)] == ["first", "second"]
    assert trace(backend, OLD[:8]).subject.artifact == answer.subject.artifact


def test_a_file_that_was_judged_twice_has_both_judgements(runs, capsys):
    runs.run("first", content="old", score=0.8, version="1")
    runs.run("second", model="first", file="first", content="old", score=0.7, blessed=False)
    backend = runs.write()
    (file,) = files_of(trace(backend, OLD))
    assert file.run.name == "first"
    assert [(j.run.name, j.metrics, j.blessed) for j in file.judgements] == [
        ("first", {"mAP50": 0.8}, True),
        ("second", {"mAP50": 0.7}, False),
    ]
    assert [judgement["run"] for judgement in file.to_json()["judgements"]] == ["first", "second"]
    main(["trace", OLD, "--metadata", runs.location])
    lines = [line for line in capsys.readouterr().out.splitlines() if "judgement" in line]
    assert "0.800; blessed" in lines[0]
    assert "0.700; refused by the Evaluator" in lines[1]


def test_a_judgement_from_the_cache_is_no_other_one(runs):
    runs.run("first", content="old", version="1")
    runs.run("second", model="first", file="first", judged="first", content="old", version="1")
    (file,) = files_of(trace(runs.write(), OLD))
    # DeviceCheck ran again: its blessing is another one.
    assert [judgement.evaluator.id for judgement in file.judgements] == [3, 3]


def test_a_version_that_was_pushed_three_times_is_one(runs):
    runs.run("first", content="old", version="1")
    for name in ("second", "third"):
        runs.run(name, model="first", file="first", content="old", version="1")
    backend = runs.write()
    (file,) = files_of(trace(backend, OLD))
    assert [push.version for push in file.pushes] == ["1"]
    assert len(impact(backend, "first").to_json()["pushed"]) == 1


def test_trace_of_a_run_says_what_refused_its_file(runs, capsys):
    """The first run pushed the same file; a later one pushed it again."""
    runs.run("first", content="old", version="1")
    refused = {"file": "first", "judged": "first", "reasons": ("3.1 ms, at most 2",)}
    runs.run("second", model="first", content="old", **refused)
    runs.run("third", model="first", file="first", judged="first", content="old", version="1")
    backend = runs.write()
    (file,) = files_of(trace(backend, "second"))
    assert (file.blessed, file.infra_blessed, file.pushes) == (True, False, [])
    assert "DeviceCheck" in why(backend, "second").decision
    main(["trace", "second", "--metadata", runs.location])
    text = capsys.readouterr().out
    assert "refused by DeviceCheck (3.1 ms, at most 2)" in text
    assert "pushed  " not in text
    assert json.loads(json.dumps(file.to_json()))["reasons"] == ["3.1 ms, at most 2"]


def test_a_number_that_was_given_again_is_the_latest_only_once(runs):
    """Somebody deleted version 1; the next push took its number."""
    runs.run("first", content="old", version="1")
    made = runs.run("second", content="new", version="1")
    (runs.folder / "pushed" / "1" / "manifest.json").write_text(
        json.dumps({"files": {"detect.tflite": {"sha256": NEW}}})
    )
    backend = runs.write()
    pushes = [push for answer in (trace(backend, OLD), trace(backend, NEW))
              for file in files_of(answer) for push in file.pushes]  # fmt: skip
    assert [push.is_latest for push in pushes] == [False, True]
    assert pushes[1].artifact.id == made["pushed_model"]
