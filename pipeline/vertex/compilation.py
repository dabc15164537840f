"""Compiles a configuration into the job that Vertex AI runs: the pipeline spec as JSON."""

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

from models.settings import check_batch
from pipeline import beam_options, lane
from pipeline.config import PipelineConfig, override, require_threshold
from pipeline.data import archives
from pipeline.errors import UserError
from pipeline.fingerprint import ROOT, code_fingerprint
from pipeline.given_paths import schema_folder
from pipeline.settings import REQUIRED_DEVICES, VertexSettings
from pipeline.vertex.connection import require_project
from pipeline.vertex.job_spec import TFX_DAG, validate
from pipeline.vertex.machines import MACHINES, check_region

_IMAGE = re.compile(r"[\w.-]+(:\d+)?/[\w./-]+@sha256:[0-9a-f]{64}")
_CLOUD = "gs://"
# For ExampleGen's look at the bucket, which `pipeline.vertex.task` does not run.
_DRIVER_SECONDS = 3600
_EMAIL = "Email"
# The last release for pipelines of schema 2.0, which is TFX's.
_EMAIL_IMAGE = "gcr.io/ml-pipeline/google-cloud-pipeline-components:1.0.44"
_EMAIL_MODULE = "google_cloud_pipeline_components.container.v1.vertex_notification_email"


def for_vertex(config: PipelineConfig) -> PipelineConfig:
    """Checks the settings that Vertex AI needs, and fills in the locations in the bucket.

    Args:
      config: from the command line.

    Returns:
      A configuration for `compile_job`.

    Raises:
      UserError: a setting is missing or invalid.
    """
    vertex = config.vertex
    require_project(vertex)
    if not vertex.bucket:
        raise UserError("Name a Cloud Storage bucket with --bucket.")
    if "/" in vertex.bucket:
        raise UserError(
            f"Expected the name of a bucket, without gs:// and without a folder. "
            f"Received: --bucket {vertex.bucket}."
        )
    for name in ("pipeline_image", "trainer_image"):
        image = getattr(vertex, name)
        if not _IMAGE.fullmatch(image):
            raise UserError(
                f"Expected vertex.{name} to be a container image by digest, "
                f"HOST/PATH@sha256:... Received: {image or 'nothing'}. A tag may move between "
                "two runs; `make images` builds the images and prints these flags."
            )
    _check_target(vertex.trainer_image, vertex.accelerator)
    check_region(vertex.accelerator, vertex.region)
    check_data(config)
    if vertex.model_registry:
        _check_model_id(config.name)
    root = f"{_CLOUD}{vertex.bucket}"
    beam_args = beam_options.IN_PROCESS
    if vertex.data_processing == "dataflow":
        beam_args = beam_options.dataflow(
            project=vertex.project,
            region=vertex.region,
            temp_location=f"{root}/dataflow",
            image=vertex.pipeline_image,
            machine_type=vertex.dataflow_machine_type,
            max_workers=vertex.dataflow_max_workers,
            service_account=vertex.service_account,
            network=vertex.network,
            subnetwork=vertex.subnetwork,
            encryption_key=vertex.encryption_key,
            labels=vertex.labels,
        )
    return fill_in(config, root, config.execution.beam_args or beam_args)


def fill_in(config: PipelineConfig, root: str, beam_args: tuple[str, ...]) -> PipelineConfig:
    """Puts everything that a run writes under one root.

    Args:
      config: with a complete `vertex` section.
      root: gs://BUCKET, or a local folder in its place.
      beam_args: Beam's pipeline options.

    Raises:
      UserError: the gate has no threshold, or the replicas can't share a batch evenly.
    """
    check_pipeline(config)
    filled = override(
        config,
        {
            "execution.pipeline_root": f"{root}/pipeline_root/{config.name}",
            "execution.state_dir": f"{root}/training_state/{config.name}",
            "execution.beam_args": beam_args,
            "execution.stock_resolver": True,
            "push.destination": config.push.destination or f"{root}/pushed/{config.name}",
        },
    )
    execution = filled.execution.model_copy(update={"training_service": training_service(config)})
    return filled.model_copy(update={"execution": execution})


def check_pipeline(config: PipelineConfig) -> None:
    """Checks the settings that a run needs wherever it keeps its files.

    Raises:
      UserError: the gate has no threshold, or the replicas can't share a batch evenly.
    """
    require_threshold(config)
    accelerator = config.vertex.accelerator
    try:
        check_batch(config.training.batch_size, MACHINES[accelerator].replicas)
    except ValueError as error:
        raise UserError(f"{error} (accelerator {accelerator})") from error


def training_service(config: PipelineConfig) -> dict[str, Any]:
    """The custom job that trains, in the form that TFX's Trainer for Vertex AI expects."""
    vertex = config.vertex
    machine = MACHINES[vertex.accelerator]
    environment = {lane.REQUIRED_TFX: lane.TFX}
    if machine.required_devices:
        environment |= {REQUIRED_DEVICES: machine.required_devices, **machine.environment}
    container = {
        "image_uri": vertex.trainer_image,
        "env": [{"name": name, "value": value} for name, value in environment.items()],
    }
    job_spec: dict[str, Any] = {
        "worker_pool_specs": [
            {"machine_spec": machine.spec(), "replica_count": 1, "container_spec": container}
        ],
        # A lost worker is restarted, and resumes from its last checkpoint.
        # `pipeline.vertex.task` adds the limit of the run.
        "scheduling": {"restart_job_on_worker_restart": True},
    }
    if vertex.service_account:
        job_spec["service_account"] = vertex.service_account
    if vertex.network:
        job_spec["network"] = vertex.network
    job: dict[str, Any] = {
        "project": vertex.project,
        "display_name": f"{config.name}-trainer",
        "job_spec": job_spec,
        "labels": vertex.label_map,
    }
    if vertex.encryption_key:
        job["encryption_spec"] = {"kms_key_name": vertex.encryption_key}
    return {
        "ai_platform_enable_vertex": True,
        "ai_platform_vertex_region": vertex.region,
        "ai_platform_training_args": job,
    }


def compile_job(config: PipelineConfig) -> dict[str, Any]:
    """Compiles a pipeline, without reading the bucket and without credentials.

    Args:
      config: from `for_vertex`, or from `fill_in`.

    Returns:
      A PipelineJob of Vertex AI as JSON, with `pipelineSpec` and `runtimeConfig`.

    Raises:
      UserError: the spec would contain a path of this machine.
    """
    in_the_cloud = config.execution.pipeline_root.startswith(_CLOUD)
    # TFX prints which environment variables it ignores.
    with contextlib.redirect_stdout(io.StringIO()):
        from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

        runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
            kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
                default_image=config.vertex.pipeline_image,
                default_commands=_command(config.vertex) if in_the_cloud else None,
            )
        )
        if in_the_cloud:
            runner.set_exit_handler(_finish(config))
        job = runner.run(_pipeline(_with_absolute_schema(config)), write_out=False)
    if in_the_cloud:
        for executor in job["pipelineSpec"]["deploymentSpec"]["executors"].values():
            driver = executor.get("container", {}).get("lifecycle", {}).get("preCacheCheck")
            if driver:
                driver["command"] = ["timeout", str(_DRIVER_SECONDS), *driver["command"]]
        if config.vertex.notify_emails:
            _add_emails(job["pipelineSpec"], config.vertex.notify_emails)
        _reject_local_paths(job)
    validate(job)
    return job


def _command(settings: VertexSettings) -> list[str]:
    """Of every task's container; see `pipeline.vertex.task`."""
    names = ("project", "region", "api_endpoint", "api_transport")
    flags = [f"--vertex_{name}={getattr(settings, name)}" for name in names]
    return ["python", "-m", "pipeline.vertex.task", f"--vertex_tfx={lane.TFX}", *flags]


def _finish(config: PipelineConfig):
    from tfx.orchestration.kubeflow.decorators import FinalStatusStr

    from pipeline.vertex.finish import Finish

    return Finish(final_status=FinalStatusStr(), settings=config.vertex.model_dump_json())


def _add_emails(spec: dict[str, Any], recipients: tuple[str, ...]) -> None:
    """Adds Google's own component for notifications, in the form of its pipelines of schema 2.0."""
    text = {"type": "STRING"}
    spec["components"][_EMAIL] = {
        "executorLabel": f"{_EMAIL}_executor",
        "inputDefinitions": {
            "parameters": {"recipients": text, "pipeline_task_final_status": text}
        },
    }
    spec["deploymentSpec"]["executors"][f"{_EMAIL}_executor"] = {
        "container": {
            "image": _EMAIL_IMAGE,
            "command": ["python3", "-u", "-m", f"{_EMAIL_MODULE}.executor"],
            "args": ["--type", "VertexNotificationEmail", "--payload", ""],
        }
    }
    constant = {"constantValue": {"stringValue": json.dumps(recipients)}}
    spec["root"]["dag"]["tasks"][_EMAIL] = {
        "taskInfo": {"name": _EMAIL},
        "componentRef": {"name": _EMAIL},
        "dependentTasks": [TFX_DAG],
        "triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"},
        "inputs": {
            "parameters": {
                "recipients": {"runtimeValue": constant},
                "pipeline_task_final_status": {"taskFinalStatus": {"producerTask": TFX_DAG}},
            }
        },
    }


def _pipeline(config: PipelineConfig):
    """The pipeline of both runners, plus the ModelRegistrar if models are to be registered."""
    from tfx.dsl.context_managers import dsl_context_registry

    from pipeline.pipeline import create_pipeline
    from pipeline.vertex.registrar import ModelRegistrar

    pipeline = create_pipeline(config)
    if config.vertex.model_registry:
        (pusher,) = [node for node in pipeline.components if node.id == "Pusher"]
        # A component belongs to the pipeline in whose registry it is created.
        with dsl_context_registry.use_registry(pipeline.dsl_context_registry):
            registrar = ModelRegistrar(
                pushed_model=pusher.outputs["pushed_model"],
                pipeline_name=config.name,
                settings=config.vertex,
                code_fingerprint=code_fingerprint("pipeline.vertex.registrar"),
            )
        pipeline.components = [*pipeline.components, registrar]
    return pipeline


def _with_absolute_schema(config: PipelineConfig) -> PipelineConfig:
    if not config.schema_dir:
        return config
    return override(config, {"schema_dir": schema_folder(config.schema_dir)})


def _reject_local_paths(job: dict[str, Any]) -> None:
    text = json.dumps(job)
    for path in {str(ROOT), str(Path.home())} - {"/"}:
        if f"{path}/" in text:
            at = text.index(f"{path}/")
            raise UserError(
                "The compiled pipeline contains a path of this machine: "
                f"{text[at : at + 120]}. Upload that file to the bucket and use its address there."
            )


def _check_target(image: str, accelerator: str) -> None:
    """Each kind of machine needs its own image; `make images` names them after their targets."""
    needed = MACHINES[accelerator].image_target
    target = image.partition("@")[0].rpartition("/")[2]
    if target != needed and target in {machine.image_target for machine in MACHINES.values()}:
        raise UserError(
            f"Expected the image {needed} as --trainer-image, for {accelerator}. Received: "
            f"{target}. `make images TRAINER={needed}` builds it."
        )


def _check_model_id(name: str) -> None:
    from pipeline.vertex.model_registry import model_id

    try:
        model_id(name)
    except ValueError as error:
        raise UserError(str(error)) from error


def check_data(config: PipelineConfig) -> None:
    """Checks that data and weights are where Vertex AI can read them.

    Raises:
      UserError: there are no data, or they or the weights are not in Cloud Storage.
    """
    data = config.data
    paths = {"--data": data.path, "--train": data.train, "--eval": data.eval, "--test": data.test}
    paths = {flag: path for flag, path in paths.items() if path}
    if not paths:
        raise UserError(
            "No labelled images: upload them and name their folder, for example "
            "--data gs://BUCKET/data; docs/production.md shows how."
        )
    for flag, path in paths.items():
        if archives.is_archive(path):
            raise UserError(
                f"Expected {flag} to be files in Cloud Storage. Received: {path}, an archive. "
                "Unpack it, and copy the folder to the bucket; only the local runner unpacks."
            )
    for flag, path in {**paths, "--warm-start": config.warm_start.weights}.items():
        if path and path != "imagenet" and not path.startswith(_CLOUD):
            raise UserError(
                f"Expected {flag} to be in Cloud Storage. Received: {path}. "
                f"Upload it: gcloud storage cp -r {path} gs://{config.vertex.bucket}/data"
            )
