import json
import threading

import pytest

from pipeline.config import override
from pipeline.errors import UserError
from pipeline.vertex.compilation import compile_job, for_vertex
from pipeline.vertex.connection import connect
from pipeline.vertex.job_spec import tasks_of
from pipeline.vertex.model_registry import METRICS_SCHEMA, ModelRegistry, model_id
from pipeline.vertex.registrar import Executor
from tests.pipeline.vertex.fake_cloud import IMAGE

MODEL = "projects/my-project/locations/us-central1/models/detector-demo"


def manifest(version: str = "3") -> dict:
    return {
        "version": version,
        "run_id": "demo-20261123-100000",
        "classes": ["cat", "dog"],
        "metrics": {"mAP50": 0.91, "mAP": 0.6, "AP50/cat": 0.9},
        "fingerprints": {"code": "c" * 64, "data": "d" * 64},
        "files": {"detect.tflite": {"sha256": "5" * 64, "size_bytes": 7}},
    }


@pytest.fixture
def registry(config, cloud):
    settings = override(
        config, {"vertex.api_endpoint": cloud.url, "vertex.labels": ["team=vision"]}
    ).vertex
    return ModelRegistry(connect(settings))


def register(registry, version="3"):
    return registry.register("demo", f"gs://my-bucket/pushed/demo/{version}",
                             manifest(version), IMAGE.format("pipeline"))  # fmt: skip


def test_a_version_has_its_metrics_and_lineage(registry, cloud):
    registered = register(registry)
    assert registered.name == f"{MODEL}@1"
    (version,) = cloud.models[MODEL]
    assert version["artifactUri"] == "gs://my-bucket/pushed/demo/3"
    assert version["versionAliases"] == ["push-3"]
    assert version["containerSpec"] == {"imageUri": IMAGE.format("pipeline")}
    assert version["labels"] == {
        "code-fingerprint": "c" * 63,
        "data-fingerprint": "d" * 63,
        "sha256": "5" * 63,
        "pipeline-run": "demo-20261123-100000",
        "pushed-version": "3",
        "team": "vision",
    }
    assert "mAP@.5 0.910" in version["versionDescription"]
    (evaluation,) = cloud.evaluations[f"{MODEL}@1"]
    assert evaluation["metricsSchemaUri"] == METRICS_SCHEMA
    assert evaluation["metrics"] == {
        "boundingBoxMeanAveragePrecision": 0.6,
        "boundingBoxMetrics": [{"iouThreshold": 0.5, "meanAveragePrecision": 0.91}],
    }


def test_each_push_becomes_a_version_and_a_repeated_push_does_not(registry, cloud):
    register(registry)
    assert register(registry, "4").version == "2"
    assert register(registry, "4").version == "2"
    assert [version["versionAliases"] for version in cloud.models[MODEL]] == [
        ["push-3"],
        ["push-4"],
    ]
    assert len(cloud.evaluations[f"{MODEL}@2"]) == 1


def test_runs_that_register_at_the_same_time_get_a_version_each(registry, cloud, monkeypatch):
    meeting = threading.Barrier(2, timeout=20)
    find, waited = registry._find, set()

    def both_find_no_model(name):
        found = find(name)
        if "@" not in name and threading.get_ident() not in waited:
            waited.add(threading.get_ident())
            meeting.wait()
        return found

    monkeypatch.setattr(registry, "_find", both_find_no_model)
    threads = [threading.Thread(target=register, args=(registry, name)) for name in ("3", "4")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    aliases = sorted(version["versionAliases"] for version in cloud.models[MODEL])
    assert aliases == [["push-3"], ["push-4"]]


def test_a_busy_service_is_asked_again_and_an_error_is_one_line(registry, cloud):
    cloud.failures = [(503, "later"), (503, "later")]
    assert register(registry).version == "1"
    cloud.failures = [(403, "no way")]
    with pytest.raises(UserError, match=r"No permission to register .*detector-demo.*no way"):
        register(registry)


def test_long_names_are_rejected_before_anything_is_compiled(config):
    assert model_id("demo") == "detector-demo"
    long = {"name": "a" * 60, "vertex.model_registry": True}
    with pytest.raises(UserError, match="at most 54 characters"):
        for_vertex(override(config, long))


def artifacts(tmp_path, pushed: int):
    from tfx.types import standard_artifacts

    source, target = standard_artifacts.PushedModel(), standard_artifacts.PushedModel()
    source.uri = str(tmp_path)
    source.set_int_custom_property("pushed", pushed)
    source.set_string_custom_property("pushed_destination", "gs://my-bucket/pushed/demo/3")
    (tmp_path / "manifest.json").write_text(json.dumps(manifest()))
    return source, target


@pytest.mark.parametrize("pushed", [1, 0])
def test_the_component_registers_a_pushed_model_only(config, cloud, tmp_path, pushed):
    settings = override(config, {"vertex.api_endpoint": cloud.url}).vertex
    source, target = artifacts(tmp_path, pushed)
    properties = {"settings": settings.model_dump_json(), "pipeline_name": "demo"}
    Executor().Do({"pushed_model": [source]}, {"registered_model": [target]}, properties)
    assert target.get_int_custom_property("pushed") == pushed
    assert len(cloud.models) == pushed
    if pushed:
        assert target.get_string_custom_property("pushed_destination") == f"{MODEL}@1"


def test_the_component_follows_the_pusher_if_the_registry_is_wanted(config):
    job = compile_job(for_vertex(override(config, {"vertex.model_registry": True})))
    tasks = tasks_of(job["pipelineSpec"])
    assert tasks["ModelRegistrar"]["dependentTasks"] == ["Pusher"]
    assert "ModelRegistrar" not in json.dumps(compile_job(for_vertex(config)))
