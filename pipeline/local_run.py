"""One run on this machine: prepares the workdir, runs the DAG, and tells what came out."""

import contextlib
import datetime
import hashlib
import json
import logging
import os
import re
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

from pipeline import store
from pipeline.config import PipelineConfig, override
from pipeline.errors import UserError
from pipeline.fingerprint import ROOT
from pipeline.run_facts import record_end, record_start
from pipeline.run_record import read_run
from pipeline.workdir import Workdir

# Beam's default runner tries to download another one; this one is all that one machine needs.
_BEAM_ARGS = ("--runner=FnApiRunner", "--direct_running_mode=in_memory")
_STARTED = re.compile(r"Component (\S+) is running\.")
_FINISHED = re.compile(r"Component (\S+) is finished\.")


def run_locally(config: PipelineConfig, workdir: str, metadata: str | None) -> dict:
    """Runs the pipeline and prints its summary.

    Args:
      config: without locations, which are filled in here.
      workdir: see `pipeline.workdir`.
      metadata: SQLite file or URL of the metadata store; None for the workdir's own.

    Returns:
      What summary.json holds.

    Raises:
      UserError: everything that the user can mend; the trace of a failed run is in its log.
    """
    started = time.monotonic()
    places = Workdir(workdir)
    with places.lock():
        config = _complete(config, places)
        connection = store.connection_config(metadata or str(places.metadata))
        places.bind_to_store(lambda name: _identify(connection, name))
        run_id = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")[:-3]
        folder = places.run_folder(run_id)
        (folder / "config.json").write_text(config.model_dump_json(indent=2) + "\n")
        with _quiet_but_logged(folder / "run.log") as console:
            console.say(f"run {run_id} of preset {config.preset} (log: {folder / 'run.log'})")
            console.say("loading TensorFlow and TFX ...")
            try:
                _run_dag(config, connection, run_id, console)
                error = None
            except UserError as failure:
                error = failure
            except Exception as failure:  # whatever a component raises; the trace is in the log
                message = (str(failure).strip() or "no message").splitlines()[0]
                error = UserError(
                    f"{type(failure).__name__}: {message[:500]} "
                    f"(the trace is in {folder / 'run.log'})"
                )
                error.__cause__ = failure
            if error is not None:
                logging.getLogger().error("".join(traceback.format_exception(error)))
            from pipeline.summary import print_summary, summarize

            summary = summarize(
                read_run(store.open_store(connection), run_id) if console.ran else {},
                config=config,
                run_id=run_id,
                run_folder=folder,
                workdir=places.root,
                metadata=metadata or str(places.metadata),
                seconds=time.monotonic() - started,
                error=str(error) if error else None,
            )
            (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
            if console.ran:
                record_end(store.open_store(connection), run_id, summary)
        if error is not None:
            raise error
        print_summary(summary)
        return summary


def _identify(connection, proposal: str) -> str:
    return store.identity(store.open_store(connection), proposal)


def _complete(config: PipelineConfig, places: Workdir) -> PipelineConfig:
    """Fills in the locations, all absolute, and draws the embedded data if it is asked for."""
    filled = {
        "execution.pipeline_root": str(places.pipeline_root),
        "execution.state_dir": str(places.checkpoints),
        "execution.beam_args": config.execution.beam_args or _BEAM_ARGS,
        "push.destination": os.path.abspath(config.push.destination or places.pushed),
    }
    if config.evaluation.min_map50 is None:
        raise UserError(
            "Expected a threshold for the gate. Received: none. Say from which mAP@.5 on a model "
            "may be pushed, for example --set evaluation.min_map50=0.8"
        )
    if not config.data.path and not config.data.train:
        from pipeline.demo_data import write_demo_data

        filled["data.path"] = str(write_demo_data(places.data / "demo"))
    elif config.data.path:
        filled["data.path"] = os.path.abspath(config.data.path)
    for side in ("train", "eval"):
        if getattr(config.data, side):
            filled[f"data.{side}"] = os.path.abspath(getattr(config.data, side))
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
        if not os.path.exists(weights):
            raise UserError(
                "Expected --warm-start to be 'imagenet', a weights file, or a folder of an earlier "
                f"run's model. Received: {weights}, which does not exist."
            )
        filled["warm_start.weights"] = os.path.abspath(weights)
        filled["warm_start.sha256"] = _sha256(Path(weights))
    return override(config, filled)


def _sha256(path: Path) -> str:
    """Of a file, or of all files of a folder."""
    digest = hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


class _Console(logging.Handler):
    """Shows the components as they come and go, and what they say, on standard output."""

    def __init__(self):
        super().__init__()
        self.ran = False
        self._started = 0.0

    def say(self, line: str) -> None:
        print(line, flush=True)

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.name == "detector":
            self.say(f"  {message}")
        elif match := _STARTED.match(message):
            self.ran = True
            self._started = time.monotonic()
            self.say(f"{match[1]} ...")
        elif match := _FINISHED.match(message):
            self.say(f"{match[1]}: {time.monotonic() - self._started:.1f} s")


@contextlib.contextmanager
def _quiet_but_logged(path: Path) -> Iterator[_Console]:
    """Sends all logs, warnings and native chatter to a file; the console gets the essentials."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    warnings.simplefilter("ignore")
    console = _Console()
    root = logging.getLogger()
    sys.stderr.flush()
    original = os.dup(2)
    with open(path, "a") as file:
        handler = logging.StreamHandler(file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        previous = root.handlers[:]
        root.handlers = [handler, console]
        root.setLevel(logging.INFO)
        logging.getLogger("detector").setLevel(logging.INFO)
        os.dup2(file.fileno(), 2)
        try:
            yield console
        finally:
            sys.stderr.flush()
            os.dup2(original, 2)
            os.close(original)
            root.handlers = previous


def _run_dag(config: PipelineConfig, connection, run_id: str, console: _Console) -> None:
    from absl import logging as absl_logging

    # absl would add a handler of its own at its first message.
    absl_logging.use_absl_handler()
    root = logging.getLogger()
    root.removeHandler(absl_logging.get_absl_handler())
    absl_logging.set_verbosity(absl_logging.INFO)

    import tfx.v1 as tfx
    from tfx.dsl.compiler.compiler import Compiler
    from tfx.dsl.compiler.constants import PIPELINE_RUN_ID_PARAMETER_NAME
    from tfx.orchestration.portable import runtime_parameter_utils

    from pipeline.pipeline import create_pipeline

    compiled = Compiler().compile(create_pipeline(config, connection))
    record_start(store.open_store(connection), run_id, config)
    # The runner would name the run by the time; the name has to be known before it starts.
    runtime_parameter_utils.substitute_runtime_parameter(
        compiled, {PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
    )
    tfx.orchestration.LocalDagRunner().run_with_ir(compiled)
