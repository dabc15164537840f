"""Every verb on a generated store, on every server, against what the generator knows."""

import json

import pytest

from benchmarks.lineage_store import IMAGES, RUNS_PER_DATA, sha256
from pipeline.errors import UserError
from pipeline.lineage import diff, impact, runs, trace, verify, why
from pipeline.lineage.__main__ import main
from pipeline.lineage.export import export
from pipeline.lineage.graph import draw
from tests.pipeline.lineage.statements import check_statement

LAST_OF_CHAIN, UNBLESSED, CACHED, FRESH = 7, 13, 9, 12


@pytest.fixture
def backend(filled):
    return filled.open()


def test_trace_follows_the_whole_chain_of_warm_starts(filled, backend):
    made = filled.made
    found = trace(backend, f"artifact:{made.pushed[LAST_OF_CHAIN]}")
    assert [t.model.id for t in found.trainings] == made.models[LAST_OF_CHAIN::-1]
    assert [t.run.name for t in found.trainings] == [
        made.run_id(run) for run in range(LAST_OF_CHAIN, -1, -1)
    ]
    assert [t.warm_start and t.warm_start.id for t in found.trainings] == [
        *made.models[LAST_OF_CHAIN - 1 :: -1], None
    ]  # fmt: skip
    assert {t.examples[0].id for t in found.trainings} == {made.examples[0], made.examples[7]}


def test_trace_finds_a_file_by_its_hash_alone(filled, backend, tmp_path):
    (tmp_path / "elsewhere.tflite").write_text("file 10")  # the generator's content
    found = trace(backend, str(tmp_path / "elsewhere.tflite"))
    assert found.subject.artifact.id == filled.made.pushed[10]
    assert found.trainings[0].fates[0].shipping_model.properties["sha256"] == sha256("file 10")


def test_trace_leaves_the_ancestry_of_baselines_out_unless_asked(filled, backend):
    made = filled.made
    without = trace(backend, made.run_id(FRESH)).subgraph
    everything = trace(backend, made.run_id(FRESH), through_baselines=True).subgraph
    assert made.shipping_models[FRESH - 1] in without.artifacts  # it was compared with
    assert made.models[FRESH - 1] not in without.artifacts
    assert made.models[FRESH - 1] in everything.artifacts


def test_impact_of_data_is_its_models_and_those_that_began_from_them(filled, backend):
    made = filled.made
    found = impact(backend, str(made.examples[0]))
    ways = {touched.training.model.id: touched.how for touched in found.touched}
    assert ways == {
        made.models[run]: "trained" if run < RUNS_PER_DATA else "inherited"
        for run in range(LAST_OF_CHAIN + 1)
    }


def test_impact_of_a_span(filled, backend):
    found = impact(backend, "span:2")
    assert {t.training.model.id for t in found.touched} == set(filled.made.models[12:18])


@pytest.mark.parametrize(
    ("number", "data_sets"), [(1, [0, 1]), (2, [0, 1, 2]), (41, [2, 3]), (IMAGES + 2, [3])]
)
def test_impact_of_an_image_by_id_file_and_hash(filled, backend, number, data_sets):
    """Data set n holds the pictures n to n + IMAGES - 1; 8 runs are one chain."""
    made = filled.made
    trained = {
        made.models[run] for run in range(len(made.models)) if run // RUNS_PER_DATA in data_sets
    }
    for name in (
        f"picture_{number:06}",
        f"images/picture_{number:06}.jpg",
        f"image:picture_{number:06}.jpg",
        sha256(f"picture {number}"),
    ):
        found = impact(backend, name)
        assert {t.training.model.id for t in found.touched if t.how == "trained"} == trained
        assert [s.examples.properties["span"] for s in found.sightings] == data_sets


def test_impact_of_an_evaluation_image_trained_nothing(backend):
    found = impact(backend, "picture_000000")  # each fifth picture is for evaluation
    assert {t.how for t in found.touched} == {"evaluated"}
    assert len(found.touched) == RUNS_PER_DATA


def test_why_names_the_changed_parts_of_the_key(filled, backend):
    reasons = {r.execution.node: r for r in why(backend, filled.made.run_id(FRESH)).reruns}
    assert reasons["SchemaGen"].execution.state == "cached"
    assert reasons["SchemaGen"].reason == "nothing in its cache key changed"
    assert "input_base: /data/1 -> /data/2" in reasons["ExampleGen"].reason
    trainer = reasons["Trainer"]
    assert "custom_config.settings.training.steps: 111 -> 112" in trainer.reason
    assert {channel for channel, *_ in trainer.inputs} == {"examples", "transform_graph"}


def test_why_not_pushed(filled, backend):
    found = why(backend, filled.made.run_id(UNBLESSED))
    assert found.fate.blessed is False
    assert found.fate.infra_blessed is True
    assert found.decision == "not pushed: the Evaluator did not bless it"
    assert why(backend, str(filled.made.models[CACHED])).decision.endswith("as version 10")


def test_diff_lists_the_images(filled, backend):
    made = filled.made
    found = diff(backend, made.run_id(5), made.run_id(FRESH))
    assert found.data.removed == ["picture_000000", "picture_000001"]
    assert found.data.added == [f"picture_{IMAGES:06}", f"picture_{IMAGES + 1:06}"]
    assert found.data.changed == []
    assert ("training.steps", 105, 112) in found.settings
    assert diff(backend, made.run_id(5), made.run_id(5)).settings == []


def test_runs_and_their_filters(filled, backend):
    lines = runs(backend)
    assert [line.run.name for line in lines] == [filled.made.run_id(n) for n in range(24)]
    assert [n for n, line in enumerate(lines) if line.state == "not_blessed"] == [6, 13, 20]
    assert [line.run.name for line in runs(backend, last=2)] == ["run-00022", "run-00023"]
    assert len(runs(backend, span=1)) == RUNS_PER_DATA
    assert len(runs(backend, state="not_blessed", last=2)) == 2
    assert lines[FRESH].cached == 1
    assert lines[CACHED].cached == 5
    assert lines[3].push.version == "4"


def test_verify_says_what_is_missing(filled, backend):
    found = verify(backend, filled.made.run_id(CACHED))
    assert not found.is_sound
    missing = {finding.path for finding in found.findings if finding.problem == "missing"}
    assert f"/pushed/{CACHED + 1}/detect.tflite" in missing


@pytest.mark.parametrize("form", ["mermaid", "dot", "json", "html"])
def test_graph_has_every_node(filled, backend, form):
    found = trace(backend, filled.made.run_id(LAST_OF_CHAIN))
    text = draw(found, form)
    for key in (*(f"e{k}" for k in found.subgraph.executions), f"a{filled.made.models[0]}"):
        assert key in text


def test_in_toto_names_the_file(filled, backend):
    found = trace(backend, str(filled.made.pushed[3]))
    statement = check_statement(export(found, "in-toto"))
    assert statement["subject"][0]["digest"] == {"sha256": sha256("file 3")}
    with pytest.raises(UserError, match="in-toto"):
        export(trace(backend, str(filled.made.examples[0])), "in-toto")


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs", "--last", "3"],
        ["trace", "run-00009"],
        ["impact", "picture_000001"],
        ["diff", "run-00001", "run-00012"],
        ["why", "run-00013"],
        ["graph", "run-00001"],
        ["export", "run-00001"],
    ],
)
def test_the_command_answers_in_words_and_in_json(filled, capfd, arguments):
    metadata = ["--metadata", filled.location]
    assert main([*arguments, *metadata]) == 0
    words = capfd.readouterr()
    assert words.out
    is_vertex = filled.location.startswith("vertex")
    assert words.err == "" or (is_vertex and words.err.startswith("note: Vertex"))
    if arguments[0] not in ("graph", "export"):
        assert main([*arguments, *metadata, "--json"]) == 0
        json.loads(capfd.readouterr().out)
