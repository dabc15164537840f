"""The command line that both runners share: what to train, on what data, with which settings.

Light on purpose: `--help` does not wait for TensorFlow.
"""

import argparse

from pipeline import presets
from pipeline.config import PipelineConfig, override, parse_assignments
from pipeline.data.name import name_of_data

EXIT_PUSHED, EXIT_FAILED, EXIT_USAGE, EXIT_NOT_BLESSED, EXIT_INTERRUPTED = 0, 1, 2, 3, 130
# For data of one's own, unless --preset says otherwise.
_OWN_DATA_PRESET = "small_data_cpu"


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say what the labelled images are."""
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


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say what to make of them."""
    run = parser.add_argument_group("run")
    run.add_argument("--preset", metavar="NAME", help="configuration to start from")
    run.add_argument("--list-presets", action="store_true", help="show the presets, and stop")
    run.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="override settings; may be repeated",
    )
    run.add_argument("--list-settings", action="store_true", help="show all settings, and stop")
    run.add_argument(
        "--warm-start",
        metavar="PATH",
        help="'imagenet', a mobilenet_*_no_top.h5, a .tflite or TF1 checkpoint of the TF Object "
        "Detection API, or an earlier run's model folder",
    )


def make_config(
    options: argparse.Namespace, assignments: dict[str, str] | None = None
) -> PipelineConfig:
    """The configuration that the command line asks for, before anything touches the disk.

    Args:
      options: with the flags of `add_data_flags` and `add_run_flags`, and --push-to.
      assignments: from a runner's own flags; `--set` has the last word.

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
        **(assignments or {}),
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


def print_lists(options: argparse.Namespace, config: PipelineConfig | None = None) -> bool:
    """Prints the presets or the settings, if that is what is asked for.

    Args:
      options: the command line.
      config: for --list-settings; None looks for --list-presets.

    Returns:
      Whether anything was printed: then there is nothing else to do.
    """
    if config is None:
        if options.list_presets:
            for name in presets.names():
                print(f"{name}\n    " + presets.describe(name).replace("\n", "\n    ") + "\n")
        return options.list_presets
    if options.list_settings:
        for name, value in config.flat().items():
            print(f"{name}={value}")
    return options.list_settings
