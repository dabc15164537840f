"""One run on this machine: prepares the workdir, runs the DAG, and tells what came out."""

import datetime
import json
import logging
import os
import time
import traceback
from pathlib import Path

from models.weights.source import files_of, sha256_of
from pipeline import beam_options
from pipeline.config import PipelineConfig, override
from pipeline.data.paths import check_data_paths
from pipeline.errors import UserError
from pipeline.fingerprint import ROOT
from pipeline.local.console import (
    Console,
    insist_on_ctrl_c,
    quiet_but_logged,
    without_native_chatter,
)
from pipeline.local.workdir import Workdir, write_whole
from pipeline.metadata import store
from pipeline.metadata.run_facts import record_end, record_start
from pipeline.metadata.run_record import read_run
from pipeline.shipping.lost_versions import lost_versions
from pipeline.training.training_state import remove_finished_state


def run_locally(config: PipelineConfig, workdir: str, metadata: str | None) -> dict:
    """Runs the pipeline and prints its summary.

    Args:
      config: without locations, which are filled in here.
      workdir: see `pipeline.local.workdir`.
      metadata: SQLite file or URL of the metadata store; None for the workdir's own.

    Returns:
      What summary.json holds.

    Raises:
      UserError: everything that the user can mend; the trace of a failed run is in its log.
      KeyboardInterrupt: Ctrl-C; what is finished is kept, as after a crash.
    """
    started = time.monotonic()
    places = Workdir(workdir)
    with places.lock():
        config = _complete(config, places)
        connection = store.connection_config(metadata or str(places.metadata))
        with without_native_chatter():
            places.bind_to_store(lambda name: _identify(connection, name))
        config = _with_lost_versions(config, connection)
        run_id = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")[:-3]
        folder = places.run_folder(run_id)
        write_whole(folder / "config.json", config.model_dump_json(indent=2) + "\n")
        with quiet_but_logged(folder / "run.log") as console:
            console.say(f"run {run_id} of preset {config.preset} (log: {folder / 'run.log'})")
            failure: BaseException | None = None
            try:
                check_data_paths(config.data)
                console.say("loading TensorFlow and TFX ...")
                _run_dag(config, connection, run_id, console)
            # Whatever a component raises, or Ctrl-C.
            except (Exception, KeyboardInterrupt) as caught:
                failure = caught
                logging.getLogger().error("".join(traceback.format_exception(caught)))
            components = read_run(store.open_store(connection), run_id) if console.ran else {}
            remove_finished_state(components, places.checkpoints)
            from pipeline.summary import print_summary, summarize

            summary = summarize(
                components,
                config=config,
                run_id=run_id,
                run_folder=folder,
                workdir=places.root,
                metadata=metadata or str(places.metadata),
                seconds=time.monotonic() - started,
                error=_in_one_line(failure, folder / "run.log") if failure else None,
            )
            write_whole(folder / "summary.json", json.dumps(summary, indent=2) + "\n")
            if console.ran:
                record_end(store.open_store(connection), run_id, summary)
        if isinstance(failure, KeyboardInterrupt | UserError):
            raise failure
        if failure is not None:
            raise UserError(summary["error"]) from failure
        print_summary(summary)
        return summary


def _in_one_line(failure: BaseException, log: Path) -> str:
    if isinstance(failure, KeyboardInterrupt):
        return "interrupted"
    if isinstance(failure, UserError):
        return str(failure)
    message = (str(failure).strip() or "no message").splitlines()[0]
    return f"{type(failure).__name__}: {message[:500]} (the trace is in {log})"


def _with_lost_versions(config: PipelineConfig, connection) -> PipelineConfig:
    lost = lost_versions(store.open_store(connection), config.push.destination)
    return override(config, {"execution.lost_versions": lost})


def _identify(connection, proposal: str) -> str:
    return store.identity(store.open_store(connection), proposal)


def _complete(config: PipelineConfig, places: Workdir) -> PipelineConfig:
    """Fills in the locations, all absolute, and draws the embedded data if it is asked for."""
    filled = {
        "execution.pipeline_root": str(places.pipeline_root),
        "execution.state_dir": str(places.checkpoints),
        "execution.beam_args": config.execution.beam_args or beam_options.IN_PROCESS,
        "push.destination": _local(config.push.destination or str(places.pushed)),
    }
    _check_can_push(filled["push.destination"])
    if config.evaluation.min_map50 is None:
        raise UserError(
            "Expected a threshold for the gate. Received: none. Say from which mAP@.5 on a model "
            "may be pushed, for example --set evaluation.min_map50=0.8"
        )
    if not config.data.path and not config.data.train:
        from pipeline.demo.data import write_demo_data

        filled["data.path"] = str(write_demo_data(places.data / "demo"))
    elif config.data.path:
        filled["data.path"] = _local(config.data.path)
    for side in ("train", "eval"):
        if getattr(config.data, side):
            filled[f"data.{side}"] = _local(getattr(config.data, side))
    if config.schema_dir:
        # The presets' schemas lie beside the code.
        here = Path(config.schema_dir)
        folder = (here if here.exists() else ROOT / here).absolute()
        if not (folder / "schema.pbtxt").is_file():
            raise UserError(
                f"Expected --schema to be a folder with a schema.pbtxt. Received: {here}, which is "
                "none. Leave --schema out to infer a schema from the data."
            )
        filled["schema_dir"] = str(folder)
    weights = config.warm_start.weights
    if weights and weights != "imagenet":
        if not files_of(weights):
            raise UserError(
                "Expected --warm-start to be 'imagenet', a weights file, a TF1 checkpoint, or a "
                f"folder of an earlier run's model. Received: {weights}, which does not exist."
            )
        filled["warm_start.weights"] = _local(weights)
        filled["warm_start.sha256"] = sha256 = sha256_of(weights)
        if config.warm_start.sha256 not in ("", sha256):
            raise UserError(
                f"Expected weights with the sha256 {config.warm_start.sha256} "
                f"(warm_start.sha256). Received: {weights} with {sha256}."
            )
    return override(config, filled)


def _local(path: str) -> str:
    """Absolute, where it is a path of this machine."""
    return path if "://" in path else os.path.abspath(path)


def _check_can_push(destination: str) -> None:
    """Finds out before training, rather than after it, that nothing can be written there."""
    if "://" in destination:
        return
    folder = Path(destination)
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(
            f"Expected --push-to to be a folder that can be written. Received: {destination}, "
            f"where {folder} {'can not be written' if folder.is_dir() else 'is no folder'}."
        )


def _run_dag(config: PipelineConfig, connection, run_id: str, console: Console) -> None:
    from absl import logging as absl_logging

    # absl would add a handler of its own at its first message.
    absl_logging.use_absl_handler()
    root = logging.getLogger()
    root.removeHandler(absl_logging.get_absl_handler())
    absl_logging.set_verbosity(absl_logging.INFO)

    with insist_on_ctrl_c() as check_ctrl_c:
        import tfx.v1 as tfx
        from tfx.dsl.compiler.compiler import Compiler
        from tfx.dsl.compiler.constants import PIPELINE_RUN_ID_PARAMETER_NAME
        from tfx.orchestration.portable import runtime_parameter_utils

        from pipeline.pipeline import create_pipeline
        from pipeline.training.initial_weights import check_warm_start

        check_ctrl_c()
        check_warm_start(config.warm_start.model_dump(), config.model)
        console.between_components = check_ctrl_c
        compiled = Compiler().compile(create_pipeline(config, connection))
        record_start(store.open_store(connection), run_id, config)
        # The runner would name the run by the time; the name has to be known before it starts.
        runtime_parameter_utils.substitute_runtime_parameter(
            compiled, {PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
        )
        tfx.orchestration.LocalDagRunner().run_with_ir(compiled)
