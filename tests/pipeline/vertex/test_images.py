import json
import re
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.fingerprint import ROOT, code_fingerprint
from pipeline.vertex import images

DIGEST = "sha256:" + "a" * 64
REPOSITORY = "us-central1-docker.pkg.dev/my-project/detector"
BASE = {"PYTHON_IMAGE": f"python@{DIGEST}", "BEAM_IMAGE": f"apache/beam@{DIGEST}"}


class Shell:
    """Notes the commands, and answers the questions for digests."""

    def __init__(self, answer: str = f"{REPOSITORY}/x@{DIGEST}\n"):
        self.commands: list[list[str]] = []
        self.answer = answer
        self.build = None

    def __call__(self, command):
        self.commands.append(list(command))
        if "--config" in command:
            self.build = json.loads(Path(command[command.index("--config") + 1]).read_text())
        return self.answer if "inspect" in command or "describe" in command else ""


def test_docker_builds_pushes_and_gives_the_digest():
    shell = Shell()
    built = images.build_images(REPOSITORY, ["tpu-trainer"], "docker", BASE, shell)
    assert built == {"tpu-trainer": f"{REPOSITORY}/tpu-trainer@{DIGEST}"}
    build, push, _ = shell.commands
    tag = f"{REPOSITORY}/tpu-trainer:{code_fingerprint('pipeline.pipeline')[:12]}"
    assert build[:6] == ["docker", "build", "--platform", "linux/amd64", "--target", "tpu-trainer"]
    assert f"PYTHON_IMAGE=python@{DIGEST}" in build
    assert f"CODE_FINGERPRINT={code_fingerprint('pipeline.pipeline')}" in build
    assert push == ["docker", "push", tag]


def test_cloud_build_is_given_the_same(capsys):
    shell = Shell(answer=f"{DIGEST}\n")
    built = images.build_images(REPOSITORY, ["pipeline"], "cloud-build", BASE, shell)
    assert built == {"pipeline": f"{REPOSITORY}/pipeline@{DIGEST}"}
    (step,) = shell.build["steps"]
    assert step["args"][:3] == ["build", "--target", "pipeline"]
    assert f"BEAM_IMAGE=apache/beam@{DIGEST}" in step["args"]
    assert shell.build["images"] == [step["args"][4]]


def test_an_image_without_a_digest_is_no_image():
    with pytest.raises(UserError, match=r"Expected a digest of .*pipeline"):
        images.build_images(REPOSITORY, ["pipeline"], "docker", BASE, Shell(answer="latest\n"))


def test_the_command_prints_flags_and_says_what_is_missing(capsys, monkeypatch):
    monkeypatch.setattr(images, "run_command", Shell())
    base = [word for name, image in BASE.items() for word in ("--base", f"{name}={image}")]
    assert images.main(["--repository", REPOSITORY, *base]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"--pipeline-image {REPOSITORY}/pipeline@{DIGEST}"
    assert lines[1] == f"--trainer-image {REPOSITORY}/tpu-trainer@{DIGEST}"
    assert images.main(["--repository", REPOSITORY, "--base", "PYTHON_IMAGE=python:3.10"]) == 1
    assert "by digest" in capsys.readouterr().err


def test_a_tool_that_is_missing_or_fails_is_one_line():
    with pytest.raises(UserError, match="Expected no-such-tool to be installed"):
        images.run_command(["no-such-tool"])
    with pytest.raises(UserError, match="failed with exit code 1"):
        images.run_command(["false"])


def test_base_images_are_looked_up_by_digest(monkeypatch):
    class Answer:
        headers = {"Docker-Content-Digest": DIGEST}

        def raise_for_status(self):
            pass

        def json(self):
            return {"token": "t"}

    asked = []

    def get(url, **arguments):
        asked.append((url, arguments))
        return Answer()

    monkeypatch.setattr(images.requests, "get", get)
    monkeypatch.setattr(images.requests, "head", get)
    assert images.base_images() == {
        "PYTHON_IMAGE": f"python@{DIGEST}",
        "BEAM_IMAGE": f"apache/beam_python3.10_sdk@{DIGEST}",
    }
    assert asked[0][1]["params"]["scope"] == "repository:library/python:pull"
    assert asked[1][0].endswith("/v2/library/python/manifests/3.10.15-slim-bookworm")


def test_a_registry_out_of_reach_is_one_line():
    nowhere = {"auth": "http://127.0.0.1:1", "registry": "http://127.0.0.1:1"}
    with pytest.raises(UserError, match=r"digest of the base image python:3\.10\.15-slim-bookworm"):
        images.base_images(nowhere)


DOCKERFILE = (ROOT / "Dockerfile").read_text()
ENVIRONMENTS = {
    "pipeline": "environment",
    "tpu-trainer": "tpu-environment",
    "gpu-trainer": "gpu-environment",
}
_LINES = DOCKERFILE.replace("\\\n", " ").splitlines()
_STAGES = {
    stage.splitlines()[0].rpartition(" AS ")[2]: stage
    for stage in re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
}


def test_the_dockerfile_has_every_target_and_runs_as_nobody_special():
    assert set(images.TARGETS) <= set(_STAGES)
    for target in images.TARGETS:
        stage = _STAGES[target].strip()
        assert stage.startswith("code AS ")
        assert stage.endswith("USER detector")
        assert f"COPY --from={ENVIRONMENTS[target]} /opt/venv /opt/venv" in stage
    assert re.search(r"useradd .*--uid 1000 detector", _STAGES["code"])


def test_an_image_says_of_which_code_and_which_images_it_is_made():
    build_arguments = {"CODE_FINGERPRINT", "PYTHON_IMAGE", "BEAM_IMAGE"}
    code = _STAGES["code"]
    assert set(re.findall(r"^ARG (\w+)", code, re.MULTILINE)) == build_arguments
    assert set(re.findall(r"detector\.[\w-]+=\$\{(\w+)\}", code)) == build_arguments
    # No stage starts from an image that `base_images` does not pin.
    for stage in _STAGES.values():
        source = stage.split()[0]
        assert source in {*_STAGES, "${PYTHON_IMAGE}", "${BEAM_IMAGE}"}


def test_what_the_images_copy_is_there_and_is_sent():
    copied = [line.split()[1] for line in _LINES if re.match(r"COPY (?!--from)", line)]
    assert {"models", "pipeline", "schema", "requirements.lock"} <= set(copied)
    sent_to_docker = (ROOT / ".dockerignore").read_text().splitlines()
    sent_to_cloud_build = (ROOT / ".gcloudignore").read_text().splitlines()
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in sent_to_docker
        assert f"!/{name}" in sent_to_cloud_build
    # The pipeline finds its code and its presets' schemas without anything else of the clone.
    assert "PYTHONPATH=/app" in _STAGES["code"]


def test_the_images_are_installed_like_every_environment():
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (made,) = re.findall(r"-m pip install (.*requirements\.lock)", makefile)
    needed = set(made.split()) & {"--no-deps", "--require-hashes"}
    assert len(needed) == 2
    installs = [line for line in _LINES if "pip install" in line]
    locked = [line for line in installs if "-r /tmp/" in line]
    for line in locked:
        assert needed <= set(line.split())
    # Only libtpu comes from elsewhere, and from there alone.
    (libtpu,) = [line for line in installs if line not in locked]
    assert {"libtpu==2.16.0rc0", "--no-index", "--no-deps"} <= set(libtpu.split())


def test_the_dockerfile_keeps_to_the_versions_of_the_lock():
    lock = (ROOT / "requirements.lock").read_text()
    beam = re.search(r"^apache-beam==(\S+)", lock, re.MULTILINE)[1]
    tensorflow = re.search(r"^tensorflow==(\S+)", lock, re.MULTILINE)[1]
    python = re.search(r"PYTHON_IMAGE=python:(\d+\.\d+)\.", DOCKERFILE)[1]
    assert python == (ROOT / ".python-version").read_text().strip()
    assert f"BEAM_IMAGE=apache/beam_python{python}_sdk:{beam}" in DOCKERFILE
    assert f"tensorflow-tpu=={tensorflow} " in (ROOT / "requirements-tpu.lock").read_text()
    from importlib.metadata import requires

    wanted = {
        requirement.partition(";")[0].strip().replace(" ", "")
        for requirement in requires("tensorflow")
        if "and-cuda" in requirement
    }
    gpu_lock = (ROOT / "requirements-gpu.lock").read_text()
    assert set(re.findall(r"^(\S+==\S+) ", gpu_lock, re.MULTILINE)) == wanted
