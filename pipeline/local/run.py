"""One run on this machine: prepares the workdir, runs the components, and reports the outcome."""

import datetime
import json
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.config import PipelineConfig, override
from pipeline.errors import UserError, one_line
from pipeline.files import CONFIG_FILE, LOG_FILE, SUMMARY_FILE, write_whole
from pipeline.given_paths import require_data
from pipeline.local.console import quiet_but_logged, remember_ctrl_c, say, timed
from pipeline.local.preparation import complete
from pipeline.local.workdir import Workdir
from pipeline.metadata import store
from pipeline.metadata.facts import (
    close_killed_run,
    fail_running,
    find_model,
    record_end,
    record_files,
    record_start,
)
from pipeline.metadata.records import FAILED, RUNNING
from pipeline.metadata.run_record import ComponentRecord
from pipeline.recipe import NO_WARM_START
from pipeline.report.run_page import write_run_page
from pipeline.shipping.folder_publisher import lost_versions
from pipeline.summary import print_summary, statuses, summarize
from pipeline.training import time_budget

_KILLED = "killed: its process is gone and has recorded no end"


def run_locally(
    config: PipelineConfig,
    workdir: str,
    metadata: str | None,
    by_data: Callable[..., tuple[PipelineConfig, tuple[str, ...]]] | None = None,
) -> dict:
    """Runs the pipeline and prints its summary.

    Args:
      config: without the run's places, which are filled in here.
      workdir: see `pipeline.local.workdir`.
      metadata: SQLite file or URL of the metadata store; None for the workdir's own.
      by_data: completes the configuration from what is known of the data and the weights, see
        `pipeline.recipe.choose_recipe`, and says what it chose; None leaves it as it is.

    Returns:
      What summary.json holds.

    Raises:
      UserError: everything that the user can fix; the trace of a failed run is in its log.
      KeyboardInterrupt: Ctrl-C; finished components are kept, as after a crash.
    """
    started = time.monotonic()
    time_budget.start_clock()
    places = Workdir(workdir)
    own_data = bool(config.data.path or config.data.train)
    with places.lock(), places.temporary_files():
        config = complete(config, places)
        connection = store.connection_config(metadata or str(places.metadata))
        run_id = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")[:-3]
        folder = places.run_folder(run_id)
        _write_config(folder, config)

        def sum_up(components: Mapping[str, ComponentRecord], error: str | None) -> dict:
            return summarize(
                components,
                config=config,
                run_id=run_id,
                run_folder=folder,
                workdir=places.root,
                metadata=metadata or str(places.metadata),
                seconds=time.monotonic() - started,
                error=error,
            )

        # What a run that is killed leaves.
        _write_summary(folder, sum_up({}, None) | {"status": RUNNING})
        with quiet_but_logged(folder / LOG_FILE):
            of_preset = "" if by_data else f" of preset {config.preset}"
            say(f"run {run_id}{of_preset} (log: {folder / LOG_FILE})")
            recorded = False
            failure: BaseException | None = None
            try:
                require_data(config.data)
                opened = store.open_store(connection)
                places.bind_to_store(opened, store.describe(connection))
                store.require_clock(opened)
                _close_killed_runs(opened, places, run_id)
                lost = lost_versions(opened, config.push.destination)
                with remember_ctrl_c() as check_ctrl_c:
                    say("loading TensorFlow and TFX ...")
                    seen = _look_at_data(config) if own_data else {}
                    for line in seen.pop("found", ()):
                        say(f"found: {line}")
                    if own_data and not config.warm_start.weights:
                        say(f"found: {NO_WARM_START}")
                    if by_data:
                        config, chosen = by_data(weights=_settings_of_weights(config), **seen)
                        say("\n".join(chosen))
                        config = complete(config, places)
                    origin = _known_uri(connection, config.warm_start.weights)
                    filled = {"execution.lost_versions": lost, "execution.warm_start_uri": origin}
                    config = override(config, filled)
                    _write_config(folder, config)
                    compiled = _compile(config, connection, run_id)
                    check_ctrl_c()
                    record_start(store.open_store(connection), run_id, config)
                    recorded = True

                    def record() -> dict[str, ComponentRecord]:
                        return record_files(store.open_store(connection), run_id)

                    from pipeline.local.cache import careful_cache  # loads TFX

                    with careful_cache(connection, places.root):
                        _run_components(compiled, check_ctrl_c, record)
            # Whatever a component raises, or Ctrl-C.
            except (Exception, KeyboardInterrupt) as caught:
                failure = caught
                logging.getLogger().error("".join(traceback.format_exception(caught)))
            # Opened anew: a server may drop a connection that is idle during a long run.
            opened = store.open_store(connection) if recorded else None
            components = fail_running(opened, run_id) if opened else {}
            places.remove_finished_state(components)
            summary = sum_up(components, _error_of(failure, folder / LOG_FILE) if failure else None)
            _write_summary(folder, summary)
            if opened:
                record_end(opened, run_id, summary)
            write_run_page(folder, in_store=opened is not None)
        if isinstance(failure, KeyboardInterrupt | UserError):
            raise failure
        if failure is not None:
            raise UserError(summary["error"]) from failure
        print_summary(summary)
        return summary


def _write_config(folder: Path, config: PipelineConfig) -> None:
    write_whole(folder / CONFIG_FILE, config.model_dump_json(indent=2) + "\n")


def _write_summary(folder: Path, summary: dict[str, Any]) -> None:
    write_whole(folder / SUMMARY_FILE, json.dumps(summary, indent=2) + "\n")


def _close_killed_runs(opened, places: Workdir, run_id: str) -> None:
    """Records the end of earlier runs that could not; the lock says that none is alive."""
    killed = [
        folder for folder in places.run_folders() if folder.name != run_id and _is_open(folder)
    ]
    for folder in killed:
        components = close_killed_run(opened, folder.name, _KILLED)
        outcome = {"status": "failed", "error": _KILLED, "reasons": [_KILLED]}
        _write_summary(
            folder, _read_summary(folder) | outcome | {"components": statuses(components)}
        )
        write_run_page(folder, in_store=bool(components))
    if killed:
        say(f"recorded as failed, as they were killed: {', '.join(f.name for f in killed)}")


def _is_open(folder: Path) -> bool:
    return _read_summary(folder)["status"] == RUNNING


def _read_summary(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / SUMMARY_FILE).read_text())
    except (FileNotFoundError, ValueError):  # killed before it could write one
        return {"run_id": folder.name, "status": RUNNING}


def _look_at_data(config: PipelineConfig) -> dict[str, Any]:
    """`pipeline.data.first_look.FirstLook` by name; loads TensorFlow and TFX."""
    from pipeline.data.first_look import look_at
    from pipeline.pipeline import example_gen_of

    return look_at(example_gen_of(config))._asdict()


def _settings_of_weights(config: PipelineConfig) -> dict[str, Any]:
    from pipeline.training.initial_weights import settings_of_weights

    return settings_of_weights(config.warm_start.model_dump())


def _known_uri(connection, weights: str) -> str:
    """The uri under which the store knows the model that weights are, or are a copy of; or ""."""
    from models.weights.source import sha256_of
    from pipeline.training.initial_weights import weights_file_of

    file = weights_file_of(weights)
    return (file and find_model(store.open_store(connection), sha256_of(file))) or ""


def _compile(config: PipelineConfig, connection, run_id: str):
    """The pipeline in TFX's intermediate representation; loads TensorFlow and TFX."""
    from tfx.dsl.compiler.compiler import Compiler
    from tfx.dsl.compiler.constants import PIPELINE_RUN_ID_PARAMETER_NAME
    from tfx.orchestration.portable import runtime_parameter_utils

    from pipeline.pipeline import create_pipeline
    from pipeline.training.initial_weights import check_warm_start

    check_warm_start(config.warm_start.model_dump(), config.model)
    compiled = Compiler().compile(create_pipeline(config, connection))
    # TFX's runner would name the run after the time; its facts are recorded before it starts.
    runtime_parameter_utils.substitute_runtime_parameter(
        compiled, {PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    )
    return compiled


def _run_components(
    compiled,
    check_ctrl_c: Callable[[], None],
    record: Callable[[], Mapping[str, ComponentRecord]],
) -> None:
    """Runs the components in their order, each through TFX's own runner.

    Given the whole pipeline, that runner would run to the end: it has no callback between two
    components, to report progress or to stop.

    Args:
      compiled: the pipeline's IR.
      check_ctrl_c: called after each component; what it raises stops the run.
      record: called after each component, before that; gives the components that were run.
    """
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    for node in compiled.nodes:
        single = type(compiled)()
        single.CopyFrom(compiled)
        del single.nodes[:]
        single.nodes.append(node)
        with timed(node.pipeline_node.node_info.id):
            LocalDagRunner().run_with_ir(single)
        component = record().get(node.pipeline_node.node_info.id)
        if component and component.state == FAILED:  # the launcher does not raise that
            raise RuntimeError(f"{component.id} failed: TFX could not resolve its inputs")
        check_ctrl_c()


def _error_of(failure: BaseException, log: Path) -> str:
    if isinstance(failure, KeyboardInterrupt):
        return "interrupted"
    if isinstance(failure, UserError):
        return str(failure)
    return f"{type(failure).__name__}: {one_line(failure)} (the trace is in {log})"
