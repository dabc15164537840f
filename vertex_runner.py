"""Runs the pipeline on Vertex AI: compile, submit, follow, schedule, check, rehearse.

Exit codes are the local runner's: 0 done (with --wait: a model was pushed), 3 the run finished and
the gate did not bless, 1 it failed, 2 the command line or a setting is wrong, 130 interrupted.
"""

import argparse
import math
import os
import sys
import warnings
from collections.abc import Callable

from pipeline.command_line import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_NOT_BLESSED,
    EXIT_PUSHED,
    EXIT_USAGE,
    add_data_flags,
    add_run_flags,
    make_config,
    print_lists,
)
from pipeline.config import PipelineConfig
from pipeline.errors import UserError

_PLACE_FLAGS = {
    "project": "id of the Google Cloud project",
    "region": "such as us-central1; default: us-central1",
}
_VERTEX_FLAGS = {
    **_PLACE_FLAGS,
    "bucket": "Cloud Storage bucket in that region, without gs://",
    "pipeline_image": "container image of the tasks, by digest",
    "trainer_image": "container image of the training job, by digest",
    "accelerator": "what trains, such as tpu-v3-8; default: tpu-v3-8",
    "service_account": "that the run acts as",
}
# What make_config reads of a pipeline's flags, for commands that have none.
_NO_PIPELINE = {
    **dict.fromkeys(("data", "format", "class_from", "train", "eval", "schema")),
    **dict.fromkeys(("preset", "warm_start", "push_to")),
    "list_presets": False,
    "list_settings": False,
}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="vertex_runner.py", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, pipeline: bool = False) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        where = added.add_argument_group("Vertex AI")
        for flag, meaning in (_VERTEX_FLAGS if pipeline else _PLACE_FLAGS).items():
            where.add_argument(f"--{flag.replace('_', '-')}", help=meaning)
        if pipeline:
            add_data_flags(added)
            add_run_flags(added)
            push = "gs://BUCKET/FOLDER; default: pushed/NAME in the bucket"
            added.add_argument("--push-to", metavar="URL", help=push)
        else:
            meaning = "such as vertex.api_transport=rest; may be repeated"
            added.add_argument(
                "--set", metavar="SECTION.KEY=VALUE", action="append", default=[], help=meaning
            )
            added.set_defaults(**_NO_PIPELINE)
        return added

    compile_ = command("compile", "write the pipeline spec; needs no credentials", pipeline=True)
    compile_.add_argument("--output", default="pipeline.json", help="default: pipeline.json")
    submit = command("submit", "run the pipeline on Vertex AI", pipeline=True)
    submit.add_argument("--dry-run", action="store_true", help="say what would run, and stop")
    submit.add_argument("--wait", action="store_true", help="follow the run to its end")
    schedule = command("schedule", "run the pipeline again and again", pipeline=True)
    schedule.add_argument("--cron", required=True, help='such as "0 3 * * 1"; UTC unless TZ=...')
    schedule.add_argument(
        "--max-runs", type=_positive(int), metavar="N", help="after which it ends; default: never"
    )
    for parser_ in (submit, schedule):
        parser_.add_argument(
            "--max-cost",
            type=_positive(float),
            metavar="USD",
            help="submit nothing whose estimate is above it, a run",
        )
        parser_.add_argument("--prices", metavar="FILE", help="instead of the built-in table")
        parser_.add_argument(
            "--images",
            type=_positive(int),
            default=10_000,
            metavar="N",
            help="in the data, for the estimate; default: 10000",
        )
    for name, text in (("status", "say how a run is doing"), ("cancel", "stop a run")):
        command(name, text).add_argument("run", help="id, as submit printed it")
    command("schedules", "list the schedules")
    command("unschedule", "delete a schedule").add_argument("schedule", help="its id")
    command("doctor", "check what a run needs, before it costs money", pipeline=True)
    rehearse = command(
        "rehearse",
        "execute the compiled job on this machine, which stands in for all that is of the cloud",
        pipeline=True,
    )
    rehearse.add_argument("--folder", default="rehearsal", help="default: rehearsal")
    return parser.parse_args(arguments)


def _positive(kind: type) -> Callable[[str], float]:
    def parse(text: str):
        value = kind(text)
        if not 0 < value < math.inf:
            raise ValueError
        return value

    parse.__name__ = f"positive {kind.__name__}"  # argparse: "invalid positive int value: '0'"
    return parse


def configure(options: argparse.Namespace) -> PipelineConfig:
    """The configuration that the command line asks for.

    Raises:
      UserError: an unknown preset or setting, a value that does not fit.
    """
    return make_config(
        options, {f"vertex.{name}": getattr(options, name, None) for name in _VERTEX_FLAGS}
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = parse_arguments(arguments)
    try:
        if print_lists(options):
            return EXIT_PUSHED
        config = configure(options)
        if print_lists(options, config):
            return EXIT_PUSHED
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # On a machine of Google's, its server of credentials answers at once; elsewhere a network that
    # swallows the question costs three seconds a try.
    os.environ.setdefault("GCE_METADATA_DETECT_RETRIES", "1")
    warnings.simplefilter("ignore")
    from pipeline.vertex import commands

    try:
        blessed = getattr(commands, options.command)(config, options)
    except (UserError, OSError) as error:  # OSError: a folder is read-only, a disk is full
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("interrupted: a run that was submitted goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_NOT_BLESSED if blessed is False else EXIT_PUSHED


if __name__ == "__main__":
    sys.exit(main())
