"""Runs the pipeline on Vertex AI: compile, submit, follow, schedule, check, rehearse.

Exit codes are the local runner's: 0 done (with --wait: a model was pushed), 3 the run finished but
the model was not blessed, 1 failed, 2 wrong command line or setting, 130 interrupted by
Ctrl-C or SIGTERM.
"""

import os
import sys

try:
    import argparse
    import functools
    import math
    import signal
    import warnings
    from collections.abc import Callable
    from typing import Any, get_args

    from pipeline.command_line import (
        EXIT_FAILED,
        EXIT_INTERRUPTED,
        EXIT_NOT_BLESSED,
        EXIT_PUSHED,
        EXIT_USAGE,
        add_data_flags,
        add_run_flags,
        given_settings,
        has_own_data,
        make_config,
        print_lists,
    )
    from pipeline.config import PipelineConfig
    from pipeline.errors import UserError
    from pipeline.recipe import Recipe, choose_recipe
    from pipeline.settings import Accelerator
except KeyboardInterrupt:  # these imports take a second
    print("interrupted", file=sys.stderr)
    sys.exit(130)

_PLACE_FLAGS = {
    "project": "id of the Google Cloud project",
    "region": "region of everything that the run uses; default: us-central1",
}
_VERTEX_FLAGS = {
    **_PLACE_FLAGS,
    "bucket": "Cloud Storage bucket in that region, without gs://",
    "pipeline_image": "container image of the tasks, by digest",
    "trainer_image": "container image of the training job, by digest",
    "accelerator": f"machine that trains: {', '.join(get_args(Accelerator))}; default: tpu-v5e-8; "
    "TPUs from v6e on do not support TensorFlow",
    "service_account": "account that the run uses; default: the project's",
}
# For commands without the flags of a pipeline: the values that make_config reads.
_NO_PIPELINE = {
    **dict.fromkeys(("data", "format", "class_from", "train", "eval", "test", "schema")),
    **dict.fromkeys(("preset", "minutes", "warm_start", "push_to")),
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
            push = "gs://BUCKET/FOLDER for pushed models; default: pushed/NAME in the bucket"
            added.add_argument("--push-to", metavar="URL", help=push)
        else:
            meaning = "override a setting, such as vertex.api_transport=rest; may be repeated"
            added.add_argument(
                "--set", metavar="SECTION.KEY=VALUE", action="append", default=[], help=meaning
            )
            added.set_defaults(**_NO_PIPELINE)
        return added

    compile_ = command("compile", "write the pipeline spec; needs no credentials", pipeline=True)
    compile_.add_argument("--output", default="pipeline.json", help="default: pipeline.json")
    submit = command("submit", "run the pipeline on Vertex AI", pipeline=True)
    submit.add_argument("--dry-run", action="store_true", help="only show the plan and its cost")
    submit.add_argument("--wait", action="store_true", help="follow the run to its end")
    schedule = command("schedule", "run the pipeline regularly", pipeline=True)
    schedule.add_argument("--cron", required=True, help='such as "0 3 * * 1"; UTC unless TZ=...')
    schedule.add_argument(
        "--max-runs", type=_positive(int), metavar="N", help="end after N runs; default: never"
    )
    for parser_ in (compile_, submit, schedule):
        parser_.add_argument(
            "--max-cost",
            type=_positive(float),
            metavar="USD",
            help="reject a run whose estimate is above this, and end one before it costs more",
        )
        parser_.add_argument("--prices", metavar="FILE", help="price table; default: built in")
        parser_.add_argument(
            "--images",
            type=_positive(int),
            default=10_000,
            metavar="N",
            help="number of images, for the estimate; default: 10000",
        )
    for name, text in (("status", "show the state of a run"), ("cancel", "stop a run")):
        command(name, text).add_argument("run", help="id that submit printed")
    command("schedules", "list the schedules")
    command("unschedule", "delete a schedule").add_argument("schedule", help="id of the schedule")
    command("doctor", "check everything that a run needs before it costs money", pipeline=True)
    rehearse = command(
        "rehearse",
        "execute the compiled job on this machine, without the cloud",
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


def configure(options: argparse.Namespace, recipe: Recipe | None = None) -> PipelineConfig:
    """The configuration that the command line asks for.

    Args:
      options: the command line.
      recipe: what to start from without --preset.

    Raises:
      UserError: an unknown preset or setting, or an invalid value.
    """
    flags = {f"vertex.{name}": getattr(options, name, None) for name in _VERTEX_FLAGS}
    return make_config(options, flags, recipe)


def _configure_by_data(
    options: argparse.Namespace, given: dict[str, Any], **known: Any
) -> tuple[PipelineConfig, tuple[str, str]]:
    """The configuration that suits the data, and what was chosen for them; see `choose_recipe`."""
    recipe = choose_recipe(given, **known)
    return configure(options, recipe), recipe.lines()


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    on_sigterm = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print("interrupted; a submitted run continues", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)


def _run(arguments: list[str] | None) -> int:
    options = parse_arguments(arguments)
    try:
        if print_lists(options):
            return EXIT_PUSHED
        given = given_settings(options)
        by_data = None
        if has_own_data(given) and not options.preset:
            by_data = functools.partial(_configure_by_data, options, given)
        # Nothing is known yet: what is checked now is the command line.
        config = by_data(cores=1)[0] if by_data else configure(options)
        if print_lists(options, config):
            return EXIT_PUSHED
        # TFX and Google's clients print dozens of warnings about each other when they load.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pipeline.vertex import commands

            config = commands.checked(config, options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chosen = {"by_data": by_data} if by_data else {}
            blessed = getattr(commands, options.command)(config, options, **chosen)
    except (UserError, OSError) as error:  # OSError: a folder is read-only, a disk is full
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_NOT_BLESSED if blessed is False else EXIT_PUSHED


if __name__ == "__main__":
    # For the whole process and those that it starts, so not in main(), which tests call.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    # Google's machines answer the question for credentials at once; elsewhere, a network that drops
    # it costs three seconds a try.
    os.environ.setdefault("GCE_METADATA_DETECT_RETRIES", "1")
    sys.exit(main())
