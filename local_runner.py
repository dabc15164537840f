"""Runs the pipeline on this machine: labelled images in, a judged and pushed detector out.

Exit codes: 0 a model was pushed (or is already), 3 the run finished and the gate did not bless,
1 the run failed (bad data, a failing component), 2 the command line or a setting is wrong, 130 it
was interrupted by Ctrl-C.
"""

import argparse
import sys

from pipeline import presets
from pipeline.config import PipelineConfig, override, parse_assignments
from pipeline.data_name import name_of_data
from pipeline.errors import UserError

EXIT_PUSHED, EXIT_FAILED, EXIT_USAGE, EXIT_NOT_BLESSED, EXIT_INTERRUPTED = 0, 1, 2, 3, 130
# For data of one's own, unless --preset says otherwise.
_OWN_DATA_PRESET = "small_data_cpu"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="local_runner.py",
        description="Trains, judges and publishes an object detector; everything is recorded in "
        "ML Metadata. Without options: the embedded demo.",
        epilog="Exit codes: 0 pushed, 3 finished but not blessed (nothing pushed), 1 failed, "
        "2 wrong command line or setting, 130 interrupted.",
        allow_abbrev=False,
    )
    data = parser.add_argument_group("data")
    data.add_argument("--data", metavar="PATH", help="VOC folder, or TFRecord file or pattern")
    data.add_argument("--format", choices=("voc", "tfrecord"), help="default: voc")
    data.add_argument(
        "--class-from",
        choices=("name", "filename"),
        help="VOC: class from each <name> (default), or from the file name",
    )
    data.add_argument(
        "--train",
        metavar="PATH",
        help="own split: VOC folder or TFRecord pattern for training; or, with --data, a .txt "
        "list of image ids",
    )
    data.add_argument("--eval", metavar="PATH", help="the same for evaluation")
    data.add_argument("--schema", metavar="DIR", help="curated schema; default: inferred")
    run = parser.add_argument_group("run")
    run.add_argument("--preset", metavar="NAME", help="configuration to start from")
    run.add_argument("--list-presets", action="store_true", help="show the presets, and stop")
    run.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        action="append",
        default=[],
        help="override a setting; may be repeated",
    )
    run.add_argument("--list-settings", action="store_true", help="show all settings, and stop")
    run.add_argument(
        "--warm-start",
        metavar="FILE",
        help="'imagenet', a mobilenet_*_no_top.h5, or an earlier run's model folder",
    )
    places = parser.add_argument_group("places")
    places.add_argument("--workdir", metavar="DIR", default="workdir", help="default: workdir")
    places.add_argument("--push-to", metavar="DIR", help="default: WORKDIR/pushed")
    places.add_argument(
        "--metadata", metavar="FILE_OR_URL", help="default: WORKDIR/metadata.sqlite"
    )
    return parser.parse_args(arguments)


def make_config(options: argparse.Namespace) -> PipelineConfig:
    """The configuration that the command line asks for, before anything touches the disk.

    Raises:
      UserError: an unknown preset or setting, a value that does not fit.
    """
    flags = {
        "data.path": options.data,
        "data.format": options.format,
        "data.class_from": options.class_from,
        "data.train": options.train,
        "data.eval": options.eval,
        "schema_dir": options.schema,
        "warm_start.weights": options.warm_start,
        "push.destination": options.push_to,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    given |= parse_assignments(options.set)
    own_data = bool(given.get("data.path") or given.get("data.train"))
    preset = options.preset or (_OWN_DATA_PRESET if own_data else presets.DEFAULT)
    config = presets.load(preset)
    if own_data and preset == presets.DEFAULT:
        # The demo's classes are those of its own pictures.
        given = {"schema_dir": "", **given}
    config = override(config, given)
    if own_data and "name" not in given:
        # A model is compared with earlier ones of the same name: those of the same data.
        config = override(config, {"name": name_of_data(config.data)})
    return config


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = parse_arguments(arguments)
    try:
        if options.list_presets:
            for name in presets.names():
                print(f"{name}\n    " + presets.describe(name).replace("\n", "\n    ") + "\n")
            return EXIT_PUSHED
        config = make_config(options)
        if options.list_settings:
            for name, value in config.flat().items():
                print(f"{name}={value}")
            return EXIT_PUSHED
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE

    from pipeline.local_run import run_locally

    try:
        summary = run_locally(config, options.workdir, options.metadata)
    except (UserError, OSError) as error:  # OSError: a folder is read-only, a disk is full
        print(f"error: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("interrupted: the same command again goes on from here", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_PUSHED if summary["blessed"] else EXIT_NOT_BLESSED


if __name__ == "__main__":
    sys.exit(main())
