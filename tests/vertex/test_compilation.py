import json
import re
from pathlib import Path

import pytest

from pipeline.config import override
from pipeline.errors import UserError
from pipeline.vertex.compilation import compile_job, for_vertex, validate
from pipeline.vertex.machines import MACHINES
from pipeline.vertex.plan import check_cost, load_prices, make_plan, total_cost
from pipeline.vertex.rehearsal import execution_order

GOLDEN = Path(__file__).with_name("golden_job.json")
_FINGERPRINT = re.compile(r"(?<!sha256:)\b[0-9a-f]{64}\b")


def readable(job: dict) -> str:
    """The job without what every edit of the code changes."""
    return _FINGERPRINT.sub("<fingerprint>", json.dumps(job, indent=1, sort_keys=True)) + "\n"


def test_the_golden_file_shows_what_changed(config):
    text = readable(compile_job(for_vertex(config)))
    assert text == GOLDEN.read_text(), (
        "the compiled job is another one; look at the difference, then: "
        "python tests/vertex/write_golden.py"
    )


def test_no_secret_and_no_place_of_this_machine(config):
    text = json.dumps(compile_job(for_vertex(config)))
    for word in (str(Path.home()) + "/", str(Path.cwd()), "private_key", "password", "token"):
        assert word not in text


@pytest.mark.parametrize("accelerator", sorted(MACHINES))
def test_every_machine_compiles_to_a_job_of_the_published_schema(config, accelerator):
    from google.cloud.aiplatform_v1.types import CustomJob

    config = for_vertex(override(config, {"vertex.accelerator": accelerator}))
    job = compile_job(config)
    task = job["pipelineSpec"]["root"]["dag"]["tasks"]["Trainer"]
    text = task["inputs"]["parameters"]["custom_config"]["runtimeValue"]["constantValue"]
    arguments = dict(json.loads(text["stringValue"])["ai_platform_training_args"])
    del arguments["project"]
    (pool,) = CustomJob(arguments).job_spec.worker_pool_specs
    assert pool.machine_spec.machine_type == MACHINES[accelerator].machine_type
    assert pool.container_spec.image_uri == config.vertex.trainer_image


def test_schedules_read_the_newest_span(config):
    spans = {"data.images": "span-{SPAN}/images", "data.annotations": "span-{SPAN}/xmls"}
    job = compile_job(for_vertex(override(config, spans)))
    task = job["pipelineSpec"]["root"]["dag"]["tasks"]["ExampleGen"]
    assert "span-{SPAN}/xmls/*" in json.dumps(task)


def test_a_job_that_is_none_is_refused(config):
    job = compile_job(for_vertex(config))
    job["pipelineSpec"]["root"]["dag"]["tasks"]["Pusher"]["surprise"] = 1
    with pytest.raises(ValueError, match="surprise"):
        validate(job)


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("vertex.project", "", "a Google Cloud project"),
        ("vertex.bucket", "gs://b", "without gs://"),
        ("vertex.pipeline_image", "gcr.io/p/i:latest", "by digest"),
        ("vertex.region", "europe-north1", "a region with tpu-v3-8: us-central1, europe-west4"),
        ("data.path", "data", "Upload it: gcloud storage cp"),
        ("data.images", "", "names of the two folders"),
        ("training.batch_size", 12, "divide by the 8 replicas"),
        ("evaluation.min_map50", None, "a threshold for the gate"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_compiled(config, setting, value, expected):
    with pytest.raises(UserError, match=expected):
        for_vertex(override(config, {setting: value}))


def test_the_plan_has_the_tpu_and_its_cost(config):
    config = for_vertex(config)
    prices = load_prices(None)
    steps = make_plan(config, compile_job(config), prices, num_images=10_000)
    (trainer,) = [step for step in steps if step.task == "Trainer: custom job"]
    assert trainer.machine == "cloud-tpu (tpu-v3-8)"
    assert trainer.cost == pytest.approx(trainer.hours * 9.2)
    cost = total_cost(steps, prices)
    check_cost(cost, cost + 1)
    with pytest.raises(UserError, match="Nothing was submitted"):
        check_cost(cost, cost - 0.01)


def test_tasks_run_after_those_they_need():
    source = {"taskOutputArtifact": {"producerTask": "b", "outputArtifactKey": "x"}}
    tasks = {"a": {"inputs": {"artifacts": {"i": source}}}, "b": {"dependentTasks": ["c"]}, "c": {}}
    assert execution_order(tasks) == ["c", "b", "a"]
    with pytest.raises(ValueError, match="cycle"):
        execution_order({"a": {"dependentTasks": ["a"]}})
