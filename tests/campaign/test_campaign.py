"""The short form of `make campaign`: every kind of step once."""

import subprocess
import sys

import pytest

from pipeline.fingerprint import ROOT


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_fault_is_survived_and_every_answer_is_right():
    # In a process of its own, as it preloads what its runs need. It keeps the folder for temporary
    # files: the socket of Python's fork server is in there, and its path has at most 107 bytes.
    command = [sys.executable, "-m", "tests.campaign", "--minutes", "0"]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "0 wrong" in done.stdout
    assert "arning" not in done.stdout
