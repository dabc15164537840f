"""Keeps what the tests write inside the clone."""

import os
import tempfile

import models  # noqa: F401 - tells Keras where its home is, before a test imports Keras
from pipeline.fingerprint import ROOT

os.environ["TMPDIR"] = tempfile.tempdir = str(ROOT / ".tmp")
os.makedirs(tempfile.tempdir, exist_ok=True)

pytest_plugins = ["tests.demo_project"]
