"""The command line that both runners share: the data, the preset and the settings.

Imports nothing heavy, so that `--help` does not wait for TensorFlow.
"""

import argparse
import os
import re
from collections.abc import Mapping
from typing import Any

from models.training.plan import PLANNED
from pipeline import presets
from pipeline.config import PipelineConfig, override, parse_assignments
from pipeline.data import archives
from pipeline.errors import UserError
from pipeline.recipe import Recipe
from pipeline.settings import DataSettings

EXIT_PUSHED, EXIT_FAILED, EXIT_USAGE, EXIT_NOT_BLESSED, EXIT_INTERRUPTED = 0, 1, 2, 3, 130
# For the user's own data, without --preset and as long as nothing is known of them.
_OWN_DATA_PRESET = "small_data_cpu"
_MAX_NAME = 50
_LABEL_FILES = (".json", ".yaml", ".yml", ".data")
_RECORD_FILE = re.compile(r"\.[^/]*(record|tfr)", re.IGNORECASE)


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for the labelled images."""
    data = parser.add_argument_group("data")
    data.add_argument(
        "--data",
        metavar="PATH",
        help="folder of labelled images (Pascal VOC, COCO, YOLO, TFRecord), a COCO JSON, a YOLO "
        "data.yaml, a TFRecord file or pattern; or an archive of these",
    )
    data.add_argument(
        "--format",
        choices=("auto", "voc", "coco", "yolo", "tfrecord"),
        help="default: auto, finds out",
    )
    data.add_argument(
        "--class-from",
        choices=("name", "filename"),
        help="class from each object's label (default), or from the picture's file name",
    )
    data.add_argument(
        "--train",
        metavar="PATH",
        help="own split: data set for training, like --data; or, with --data, a .txt list of "
        "image ids",
    )
    data.add_argument("--eval", metavar="PATH", help="likewise for evaluation")
    data.add_argument(
        "--test", metavar="PATH", help="likewise for a test, scored once, when a file is pushed"
    )
    data.add_argument("--schema", metavar="DIR", help="curated schema; default: inferred")


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags for the preset and its settings."""
    run = parser.add_argument_group("run")
    run.add_argument("--preset", metavar="NAME", help="configuration to start from")
    run.add_argument("--list-presets", action="store_true", help="show the presets and exit")
    run.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        nargs="+",
        action="extend",
        default=[],
        help="override settings; may be repeated",
    )
    run.add_argument(
        "--minutes",
        metavar="N",
        help="measure this machine, and train for as many steps as let the whole run (on Vertex "
        "AI, its training job) end within N minutes",
    )
    run.add_argument("--list-settings", action="store_true", help="show all settings and exit")
    run.add_argument(
        "--warm-start",
        metavar="PATH",
        help="'imagenet', a mobilenet_*_no_top.h5, a .tflite or TF1 checkpoint of the TF Object "
        "Detection API, or an earlier run's model folder",
    )


def given_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that the command line gives: `section.key` -> value or its text.

    Args:
      options: with the flags of `add_data_flags` and `add_run_flags`, and --push-to.

    Raises:
      UserError: a `--set` that is no assignment.
    """
    flags = {
        "data.path": options.data,
        "data.format": options.format,
        "data.class_from": options.class_from,
        "data.train": options.train,
        "data.eval": options.eval,
        "data.test": options.test,
        "schema_dir": options.schema,
        "training.minutes": options.minutes,
        "warm_start.weights": options.warm_start,
        "push.destination": options.push_to,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    return given | parse_assignments(options.set)


def has_own_data(given: Mapping[str, Any]) -> bool:
    """Whether the settings name a data set, instead of the demo's."""
    return bool(given.get("data.path") or given.get("data.train"))


def make_config(
    options: argparse.Namespace,
    assignments: Mapping[str, Any] | None = None,
    recipe: Recipe | None = None,
) -> PipelineConfig:
    """Builds the configuration that the command line asks for, without touching the disk.

    Args:
      options: see `given_settings`.
      assignments: from the runner's own flags, None where not given; `--set` overrides them.
      recipe: what to start from without --preset.

    Raises:
      UserError: an unknown preset or setting, an invalid value, or settings given together of
        which one would be ignored.
    """
    from_runner = {k: v for k, v in (assignments or {}).items() if v is not None}
    given = from_runner | given_settings(options)
    own_data = has_own_data(given)
    preset = options.preset or (_OWN_DATA_PRESET if own_data else presets.DEFAULT)
    if recipe is not None:
        preset = recipe.preset
    config = presets.load(preset)
    if own_data and preset == presets.DEFAULT:
        # The demo's schema lists the classes of its own pictures.
        given = {"schema_dir": "", **given}
    _check_minutes(config, given)
    config = override(config, {**(recipe.settings if recipe else {}), **given})
    if own_data and "name" not in given:
        config = override(config, {"name": _name_of_data(config.data) or config.name})
    return config


def _check_minutes(config: PipelineConfig, given: dict[str, str]) -> None:
    """Rejects minutes together with a setting that they decide: one would be ignored."""
    minutes = {name: given[name] for name in ("training.minutes",) if name in given}
    ignored = [name for name in (f"training.{key}" for key in PLANNED) if name in given]
    if ignored and override(config, minutes).training.minutes:
        raise UserError(
            f"--minutes (training.minutes) finds {', '.join(ignored)} itself. Leave out one or the "
            "other; to repeat a planned run, give its settings without --minutes."
        )


def _name_of_data(data: DataSettings) -> str:
    """Names the pipeline after the data: a model is compared with earlier ones of its pipeline.

    Returns:
      The folder's name, or that of the folder that contains all files; an archive's or a single
      TFRecord file's stem. In lower case, with `-` between words. Empty when that leaves nothing.
    """
    folders = []
    for path in [data.path] if data.path else [data.train, data.eval]:
        plain = path if "://" in path else os.path.abspath(path)
        before_pattern = re.split(r"[*?\[{]", plain)[0]
        folders.append(plain if before_pattern == plain else os.path.dirname(before_pattern))
    path = os.path.commonpath(folders)
    if path.lower().endswith(_LABEL_FILES):  # the data set is called like its folder
        path = os.path.dirname(path)
        if os.path.basename(path).lower() in ("annotations", "labels"):
            path = os.path.dirname(path)
    name = archives.stem_of(os.path.basename(path))
    if data.format == "tfrecord" or _RECORD_FILE.search(name):
        name = name.partition(".")[0]
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:_MAX_NAME].strip("-")


def print_lists(options: argparse.Namespace, config: PipelineConfig | None = None) -> bool:
    """Prints the presets or the settings if the command line asks for them.

    Args:
      options: the command line.
      config: for --list-settings; None looks for --list-presets.

    Returns:
      Whether anything was printed; if so, there is nothing else to do.
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
