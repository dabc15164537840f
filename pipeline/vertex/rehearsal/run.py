"""A rehearsal: the compiled job, executed on this machine as Vertex AI would execute it.

Every container's command runs in a process of its own with its ExecutorInput filled in, drivers
included. The rehearsal's own store answers the resolvers, local folders replace the bucket, and
this machine replaces the one with the accelerator.
"""

import datetime
import json
import os
import time
from pathlib import Path
from typing import Any

from pipeline import beam_options
from pipeline.config import PipelineConfig, override
from pipeline.files import temporary_files
from pipeline.vertex.compilation import compile_job, fill_in
from pipeline.vertex.job_spec import task_graph
from pipeline.vertex.rehearsal.process import start_loading
from pipeline.vertex.rehearsal.store import RehearsalStore
from pipeline.vertex.rehearsal.tasks import Task, run_task
from pipeline.vertex.results import Artifacts, TaskResult, component_records, write_page

_REMOTE = "://"
# Nothing is pulled: the environment of this machine replaces the images.
_IMAGE = f"rehearsal.invalid/image@sha256:{'0' * 64}"


def rehearse(config: PipelineConfig, folder: str) -> dict[str, Any]:
    """Compiles for local folders, executes the job, and summarizes it.

    Args:
      config: may name local data; if it names none, the demo's images are drawn.
      folder: for everything that the rehearsal writes; a later rehearsal there finds the earlier
        models.

    Returns:
      The summary, in the form of the local runner's.

    Raises:
      UserError: a setting is invalid, or a task failed.
    """
    started = time.monotonic()
    start_loading()
    root = Path(folder).absolute()
    root.mkdir(parents=True, exist_ok=True)
    if config.vertex.model_registry:
        _say("not rehearsed: the Model Registry, which is a service")
    if config.vertex.notify_webhook or config.vertex.notify_emails:
        _say("not rehearsed: notifications")
    if _REMOTE in config.push.destination:
        _say(f"not rehearsed: {config.push.destination}; pushing to {root / 'pushed'}")
    config = _for_here(config, root)
    job = compile_job(config)
    run_id = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    run_folder = root / "runs" / run_id
    run_folder.mkdir(parents=True)
    (run_folder / "job.json").write_text(json.dumps(job, indent=1, sort_keys=True))
    store = RehearsalStore(root / "metadata.json", config.name)
    with temporary_files(run_folder / "tmp"):
        results = execute(job, Path(config.execution.pipeline_root) / run_id, store, run_folder)

    from pipeline.summary import summarize

    records = component_records(results)
    summary = summarize(
        records,
        config=config,
        run_id=run_id,
        run_folder=run_folder,
        workdir=root,
        metadata=None,  # it is not ML Metadata
        seconds=time.monotonic() - started,
        error=None,
    )
    (run_folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    write_page(run_folder, summary, records, cost=None)
    return summary


def execute(
    job: dict[str, Any], output_root: Path, store: RehearsalStore, run_folder: Path
) -> list[TaskResult]:
    """Executes all tasks of a job, one after the other.

    Args:
      job: see `pipeline.vertex.compilation.compile_job`.
      output_root: each task gets a folder in it.
      store: of this run and earlier ones.
      run_folder: gets a log of each task.

    Raises:
      UserError: a task failed; the tasks after it did not run.
    """
    results: dict[str, TaskResult] = {}
    for name in task_graph(job).static_order():
        _say(f"{name} ...")
        folder = output_root / f"{name}_{len(results) + 1}"
        inputs = _inputs(job, name, results)
        result = run_task(_task(job, name), inputs, folder, store, run_folder / f"{name}.log")
        results[name] = result
        seconds = result.finished - result.started
        _say(f"{name}: {'cached' if result.state == 'cached' else f'{seconds:.1f} s'}")
    return list(results.values())


def _inputs(job: dict[str, Any], name: str, results: dict[str, TaskResult]) -> Artifacts:
    task = job["pipelineSpec"]["root"]["dag"]["tasks"][name]
    inputs: Artifacts = {}
    for key, source in task.get("inputs", {}).get("artifacts", {}).items():
        source = source["taskOutputArtifact"]
        inputs[key] = results[source["producerTask"]].outputs[source["outputArtifactKey"]]
    return inputs


def _task(job: dict[str, Any], name: str) -> Task:
    spec = job["pipelineSpec"]
    task = spec["root"]["dag"]["tasks"][name]
    component = spec["components"][task["componentRef"]["name"]]
    return Task(
        name=name,
        parameters={
            key: value["runtimeValue"]["constantValue"]
            for key, value in task.get("inputs", {}).get("parameters", {}).items()
        },
        component=component,
        executor=spec["deploymentSpec"]["executors"][component["executorLabel"]],
        caching=task.get("cachingOptions", {}).get("enableCache", False),
    )


def _for_here(config: PipelineConfig, root: Path) -> PipelineConfig:
    settings: dict[str, Any] = {"vertex.pipeline_image": _IMAGE, "vertex.trainer_image": _IMAGE}
    settings["vertex.model_registry"] = False
    if _REMOTE in config.push.destination:
        # The command line may be the real run's, but apps must not get a rehearsal's models.
        settings["push.destination"] = ""
    settings["vertex.project"] = config.vertex.project or "rehearsal"
    for name in ("path", "train", "eval", "test"):
        path = getattr(config.data, name)
        if path and _REMOTE not in path:
            settings[f"data.{name}"] = os.path.abspath(path)
    weights = config.warm_start.weights
    if weights and weights != "imagenet" and _REMOTE not in weights:
        settings["warm_start.weights"] = os.path.abspath(weights)
    if not (config.data.path or config.data.train):
        from pipeline.demo.data import write_demo_data

        settings["data.path"] = str(write_demo_data(root / "data" / "demo"))
    local = override(config, settings)
    return fill_in(local, str(root), beam_options.IN_PROCESS)


def _say(line: str) -> None:
    print(line, flush=True)
