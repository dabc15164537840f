import pytest

from pipeline import beam_options
from pipeline.config import override
from pipeline.vertex.compilation import compile_job, fill_in
from pipeline.vertex.rehearsal.run import _for_here, _task
from pipeline.vertex.rehearsal.store import RehearsalStore
from pipeline.vertex.rehearsal.tasks import run_task

BLESSED = 'schema_title="tfx.ModelBlessing" AND state=LIVE AND metadata.blessed.number_value=1'
MODEL = (
    'schema_title="tfx.Model" AND state=LIVE AND '
    "name=\"{{$.inputs.artifacts['input'].metadata['current_model_id']}}\""
)


def artifact(name, title, **metadata):
    return {"name": name, "schema_title": title, "state": "LIVE", "uri": "u", "metadata": metadata}


@pytest.fixture
def store(tmp_path):
    made = RehearsalStore(tmp_path / "metadata.json", "demo")
    for number, blessed in (("1", 1.0), ("2", 0.0)):
        model = f"m{number}"
        blessing = artifact(
            f"b{number}", "tfx.ModelBlessing", blessed=blessed, current_model_id=model
        )
        made.record(f"trainer {number}", {"model": [artifact(model, "tfx.Model")]})
        made.record(f"evaluator {number}", {"blessing": [blessing]})
    return made


def test_resolvers_find_the_last_blessed_model(store):
    blessing = store.query(BLESSED, {})
    assert blessing[0]["name"] == "b1"
    assert store.query(MODEL, {"input": blessing})[0]["name"] == "m1"


def test_the_first_run_finds_no_blessed_model(tmp_path):
    empty = RehearsalStore(tmp_path / "metadata.json", "demo")
    assert empty.query(BLESSED, {}) == []
    assert empty.query(MODEL, {"input": []}) == []


def test_outputs_are_found_by_a_later_process(store, tmp_path):
    again = RehearsalStore(tmp_path / "metadata.json", "demo")
    assert again.cached("trainer 1")["model"][0]["name"] == "m1"
    assert again.cached("other") is None


def test_models_of_another_pipeline_are_neither_compared_nor_reused(store, tmp_path):
    other = RehearsalStore(tmp_path / "metadata.json", "other")
    assert other.query(BLESSED, {}) == []
    assert other.cached("trainer 1") is None
    other.record("trainer 1", {"model": [artifact("m9", "tfx.Model")]})
    again = RehearsalStore(tmp_path / "metadata.json", "demo")
    assert again.query(BLESSED, {})[0]["name"] == "b1"
    assert again.cached("trainer 1")["model"][0]["name"] == "m1"


def test_weights_to_start_from_are_one_artifact_in_every_rehearsal(config, tmp_path):
    weights = str(tmp_path / "w.tflite")
    config = override(config, {"warm_start.weights": weights})
    job = compile_job(fill_in(config, str(tmp_path), beam_options.IN_PROCESS))

    def imported():
        store = RehearsalStore(tmp_path / "metadata.json", "demo")
        task = _task(job, "WarmStart")
        return run_task(task, {}, tmp_path / "task", store, tmp_path / "log").outputs["result"]

    (first,) = imported()
    assert (first["uri"], first["metadata"]["kind"]) == (weights, "tflite")
    assert [artifact["name"] for artifact in imported()] == [first["name"]]


def test_a_model_that_an_earlier_rehearsal_made_is_taken_up(config, store, tmp_path):
    earlier = store.cached("trainer 1")["model"]
    config = override(config, {"warm_start.weights": earlier[0]["uri"]})
    job = compile_job(fill_in(config, str(tmp_path), beam_options.IN_PROCESS))
    task = _task(job, "WarmStart")
    found = run_task(task, {}, tmp_path / "task", store, tmp_path / "log").outputs["result"]
    assert found == store.cached("trainer 2")["model"]  # the latest


def test_a_rehearsal_calls_no_service_and_stays_in_its_folder(config, tmp_path):
    cloud = {"vertex.model_registry": True, "vertex.data_processing": "dataflow"}
    relative = {"data.path": "data", "warm_start.weights": "w.tflite"}
    local = _for_here(override(config, {**cloud, **relative}), tmp_path)
    assert not local.vertex.model_registry
    assert "--runner=FnApiRunner" in local.execution.beam_args
    for place in (local.execution.pipeline_root, local.execution.state_dir, local.push.destination):
        assert place.startswith(str(tmp_path))
    assert local.data.path.startswith("/")
    assert local.warm_start.weights.startswith("/")


def test_a_rehearsal_with_the_real_command_line_pushes_nothing_to_apps(config, tmp_path):
    real = override(config, {"push.destination": "gs://my-bucket/what-apps-read"})
    assert _for_here(real, tmp_path).push.destination == f"{tmp_path}/pushed/{config.name}"
    own = override(config, {"push.destination": "/somewhere/else"})
    assert _for_here(own, tmp_path).push.destination == "/somewhere/else"
