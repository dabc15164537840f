"""Builds the container images and prints their digests, which is what a run is pinned to.

    python -m pipeline.vertex.images --repository us-central1-docker.pkg.dev/PROJECT/detector

With docker on this machine, or with Cloud Build (`--with cloud-build`, needs gcloud only). The base
images' digests are looked up and passed to the build. The last lines are the flags for
vertex_runner.py.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence

import requests

from pipeline.errors import UserError
from pipeline.fingerprint import ROOT, code_fingerprint

TARGETS = ("pipeline", "tpu-trainer", "gpu-trainer")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# The Dockerfile's images to start from: defaults of its arguments.
_BASE = re.compile(r"^ARG (\w+_IMAGE)=(\S+)$", re.MULTILINE)
_HUB = {"auth": "https://auth.docker.io", "registry": "https://registry-1.docker.io"}
_MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json,"
    "application/vnd.docker.distribution.manifest.list.v2+json"
)
_SECONDS = 30
Run = Callable[[Sequence[str]], str]


def base_images(endpoints: Mapping[str, str] = _HUB) -> dict[str, str]:
    """The Dockerfile's base images by digest: a tag may move between two builds.

    Args:
      endpoints: of the registry, Docker Hub.

    Returns:
      Build arguments by name.

    Raises:
      UserError: the registry does not answer, or has no such image.
    """
    return {
        name: _pinned(image, endpoints)
        for name, image in _BASE.findall((ROOT / "Dockerfile").read_text())
    }


def _pinned(image: str, endpoints: Mapping[str, str]) -> str:
    name, _, tag = image.partition(":")
    path = name if "/" in name else f"library/{name}"
    scope = {"service": "registry.docker.io", "scope": f"repository:{path}:pull"}
    try:
        token = requests.get(f"{endpoints['auth']}/token", params=scope, timeout=_SECONDS)
        token.raise_for_status()
        answer = requests.head(
            f"{endpoints['registry']}/v2/{path}/manifests/{tag}",
            headers={
                "Accept": _MANIFEST_TYPES,
                "Authorization": f"Bearer {token.json()['token']}",
            },
            timeout=_SECONDS,
        )
        answer.raise_for_status()
        digest = answer.headers.get("Docker-Content-Digest", "")
    except requests.RequestException as error:
        raise UserError(
            f"Expected the digest of the base image {image}. Received: {error}. Check the network, "
            "or pass it yourself: --base NAME_IMAGE=HOST/PATH@sha256:..."
        ) from error
    if not _DIGEST.fullmatch(digest):
        raise UserError(f"Expected a digest of the base image {image}. Received: {digest!r}.")
    return f"{name}@{digest}"


def build_images(
    repository: str, targets: Sequence[str], tool: str, base: Mapping[str, str], run: Run
) -> dict[str, str]:
    """Builds and pushes images.

    Args:
      repository: HOST/PROJECT/NAME of an Artifact Registry repository.
      targets: of the Dockerfile.
      tool: "docker" or "cloud-build".
      base: see `base_images`.
      run: runs a command and gives its standard output.

    Returns:
      Each target's image by digest.

    Raises:
      UserError: a command failed, or gave no digest.
    """
    fingerprint = code_fingerprint("pipeline.pipeline")
    build = _with_docker if tool == "docker" else _with_cloud_build
    arguments = [f"{name}={value}" for name, value in sorted(base.items())]
    arguments.append(f"CODE_FINGERPRINT={fingerprint}")
    images = {}
    for target in targets:
        name = f"{repository}/{target}"
        # The tag is for people; runs use the digest.
        digest = build(f"{name}:{fingerprint[:12]}", target, _build_arguments(arguments), run)
        match = _DIGEST.search(digest)
        if match is None:
            raise UserError(f"Expected a digest of {name}. Received: {digest.strip()[:200]!r}.")
        images[target] = f"{name}@{match[0]}"
    return images


def _build_arguments(arguments: Sequence[str]) -> list[str]:
    return [word for argument in arguments for word in ("--build-arg", argument)]


def _with_docker(tag: str, target: str, arguments: Sequence[str], run: Run) -> str:
    run(["docker", "build", "--platform", "linux/amd64", "--target", target, *arguments,
         "--tag", tag, str(ROOT)])  # fmt: skip
    run(["docker", "push", tag])
    return run(["docker", "inspect", "--format", "{{index .RepoDigests 0}}", tag])


def _with_cloud_build(tag: str, target: str, arguments: Sequence[str], run: Run) -> str:
    build = {
        "steps": [
            {
                "name": "gcr.io/cloud-builders/docker",
                "args": ["build", "--target", target, "--tag", tag, *arguments, "."],
            }
        ],
        "images": [tag],
        "timeout": "3600s",
        "options": {"machineType": "E2_HIGHCPU_8"},
    }  # fmt: skip
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(build, file)
        file.flush()
        run(["gcloud", "builds", "submit", "--config", file.name, str(ROOT)])
    show = ["gcloud", "artifacts", "docker", "images", "describe", tag]
    return run([*show, "--format", "value(image_summary.digest)"])


def run_command(command: Sequence[str]) -> str:
    """Runs a command; its output is shown as it comes, on standard error.

    Raises:
      UserError: it is not installed, or it failed.
    """
    print("+", " ".join(command), file=sys.stderr)
    try:
        process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    except FileNotFoundError as error:
        raise UserError(
            f"Expected {command[0]} to be installed. Received: nothing of that name. Install it, "
            "or choose the other of --with docker, --with cloud-build."
        ) from error
    if process.returncode:
        raise UserError(f"{' '.join(command[:3])} failed with exit code {process.returncode}.")
    return process.stdout


def _given(pairs: Sequence[str]) -> dict[str, str]:
    given = dict(pair.partition("=")[::2] for pair in pairs)
    names = {name for name, _ in _BASE.findall((ROOT / "Dockerfile").read_text())}
    floating = [image for image in given.values() if not _DIGEST.search(image)]
    if set(given) != names or floating:
        raise UserError(
            f"Expected --base for each of {', '.join(sorted(names))}, by digest. "
            f"Received: {' '.join(pairs)}."
        )
    return given


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.vertex.images")
    parser.add_argument("--repository", required=True, metavar="HOST/PROJECT/NAME")
    parser.add_argument("--with", dest="tool", choices=("docker", "cloud-build"), default="docker")
    parser.add_argument("--target", action="append", choices=TARGETS, help="default: all")
    parser.add_argument(
        "--base",
        action="append",
        metavar="NAME_IMAGE=IMAGE@sha256:...",
        help="base images, from a mirror of your own; default: Docker Hub's, looked up",
    )
    options = parser.parse_args(arguments)
    try:
        base = _given(options.base) if options.base else base_images()
        images = build_images(
            options.repository, options.target or TARGETS, options.tool, base, run_command
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for target, image in images.items():
        flag = "--pipeline-image" if target == "pipeline" else "--trainer-image"
        print(f"{flag} {image}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
