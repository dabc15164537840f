"""The short form of `make campaign`: every kind of step once."""

import os
import subprocess
import sys

import pytest

from pipeline.fingerprint import ROOT


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_fault_is_survived_and_every_answer_is_right(tmp_path):
    # In a process of its own, as it preloads what its runs need.
    command = [sys.executable, "-m", "tests.campaign", "--minutes", "0"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert "0 wrong" in done.stdout
