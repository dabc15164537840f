"""Runs the pipeline on this machine: from labelled images to an evaluated and pushed detector.

Exit codes: 0 a model was pushed (or already is), 3 the run finished but the model was not blessed,
1 the run failed (bad data, a failing component), 2 the command line or a setting is wrong, 130
interrupted by Ctrl-C or SIGTERM.
"""

import os
import sys

try:
    import argparse
    import functools
    import signal
    from typing import Any

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
    from pipeline.config import PipelineConfig, require_threshold
    from pipeline.errors import UserError
    from pipeline.recipe import choose_recipe
except KeyboardInterrupt:  # these imports take a second
    print("interrupted", file=sys.stderr)
    sys.exit(130)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="local_runner.py",
        description="Trains, evaluates and publishes an object detector, and records everything in "
        "ML Metadata. Without options it runs the built-in demo.",
        epilog="Exit codes: 0 pushed, 3 finished but not blessed (nothing pushed), 1 failed, "
        "2 wrong command line or setting, 130 interrupted. Run the same command again to resume.",
        allow_abbrev=False,
    )
    add_data_flags(parser)
    add_run_flags(parser)
    places = parser.add_argument_group("places")
    places.add_argument("--workdir", metavar="DIR", default="workdir", help="default: workdir")
    places.add_argument("--push-to", metavar="DIR", help="default: WORKDIR/pushed")
    places.add_argument(
        "--metadata", metavar="FILE_OR_URL", help="default: WORKDIR/metadata.sqlite"
    )
    return parser.parse_args(arguments)


def _configure(
    options: argparse.Namespace, given: dict[str, Any], **known: Any
) -> tuple[PipelineConfig, tuple[str, str]]:
    """The configuration that suits the data, and what was chosen for them; see `choose_recipe`."""
    recipe = choose_recipe(given, cores=os.cpu_count() or 1, **known)
    return make_config(options, recipe=recipe), recipe.lines()


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    on_sigterm = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print("interrupted: run the same command again to resume", file=sys.stderr)
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
            by_data = functools.partial(_configure, options, given)
        config = by_data()[0] if by_data else make_config(options)
        if print_lists(options, config):
            return EXIT_PUSHED
        require_threshold(config)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE

    from pipeline.local.run import run_locally

    try:
        summary = run_locally(config, options.workdir, options.metadata, by_data)
    except (UserError, OSError) as error:  # OSError: a read-only folder, a full disk
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_PUSHED if summary["blessed"] else EXIT_NOT_BLESSED


if __name__ == "__main__":
    sys.exit(main())
