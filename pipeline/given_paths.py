"""The paths that a user gives: mistyped ones are found before TensorFlow and TFX are loaded."""

import glob
import os
from pathlib import Path

from models.weights.source import files_of
from pipeline.config import PipelineConfig
from pipeline.errors import UserError
from pipeline.files import SCHEMA_FILE
from pipeline.fingerprint import ROOT
from pipeline.settings import DataSettings


def require_local_paths(config: PipelineConfig) -> None:
    """Checks what is on this machine; URLs are left to whoever reads them.

    Raises:
      UserError: data, schema or weights that do not exist.
    """
    require_data(config.data)
    if config.schema_dir:
        schema_folder(config.schema_dir)
    weights = config.warm_start.weights
    if weights and weights != "imagenet" and "://" not in weights:
        require_weights(weights)


def require_data(data: DataSettings) -> None:
    """Checks the data sets' paths; those with `{SPAN}` are not checked.

    Raises:
      UserError: when nothing exists at a local path.
    """
    for path in (data.path, data.train, data.eval, data.test):
        if "://" in path or "{" in path:
            continue
        if path and not os.path.exists(path) and not glob.glob(path):
            raise UserError(
                f"There is no data at {path}. Check the path; quote a pattern, so that the shell "
                "does not expand it."
            )


def schema_folder(schema_dir: str) -> str:
    """The absolute path of a schema's folder; the presets' are beside the code.

    Raises:
      UserError: when there is no schema.
    """
    here = Path(schema_dir)
    folder = (here if here.exists() else ROOT / here).absolute()
    if not (folder / SCHEMA_FILE).is_file():
        raise UserError(
            f"Expected --schema to be a folder with a {SCHEMA_FILE}. Received: {here}, which is "
            "not. Leave --schema out to infer a schema from the data."
        )
    return str(folder)


def require_weights(weights: str) -> None:
    """Checks the path of weights to start from.

    Raises:
      UserError: when there are none.
    """
    if not files_of(weights):
        what = "is empty" if os.path.isdir(weights) else "does not exist"
        raise UserError(
            "Expected --warm-start to be 'imagenet', a weights file, a TF1 checkpoint, or the "
            f"model folder of an earlier run. Received: {weights}, which {what}."
        )
