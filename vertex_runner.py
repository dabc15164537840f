"""Runs the pipeline on Vertex AI: compile, submit, follow, schedule, check, rehearse.

Exit codes are the local runner's: 0 done (with --wait: a model was pushed), 3 the run finished and
the gate did not bless, 1 it failed, 2 the command line or a setting is wrong.
"""

import argparse
import os
import sys
import warnings

from local_runner import EXIT_FAILED, EXIT_NOT_BLESSED, EXIT_PUSHED, EXIT_USAGE, make_config
from pipeline.errors import UserError

_VERTEX_FLAGS = {
    "project": "id of the Google Cloud project",
    "region": "such as us-central1; default: us-central1",
    "bucket": "Cloud Storage bucket in that region, without gs://",
    "pipeline_image": "container image of the tasks, by digest",
    "trainer_image": "container image of the training job, by digest",
    "accelerator": "what trains, such as tpu-v3-8; default: tpu-v3-8",
    "service_account": "that the run acts as",
}
_PIPELINE_FLAGS = {
    "preset": "configuration to start from",
    "data": "VOC folder, or TFRecord pattern; gs://, but for a rehearsal",
    "format": "voc (default) or tfrecord",
    "class_from": "VOC: name (default) or filename",
    "train": "own split: data to train on",
    "eval": "the same for evaluation",
    "schema": "folder with a curated schema",
    "warm_start": "'imagenet', or an earlier run's model in the bucket",
    "push_to": "gs://BUCKET/FOLDER; default: pushed/NAME in the bucket",
}


def _flags(parser: argparse.ArgumentParser, names: dict[str, str]) -> None:
    for name, text in names.items():
        parser.add_argument(f"--{name.replace('_', '-')}", help=text)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="vertex_runner.py", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, pipeline: bool = False) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        _flags(added.add_argument_group("Vertex AI"), _VERTEX_FLAGS)
        if pipeline:
            _flags(added.add_argument_group("pipeline"), _PIPELINE_FLAGS)
        added.add_argument("--set", metavar="SECTION.KEY=VALUE", action="append", default=[])
        return added

    compile_ = command("compile", "write the pipeline spec; needs no credentials", pipeline=True)
    compile_.add_argument("--output", default="pipeline.json", help="default: pipeline.json")
    submit = command("submit", "run the pipeline on Vertex AI", pipeline=True)
    submit.add_argument("--dry-run", action="store_true", help="say what would run, and stop")
    submit.add_argument("--wait", action="store_true", help="follow the run to its end")
    schedule = command("schedule", "run the pipeline again and again", pipeline=True)
    schedule.add_argument("--cron", required=True, help='such as "0 3 * * 1"; UTC unless TZ=...')
    schedule.add_argument("--max-runs", type=int)
    for parser_ in (submit, schedule):
        parser_.add_argument("--max-cost", type=float, metavar="USD", help="refuse above it")
        parser_.add_argument("--prices", metavar="FILE", help="instead of the built-in table")
        parser_.add_argument("--images", type=int, default=10_000, help="for the estimate")
    for name, text in (("status", "say how a run is doing"), ("cancel", "stop a run")):
        command(name, text).add_argument("run", help="id, as submit printed it")
    command("schedules", "list the schedules")
    command("unschedule", "delete a schedule").add_argument("schedule", help="its id")
    command("doctor", "check what a run needs, before it costs money", pipeline=True)
    rehearse = command("rehearse", "execute the compiled job on this machine", pipeline=True)
    rehearse.add_argument("--folder", default="rehearsal", help="default: rehearsal")
    return parser.parse_args(arguments)


def configure(options: argparse.Namespace):
    """The configuration that the command line asks for.

    Raises:
      UserError: an unknown preset or setting, a value that does not fit.
    """
    for name in _PIPELINE_FLAGS:
        options.__dict__.setdefault(name, None)
    given = {name: getattr(options, name) for name in _VERTEX_FLAGS if getattr(options, name)}
    options.set = [*(f"vertex.{name}={value}" for name, value in given.items()), *options.set]
    return make_config(options)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = parse_arguments(arguments)
    try:
        config = configure(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    from pipeline.vertex import commands

    try:
        blessed = getattr(commands, options.command)(config, options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_NOT_BLESSED if blessed is False else EXIT_PUSHED


if __name__ == "__main__":
    sys.exit(main())
