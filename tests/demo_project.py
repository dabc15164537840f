"""A run of the demo, for the tests that need its file."""

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

import local_runner
from pipeline.fingerprint import ROOT


class Project:
    """A workdir and the runs in it."""

    def __init__(self, workdir: Path):
        self.workdir = workdir

    def arguments(self, *flags, **settings):
        command = ["--workdir", str(self.workdir), *flags]
        for name, value in settings.items():
            command += ["--set", f"{name.replace('__', '.')}={value}"]
        return command

    def start(self, arguments, program=(str(ROOT / "local_runner.py"),)):
        """Starts the command line in a separate process."""
        return subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *flags, **settings):
        """Runs the command line in this process; returns exit code, output and summary.json."""
        with contextlib.redirect_stdout(io.StringIO()) as output:
            code = local_runner.main(self.arguments(*flags, **settings))
        return code, output.getvalue(), self.summary()

    def summary(self):
        """summary.json of the last run."""
        return json.loads((self.workdir / "latest_run" / "summary.json").read_text())

    def versions(self):
        """Names of the published versions."""
        return sorted(
            entry.name for entry in (self.workdir / "pushed").iterdir() if not entry.is_symlink()
        )

    def states(self):
        """Files of unfinished training runs."""
        return set(self.workdir.glob("checkpoints/*/state.npz"))


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project") / "work")


@pytest.fixture(scope="session")
def demo(project):
    """The demo's exit code, output and summary."""
    process = project.start(project.arguments())
    output, _ = process.communicate()
    return process.returncode, output, project.summary()
