"""The commands in docs/production.md work."""

import re
import shlex
import subprocess

import pytest

import vertex_runner
from pipeline.fingerprint import ROOT

TEXT = (ROOT / "docs" / "production.md").read_text()
_CODE = "\n".join(line[4:] for line in TEXT.splitlines() if line.startswith("    "))
_CODE = _CODE.replace("\\\n", " ")
_VARIABLES = dict(re.findall(r'^(WHERE|DATA)="([^"]+)"', _CODE, re.MULTILINE))
_VARIABLES |= dict(word.split("=", 1) for word in _CODE.splitlines()[0].split())


def words(line: str) -> list[str]:
    while names := re.findall(r"\$([A-Z]+)", line):
        for name in names:
            line = line.replace(f"${name}", _VARIABLES.get(name, "x"))
    return shlex.split(line.replace("...", "x"), comments=True)


COMMANDS = [
    words(line)[2:] for line in _CODE.splitlines() if line.startswith("python vertex_runner.py")
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_every_command_is_valid(command):
    options = vertex_runner.parse_arguments(command)
    if getattr(options, "preset", None) == "x":
        options.preset = None
    vertex_runner.configure(options)


def test_every_verb_is_shown():
    assert {command[0] for command in COMMANDS} | {"compile"} == {
        "compile", "submit", "status", "cancel", "schedule", "schedules", "unschedule", "doctor",
        "rehearse",
    }  # fmt: skip
    assert "compile ... --output" in TEXT


def test_images_are_built_as_shown():
    (line,) = [line for line in _CODE.splitlines() if line.startswith("make ")]
    dry_run = ["make", "--dry-run", *words(line)[1:]]
    shown = subprocess.run(dry_run, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "_REPOSITORY=us-central1-docker.pkg.dev/my-project/detector,_TRAINER=" in shown


def test_the_setup_is_called_with_what_it_needs():
    (line,) = [line for line in _CODE.splitlines() if line.startswith("./vertex_setup.sh")]
    assert words(line)[1:] == ["my-project", "us-central1", "my-project-detector"]
