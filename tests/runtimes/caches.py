"""Folders with other people's software, which tests set up once and keep."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.fingerprint import ROOT

_CACHE = ROOT / ".tmp" / "runtimes"


def cached_folder(name: str, key: bytes, fill: Callable[[Path], None]) -> Path:
    """A folder that `fill` has filled; skips the test where that fails, as without a network.

    Args:
      name: of the folder.
      key: what the content depends on.
      fill: gets an empty folder.
    """
    folder = _CACHE / f"{name}-{hashlib.sha256(key).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    _CACHE.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=_CACHE))
    try:
        fill(new)
        os.replace(new, folder)
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(new, ignore_errors=True)
        output = getattr(error, "stderr", None) or b""
        text = output.decode(errors="replace") if isinstance(output, bytes) else output
        pytest.skip(f"{name} can't be installed: {error} {text[-500:]}")
    return folder
