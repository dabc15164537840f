"""What runs in the container of every task: TFX's own program, within the limits of its run.

Left alone, a task and a custom job may hang for seven days each, and a Dataflow job forever; and
what a task has started continues without it. So here

- the container ends at the limit of its task, and says where it hung;
- the jobs that it starts get limits of their own, and labels that name run and task;
- a task that fails or is cancelled ends the jobs that it has started.

The run and its limits are not in the arguments, which are a part of the cache key: the task looks
itself up. TFX's arguments are passed on; `--vertex_...` are those of this program.
"""

import argparse
import faulthandler
import json
import runpy
import signal
import sys
from time import monotonic
from typing import Any

from pipeline import lane
from pipeline.errors import UserError
from pipeline.settings import VertexSettings
from pipeline.vertex.limits import Limits

_TFX_PROGRAM = "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor"
_INVOCATION = "--json_serialized_invocation_args"
_ON_DATAFLOW = "--runner=DataflowRunner"
_TRAINING = "ai_platform_training_args"
_FLAG = "vertex_"
_SETTINGS = ("project", "region", "api_endpoint", "api_transport")
_TERMINATED = 128 + signal.SIGTERM
# Until the limit is known.
_START_SECONDS = 600


def place_of(arguments: list[str]) -> tuple[str, str]:
    """The run's id, and the task's name with its unique number.

    Args:
      arguments: of TFX's program. The file for the task's results, which Vertex AI names, is
        ROOT/PROJECT_NUMBER/RUN/TASK_NUMBER/executor_output.json.
    """
    invocation = json.loads(arguments[arguments.index(_INVOCATION) + 1])
    *_, run, task, _ = invocation["outputs"]["outputFile"].split("/")
    return run, task


def name_of(task: str) -> str:
    """The name of a task without its number: "Transform_-83749" is Transform."""
    return task.rpartition("_")[0] or task


def within_limits(arguments: list[str], run: str, task: str, limits: Limits) -> list[str]:
    """TFX's arguments, with limits and labels for the jobs that the task starts.

    Args:
      arguments: of TFX's program.
      run: id of the run.
      task: see `place_of`.
      limits: of the run.
    """
    from pipeline.vertex.started import dataflow_name, labels_of

    labels = labels_of(run, task)
    position = arguments.index(_INVOCATION) + 1
    invocation = json.loads(arguments[position])
    inputs = invocation.get("inputs", {})
    for parameters, key in ((inputs.get("parameters", {}), "stringValue"),
                            (inputs.get("parameterValues", {}), None)):  # fmt: skip
        if "custom_config" in parameters:
            value = parameters["custom_config"]
            text = _train_within(value[key] if key else value, labels, limits)
            parameters["custom_config"] = {key: text} if key else text
    changed = [*arguments]
    changed[position] = json.dumps(invocation)
    if _ON_DATAFLOW in arguments:
        changed += [
            f"--job_name={dataflow_name(run, task)}",
            f"--dataflow_service_options=max_workflow_runtime_walltime_seconds={limits.dataflow}",
            *(f"--labels={name}={value}" for name, value in labels.items()),
        ]
    return changed


def _train_within(custom_config: str, labels: dict[str, str], limits: Limits) -> str:
    config: dict[str, Any] = json.loads(custom_config)
    job = config.get(_TRAINING)
    if job is not None:
        job["labels"] = {**job.get("labels", {}), **labels}
        # Of the whole job: restarts do not begin anew.
        job["job_spec"]["scheduling"]["timeout"] = {"seconds": limits.training}
    return json.dumps(config)


def main(arguments: list[str]) -> None:
    """Runs the task to its end.

    Raises:
      SystemExit: as TFX's program ends, or another version of TFX compiled the job.
      UserError: the run can't be looked up, or has no limits.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in (*_SETTINGS, "tfx"):
        parser.add_argument(f"--{_FLAG}{name}", default="")
    options, arguments = parser.parse_known_args(arguments)
    try:
        lane.require(options.vertex_tfx)
    except UserError as error:
        sys.exit(f"error: {error}")
    started = monotonic()
    # Not before that check: the timer outlives this function, and would end whoever called it.
    faulthandler.dump_traceback_later(_START_SECONDS, exit=True)
    settings = VertexSettings(
        **{name: value for name in _SETTINGS if (value := getattr(options, _FLAG + name))}
    )
    run, task = place_of(arguments)

    from pipeline.vertex.client import VertexClient
    from pipeline.vertex.connection import connect
    from pipeline.vertex.started import StartedJobs

    connection = connect(settings)
    limits = Limits.from_labels(VertexClient(connection).get(run).labels)
    seconds = limits.of_task(name_of(task))
    print(f"{task} of run {run} is ended after {seconds} s", flush=True)
    # Even if Python itself hangs; prints the stack of every thread. Looking the limit up counts.
    left = max(seconds - (monotonic() - started), 1)
    faulthandler.dump_traceback_later(left, exit=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))
    try:
        _run_tfx(within_limits(arguments, run, task, limits))
    except BaseException as error:
        if not isinstance(error, SystemExit) or error.code:
            try:
                StartedJobs(connection).end(run, task)
            except UserError as failure:
                print(failure, file=sys.stderr)
        raise


def _run_tfx(arguments: list[str]) -> None:
    sys.argv = [_TFX_PROGRAM, *arguments]
    runpy.run_module(_TFX_PROGRAM, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
