"""`make lane`: which version of TFX `make setup` installs, on which Python, and why."""

import subprocess
import sys

import pytest

from pipeline.fingerprint import ROOT

# Answers as a Python of this version whose venv module works.
PYTHON = """#!/bin/sh
case $1 in
  --version) echo Python {version}.9 ;;
  -c) [ "$3" = {version} ] ;;
esac
"""


@pytest.fixture
def lane(tmp_path):
    """Asks on a system with a C library and Pythons; returns the process."""

    def ask(glibc: str, *pythons: str, **variables: object):
        scripts = {f"python{version}": PYTHON.format(version=version) for version in pythons}
        scripts["getconf"] = f"#!/bin/sh\necho glibc {glibc}\n"
        for name, script in scripts.items():
            (tmp_path / name).write_text(script)
            (tmp_path / name).chmod(0o755)
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)}
        passed = [f"{name}={value}" for name, value in variables.items()]
        return subprocess.run(
            ["make", "--no-print-directory", "lane", *passed],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return ask


def test_a_new_system_gets_the_newest_python_that_tfx_knows(lane):
    done = lane("2.41", "3.13", "3.12", "3.10")
    assert done.stdout == "TFX 1.21 on Python 3.13.9, glibc 2.41\n", done.stderr


def test_an_old_c_library_gets_the_older_tfx(lane):
    done = lane("2.36", "3.13", "3.10")
    why = "TFX 1.21 needs glibc 2.39 or newer, and this system has 2.36"
    assert done.stdout == f"TFX 1.16 on Python 3.10.9: {why}\n", done.stderr


def test_a_python_that_is_named_decides(lane, tmp_path):
    done = lane("2.39", "3.13", "3.10", SETUP_PYTHON=tmp_path / "python3.10")
    why = "no Python 3.11 to 3.13 with its venv module found"
    assert done.stdout == f"TFX 1.16 on Python 3.10.9: {why}\n", done.stderr


@pytest.mark.parametrize(
    ("glibc", "command"),
    [("2.41", "apt-get install python3-venv python3-dev;"), ("2.9", "pyenv install 3.10")],
)
def test_neither_is_one_line_that_says_what_to_install(lane, tmp_path, glibc, command):
    done = lane(glibc, "3.13" if glibc == "2.9" else "3.14", SETUP_PYTHON=tmp_path / "python3.14")
    assert done.returncode
    assert not done.stdout
    error, *makes_own = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert f"Install one, for example with: {command}" in error
    assert len(makes_own) == 1  # make: *** ... Error 1


def test_a_real_python_is_asked(lane):
    done = lane("2.41", SETUP_PYTHON=sys.executable)
    version = ".".join(map(str, sys.version_info[:3]))
    assert f"on Python {version}" in done.stdout, done.stderr
