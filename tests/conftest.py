"""Keeps what the tests write inside the clone; what TensorFlow says is deprecated is a warning."""

import logging
import os
import sys
import tempfile
import warnings

import models  # noqa: F401 - tells Keras where its home is, before a test imports Keras
from pipeline.fingerprint import ROOT

os.environ["TMPDIR"] = tempfile.tempdir = str(ROOT / ".tmp")
os.makedirs(tempfile.tempdir, exist_ok=True)

# Between who calls what is deprecated in TensorFlow, and the line of the log.
_BETWEEN = ("logging", "tensorflow.python.util.", "tensorflow.python.platform.")


def _warn(record: logging.LogRecord) -> bool:
    """Makes "NAME is deprecated" a warning about whoever called that, as others warn."""
    if " is deprecated " in record.getMessage():
        caller = sys._getframe(1)
        while caller.f_globals.get("__name__", "").startswith(_BETWEEN):
            caller = caller.f_back
        where = (caller.f_code.co_filename, caller.f_lineno, caller.f_globals.get("__name__"))
        warnings.warn_explicit(record.getMessage(), DeprecationWarning, *where)
    return True


logging.getLogger("tensorflow").addFilter(_warn)

pytest_plugins = ["tests.demo_project"]
