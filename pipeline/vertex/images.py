"""Builds the container images and prints their digests, which is what a run is pinned to.

    python -m pipeline.vertex.images --repository us-central1-docker.pkg.dev/PROJECT/detector

With docker on this machine, or with Cloud Build (`--with cloud-build`, needs gcloud only). The last
lines are the flags for vertex_runner.py.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

from pipeline.errors import UserError
from pipeline.fingerprint import ROOT, code_fingerprint

TARGETS = ("pipeline", "tpu-trainer", "gpu-trainer")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
Run = Callable[[Sequence[str]], str]


def build_images(repository: str, targets: Sequence[str], tool: str, run: Run) -> dict[str, str]:
    """Builds and pushes images.

    Args:
      repository: HOST/PROJECT/NAME of an Artifact Registry repository.
      targets: of the Dockerfile.
      tool: "docker" or "cloud-build".
      run: runs a command and gives its standard output.

    Returns:
      Each target's image by digest.

    Raises:
      UserError: a command failed, or gave no digest.
    """
    fingerprint = code_fingerprint("pipeline.pipeline")
    build = _with_docker if tool == "docker" else _with_cloud_build
    images = {}
    for target in targets:
        name = f"{repository}/{target}"
        # The tag is for people; runs use the digest.
        digest = build(f"{name}:{fingerprint[:12]}", target, fingerprint, run)
        match = _DIGEST.search(digest)
        if match is None:
            raise UserError(f"Expected a digest of {name}. Received: {digest.strip()[:200]!r}.")
        images[target] = f"{name}@{match[0]}"
    return images


def _with_docker(tag: str, target: str, fingerprint: str, run: Run) -> str:
    arguments = ["--target", target, "--build-arg", f"CODE_FINGERPRINT={fingerprint}"]
    run(["docker", "build", "--platform", "linux/amd64", *arguments, "--tag", tag, str(ROOT)])
    run(["docker", "push", tag])
    return run(["docker", "inspect", "--format", "{{index .RepoDigests 0}}", tag])


def _with_cloud_build(tag: str, target: str, fingerprint: str, run: Run) -> str:
    build = {
        "steps": [
            {
                "name": "gcr.io/cloud-builders/docker",
                "args": ["build", "--target", target, "--tag", tag, "--build-arg",
                         f"CODE_FINGERPRINT={fingerprint}", "."],
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


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.vertex.images")
    parser.add_argument("--repository", required=True, metavar="HOST/PROJECT/NAME")
    parser.add_argument("--with", dest="tool", choices=("docker", "cloud-build"), default="docker")
    parser.add_argument("--target", action="append", choices=TARGETS, help="default: all")
    options = parser.parse_args(arguments)
    try:
        images = build_images(
            options.repository, options.target or TARGETS, options.tool, run_command
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
