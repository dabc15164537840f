"""Whether data is there at all: asked before TensorFlow and TFX are loaded, which takes a while."""

import glob
import os

from pipeline.data.voc import find_layout
from pipeline.errors import UserError
from pipeline.settings import DataSettings


def check_data_paths(data: DataSettings) -> None:
    """Looks for the data where this machine can; ExampleGen itself looks closer.

    Args:
      data: paths with `://` in them or with `{SPAN}` are left to ExampleGen.

    Raises:
      UserError: when a folder, list or file is not there.
    """
    lists = [path for path in (data.train, data.eval) if path.endswith(".txt")]
    for path in lists:
        if _is_plain(path) and not os.path.isfile(path):
            raise UserError(
                f"Expected a text file of image ids. Received: {path}, which is no file. "
                "Check the path."
            )
    for path in (data.path, data.train, data.eval):
        if not path or path in lists or not _is_plain(path):
            continue
        if data.format == "tfrecord":
            _check_shards(path)
        elif data.images and data.annotations:
            _check_folders(path, data.images, data.annotations)
        else:
            find_layout(path)


def _is_plain(path: str) -> bool:
    return "://" not in path and "{" not in path


def _check_shards(path: str) -> None:
    if not os.path.exists(path) and not glob.glob(path):
        raise UserError(
            f"Expected TFRecord files at {path}. Received: none. Check the path; quote a pattern, "
            "so that the shell leaves it alone."
        )


def _check_folders(path: str, *inner: str) -> None:
    for folder in (path, *(os.path.join(path, name) for name in inner)):
        if _is_plain(folder) and not os.path.isdir(folder):
            raise UserError(
                f"Expected a folder. Received: {folder}, which is none. Check the path, "
                "data.images and data.annotations."
            )
