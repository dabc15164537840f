import difflib
import getpass
import json
import re
import socket
import sys
from pathlib import Path

import pytest

from pipeline import lane, presets
from pipeline.config import override
from pipeline.errors import UserError
from pipeline.settings import REQUIRED_DEVICES
from pipeline.vertex.compilation import compile_job, for_vertex
from pipeline.vertex.job_spec import task_graph, tasks_of, validate
from pipeline.vertex.limits import Limits, limited
from pipeline.vertex.machines import MACHINES
from pipeline.vertex.plan import bound_cost, make_plan, total_cost, total_hours
from pipeline.vertex.prices import load_prices
from tests.pipeline.vertex.fake_cloud import IMAGE

GOLDEN = Path(__file__).with_name("golden_job.json")
FORBIDDEN = ("private_key", "password", "access_token", "client_secret", "BEGIN ")
# This machine and its user.
_HERE = {f"{Path.home()}/", str(Path.cwd()), socket.gethostname(), f"/home/{getpass.getuser()}"}
_FROM_THE_ENVIRONMENT = "only-this-machine-knows"
# An option of StatisticsGen that only TFX 1.16 has.
_OLDER = re.compile(r' +"_slice_sqls": null,\n')
_FINGERPRINT = re.compile(r"(?<!sha256:)\b[0-9a-f]{64}\b")


def readable(job: dict) -> str:
    """The job with one value a line, without what changes with every edit, or with TFX."""
    python = f"{sys.version_info.major}-{sys.version_info.minor}"
    for label, version in (("version", lane.TFX.replace(".", "-")), ("py_version", python)):
        assert job["labels"][f"tfx_{label}"] == version
        job = {**job, "labels": {**job["labels"], f"tfx_{label}": f"<{label}>"}}
    text = json.dumps(_unfolded(job), indent=1, sort_keys=True).replace(lane.TFX, "<TFX>")
    return _FINGERPRINT.sub("<fingerprint>", _OLDER.sub("", text)) + "\n"


def _unfolded(value):
    """Parses JSON inside of strings, such as the settings, so that a diff shows what changed."""
    if isinstance(value, dict):
        return {key: _unfolded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_unfolded(inner) for inner in value]
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return {"(json)": _unfolded(json.loads(value))}
        except json.JSONDecodeError:
            return value.splitlines() if "\n" in value else value
    return value.splitlines() if isinstance(value, str) and "\n" in value else value


def test_the_golden_file_shows_what_changed(config):
    text = readable(compile_job(for_vertex(config)))
    golden = GOLDEN.read_text()
    difference = difflib.unified_diff(golden.splitlines(), text.splitlines(), lineterm="", n=2)
    assert text == golden, (
        "the compiled job has changed; look at the difference, and if it is intended: "
        "python -m tests.pipeline.vertex.write_golden\n" + "\n".join(difference)
    )


CONFIGS = {
    "inferred schema": {"schema_dir": ""},
    "spans": {"data.images": "span-{SPAN}/images", "data.annotations": "span-{SPAN}/xmls"},
    "TFRecords": {
        "data.path": "gs://my-bucket/shards-*",
        "data.images": "",
        "data.annotations": "",
    },
    "any format": {"data.images": "", "data.annotations": ""},
    "own split": {
        "data.path": "",
        "data.train": "gs://my-bucket/a",
        "data.eval": "gs://my-bucket/b",
    },
    "lists": {"data.train": "gs://my-bucket/a.txt", "data.eval": "gs://my-bucket/b.txt"},
    "CMEK in a VPC": {
        "vertex.encryption_key": "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k",
        "vertex.network": "projects/1/global/networks/vpc",
        "vertex.service_account": "runner@my-project.iam.gserviceaccount.com",
        "vertex.labels": ["team=vision"],
    },
    "in the task, on a GPU": {
        "vertex.data_processing": "in_task",
        "vertex.accelerator": "gpu-t4",
        "vertex.trainer_image": IMAGE.format("gpu-trainer"),
    },
    "warm start": {"warm_start.weights": "gs://my-bucket/mobilenet_2_5_224_tf_no_top.h5"},
    "an earlier model": {"warm_start.weights": "gs://my-bucket/pipeline_root/Trainer/model/7"},
    "registry": {"vertex.model_registry": True, "quantization": "post_training"},
}


@pytest.mark.parametrize("settings", CONFIGS.values(), ids=CONFIGS)
def test_every_configuration_is_of_the_published_schema_and_names_nothing_local(
    config, settings, monkeypatch
):
    for name in ("LOGNAME", "USER", "API_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, f"{_FROM_THE_ENVIRONMENT}-{name}")
    config = for_vertex(override(config, settings))
    job = compile_job(config)  # raises on a field that the schema lacks
    text = json.dumps(job)
    tasks = tasks_of(job["pipelineSpec"])
    assert {"ExampleGen", "Trainer", "Evaluator", "Pusher", "Finish"} <= set(tasks)
    images = {
        executor["container"]["image"]
        for executor in job["pipelineSpec"]["deploymentSpec"]["executors"].values()
        if "container" in executor
    }
    assert images == {config.vertex.pipeline_image}
    for word in (*FORBIDDEN, *_HERE, _FROM_THE_ENVIRONMENT):
        assert word not in text
    for name, value in settings.items():
        if isinstance(value, str) and value.startswith(("gs://", "projects/", "span", "runner")):
            # Dataflow takes the bare name of a network.
            assert value in text or value.rpartition("/")[2] in text, name


@pytest.mark.parametrize("accelerator", sorted(MACHINES))
def test_every_machine_compiles_to_a_job_of_the_published_schema(config, accelerator):
    from google.cloud.aiplatform_v1.types import CustomJob

    image = IMAGE.format(MACHINES[accelerator].image_target)
    settings = {"vertex.accelerator": accelerator, "vertex.trainer_image": image}
    config = for_vertex(override(config, settings))
    job = compile_job(config)
    task = tasks_of(job["pipelineSpec"])["Trainer"]
    text = task["inputs"]["parameters"]["custom_config"]["runtimeValue"]["constantValue"]
    arguments = dict(json.loads(text["stringValue"])["ai_platform_training_args"])
    del arguments["project"]
    (pool,) = CustomJob(arguments).job_spec.worker_pool_specs
    assert pool.machine_spec.machine_type == MACHINES[accelerator].machine_type
    assert pool.container_spec.image_uri == config.vertex.trainer_image
    environment = {variable.name: variable.value for variable in pool.container_spec.env}
    kind = accelerator.partition("-")[0].upper()
    number = MACHINES[accelerator].replicas
    required = None if kind == "CPU" else f"{kind}:{number}"
    assert environment.get(REQUIRED_DEVICES) == required
    assert environment[lane.REQUIRED_TFX] == lane.TFX


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_compiles_to_a_job_of_the_published_schema(config, name):
    preset = presets.load(name)
    cloud = {"data": config.data, "vertex": config.vertex}
    job = compile_job(for_vertex(preset.model_copy(update=cloud)))
    assert "Trainer" in tasks_of(job["pipelineSpec"])


def test_a_job_with_an_unknown_field_is_rejected(config):
    job = compile_job(for_vertex(config))
    tasks_of(job["pipelineSpec"])["Pusher"]["surprise"] = 1
    with pytest.raises(ValueError, match="surprise"):
        validate(job)


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("vertex.project", "", "Name your Google Cloud project"),
        ("vertex.bucket", "gs://b", "without gs://"),
        ("vertex.pipeline_image", "gcr.io/p/i:latest", "by digest"),
        ("vertex.accelerator", "gpu-l4", "the image gpu-trainer as --trainer-image, for gpu-l4"),
        ("vertex.region", "europe-north1", "a region with tpu-v5e-8: us-central1, us-south1"),
        ("data.path", "data", "Upload it: gcloud storage cp"),
        ("data.path", "gs://my-bucket/pets.zip", r"Received: gs://.*pets\.zip, an archive"),
        ("training.batch_size", 12, "divide by the 8 replicas"),
        ("evaluation.min_map50", None, "Expected a threshold for the gate"),
    ],
)
def test_wrong_settings_are_reported_before_anything_is_compiled(config, setting, value, expected):
    with pytest.raises(UserError, match=expected):
        for_vertex(override(config, {setting: value}))


def test_the_plan_has_the_tpu_and_its_cost(config):
    config = for_vertex(config)
    prices = load_prices(None)
    steps = make_plan(config, compile_job(config), prices, num_images=10_000)
    (trainer,) = [step for step in steps if step.task == "Trainer: custom job"]
    assert trainer.machine == "ct5lp-hightpu-8t (tpu-v5e-8)"
    assert trainer.cost == pytest.approx(trainer.hours * 11.04)
    # Evaluation waits for the training; tasks that do not wait for each other run at once.
    by_task = {step.task: step for step in steps}
    assert by_task["Evaluator"].ends > trainer.ends + by_task["Evaluator"].hours - 1e-9
    bounded = override(config, {"training.minutes": 60})
    bounded_steps = make_plan(bounded, compile_job(bounded), prices, num_images=10_000)
    (bounded_trainer,) = [step for step in bounded_steps if step.task == "Trainer: custom job"]
    start = prices.assumptions.training_start_minutes / 60
    assert bounded_trainer.hours == pytest.approx(start + 1)
    tasks = [step for step in steps if ":" not in step.task]
    assert trainer.hours < total_hours(steps) < sum(step.hours for step in tasks)


def test_a_run_in_which_everything_hangs_costs_no_more_than_its_limit(config):
    config = for_vertex(config)
    job = compile_job(config)
    prices = load_prices(None)
    steps = make_plan(config, job, prices, num_images=10_000)
    estimate = total_cost(steps, prices)
    limit = 1.5 * estimate
    bound = bound_cost(config, steps, prices, 10_000, limit)
    limits = bound.limits
    containers = [step.task for step in steps if step.image and ":" not in step.task]
    assert len(containers) == 12
    hours = sum(limits.of_task(name) for name in containers) / 3600
    workers = config.vertex.dataflow_max_workers
    worst = (
        prices.run
        + hours * prices.machine_hour["e2-standard-4"]
        + limits.training / 3600 * prices.machine_hour[MACHINES[config.vertex.accelerator].price]
        + 4 * limits.dataflow / 3600 * workers * prices.dataflow_worker_hour["n1-standard-4"]
    )
    assert worst <= limit
    assert worst == pytest.approx(limit, rel=0.001)
    assert bound.cost == pytest.approx(limit)
    # Without a limit, or with a generous one, nothing takes longer than the setting allows.
    for generous in (None, 100 * estimate):
        bound = bound_cost(config, steps, prices, 10_000, generous)
        assert bound.overrun == config.vertex.max_overrun
        assert bound.cost < 4 * estimate
    with pytest.raises(UserError, match="nothing was submitted"):
        bound_cost(config, steps, prices, 10_000, estimate - 0.01)


def test_limits_do_not_change_what_the_cache_compares(config):
    job = compile_job(for_vertex(config))
    bounded = limited(job, Limits(1, 2, 3))
    assert bounded["pipelineSpec"] is job["pipelineSpec"]
    assert bounded["labels"] == {
        **job["labels"], "limit-task": "1", "limit-training": "2", "limit-dataflow": "3",
    }  # fmt: skip


def test_tasks_run_after_those_they_need():
    source = {"taskOutputArtifact": {"producerTask": "b", "outputArtifactKey": "x"}}
    tasks = {"a": {"inputs": {"artifacts": {"i": source}}}, "b": {"dependentTasks": ["c"]}, "c": {}}
    root = {"tfx-dag": {}, "end": {"dependentTasks": ["tfx-dag"]}}
    spec = {"components": {"tfx-dag": {"dag": {"tasks": tasks}}}, "root": {"dag": {"tasks": root}}}
    graph = task_graph({"pipelineSpec": spec})
    assert list(graph.static_order()) == ["c", "b", "a", "end"]
