"""The pipeline's name, from the data set's: models are compared under one name."""

import hashlib
import os
import re
import unicodedata

from pipeline.settings import DataSettings

_MAX_LENGTH = 50
# Globs, and {SPAN}.
_PATTERN_CHARACTERS = re.compile(r"[*?\[{]")
# Shorter beginnings that two folders share say nothing: `train` and `test` share a `t`.
_MIN_SHARED = 3


def name_of_data(data: DataSettings) -> str:
    """A valid pipeline name for a data set.

    Args:
      data: has a `path`, or `train` and `eval`.

    Returns:
      Of a folder its name, of a TFRecord file its stem, of a pattern the folder that it is in; of
      `train` and `eval` what their names begin with, or the folder that they share. In lower case,
      with `-` between words: `Pets 3/` is `pets-3`.
    """
    if data.path:
        return _slug(_name(data.path, data.format))
    names = [_name(path, data.format) for path in (data.train, data.eval)]
    if names[0] == names[1]:
        return _slug(names[0])
    # Character by character: `bees_train` and `bees_eval` are of the bees.
    shared = os.path.commonprefix(names).rstrip("_-. ")  # noqa: RUF071
    if len(shared) >= _MIN_SHARED:
        return _slug(shared)
    return _slug(os.path.basename(os.path.dirname(_plain(data.train))))


def _plain(path: str) -> str:
    """The path without the parts from which on it is a pattern; absolute if it is local."""
    plain = path.rstrip("/") if "://" in path else os.path.abspath(path)
    while _PATTERN_CHARACTERS.search(plain):
        plain = os.path.dirname(plain)
    return plain


def _name(path: str, data_format: str) -> str:
    plain = _plain(path)
    name = os.path.basename(plain)
    is_file = data_format == "tfrecord" and not _PATTERN_CHARACTERS.search(path)
    return name.partition(".")[0] if is_file else name


def _slug(name: str) -> str:
    latin = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", latin).strip("-")[:_MAX_LENGTH].rstrip("-")
    # A name in another script still tells data sets apart.
    return slug or f"data-{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"
