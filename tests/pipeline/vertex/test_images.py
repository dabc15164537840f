"""The Dockerfile, cloudbuild.yaml and `make images`, checked without docker."""

import os
import re
import subprocess

import pytest
import tomli
import yaml
from packaging.requirements import Requirement

from pipeline import lane
from pipeline.fingerprint import ROOT, code_fingerprint
from pipeline.vertex.machines import MACHINES

REPOSITORY = "us-central1-docker.pkg.dev/my-project/detector"
DIGEST = "sha256:" + "a" * 64
CLOUD_BUILD = (ROOT / "cloudbuild.yaml").read_text()
# Each lane's lock.
LANES = {"modern": "requirements-modern.lock", "older": "requirements.lock"}
TARGETS = {machine.image_target for machine in MACHINES.values()}
# Notes its arguments, and answers the question for a digest.
GCLOUD = f"""#!/bin/sh
echo "$@" >> "$GCLOUD_LOG"
case "$*" in
  *describe*) echo "${{5%:*}}@{DIGEST}" ;;
  *submit*) exit "$GCLOUD_BUILD_CODE" ;;
esac
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Runs make with a gcloud that only takes notes; returns the process and the notes."""
    (tmp_path / "gcloud").write_text(GCLOUD)
    (tmp_path / "gcloud").chmod(0o755)
    log = tmp_path / "log"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("GCLOUD_LOG", str(log))
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # of the `make test` that runs this
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, build_code: int = 0):
        log.write_text("")
        done = subprocess.run(
            ["make", "images", *arguments],
            cwd=ROOT,
            env=os.environ | {"GCLOUD_BUILD_CODE": str(build_code)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done, log.read_text().splitlines()

    return run


def test_make_images_builds_and_prints_the_flags_by_digest(make):
    done, (build, *_) = make(f"REPOSITORY={REPOSITORY}")
    assert done.stdout.splitlines() == [
        f"--pipeline-image {REPOSITORY}/pipeline@{DIGEST}",
        f"--trainer-image {REPOSITORY}/tpu-trainer@{DIGEST}",
    ], done.stderr
    assert build.startswith("builds submit --config cloudbuild.yaml --substitutions ")
    passed = dict(pair.split("=") for pair in build.split()[5].split(","))
    assert passed["_CODE_FINGERPRINT"] == code_fingerprint("pipeline.pipeline")
    assert passed["_LANE"] == ("older" if lane.IS_OLDER else "modern")
    # Cloud Build rejects a substitution that is missing or unknown.
    assert set(passed) == set(re.findall(r"\$(_[A-Z_]+)", CLOUD_BUILD))
    assert (
        f"/gpu-trainer@{DIGEST}"
        in make(f"REPOSITORY={REPOSITORY}", "TRAINER=gpu-trainer")[0].stdout
    )


def test_make_images_stops_at_a_failure_and_asks_for_the_repository(make):
    done, commands = make(f"REPOSITORY={REPOSITORY}", build_code=1)
    assert done.returncode
    assert len(commands) == 1
    assert done.stdout == ""
    done, commands = make()
    assert "error: name the repository" in done.stderr
    assert not commands


def test_cloud_build_labels_and_pushes_both_images():
    build = yaml.safe_load(CLOUD_BUILD)
    assert len(build["steps"]) == len(build["images"]) == 2
    # Without BuildKit, docker builds every stage above the target, those for other machines too.
    assert all(step["env"] == ["DOCKER_BUILDKIT=1"] for step in build["steps"])
    for step, image in zip(build["steps"], build["images"], strict=True):
        target, argument, lane_, tag, folder = (step["args"][i] for i in (2, 4, 6, 8, 9))
        assert target in (*TARGETS, "$_TRAINER")
        assert argument == "CODE_FINGERPRINT=$_CODE_FINGERPRINT"
        assert lane_ == "LANE=$_LANE"
        assert tag == image == f"$_REPOSITORY/{target}:$_CODE_FINGERPRINT"
        assert folder == "."


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


def test_every_target_has_its_environment_and_runs_as_root():
    assert set(ENVIRONMENTS) == TARGETS
    for target in TARGETS:
        stage = _STAGES[target].strip()
        assert stage.startswith("code AS ")
        assert f"COPY --from={ENVIRONMENTS[target]} /opt/venv /opt/venv" in stage
    # Dataflow's workers write what a job stages into folders of root.
    assert not re.search(r"^USER", DOCKERFILE, re.MULTILINE)


def test_libtpu_is_where_vertex_ai_looks_for_it():
    assert re.search(r"ln -s \S+/libtpu/libtpu\.so /lib/libtpu\.so", _STAGES["tpu-trainer"])
    for name, machine in MACHINES.items():
        if name.startswith("tpu-v5e"):
            assert machine.environment["TF_PLUGGABLE_DEVICE_LIBRARY_PATH"] == "/lib/libtpu.so"


def test_the_gpu_image_finds_the_driver_and_cuda():
    stage = _STAGES["gpu-trainer"]
    # Where Google's machines mount the driver.
    assert "LD_LIBRARY_PATH=/usr/local/nvidia/lib:/usr/local/nvidia/lib64" in stage
    assert "NVIDIA_VISIBLE_DEVICES=all" in stage
    assert re.search(r"nvidia\.conf && ldconfig", stage)


def test_labels_name_the_code_and_the_base_images():
    assert re.search(r"detector\.code-fingerprint=\$\{CODE_FINGERPRINT\}", _STAGES["code"])
    for lane_ in LANES:
        python = _STAGES[f"python-{lane_}"]
        assert f"detector.python-image={python.split()[0]}" in python
        assert f"detector.beam-image={_STAGES[f'beam-{lane_}'].split()[0]}" in python
    # Every other stage starts from another one.
    for name, stage in _STAGES.items():
        source = stage.split()[0]
        own = name.startswith(("python-", "beam-"))
        assert own or {source.replace("${LANE}", lane_) for lane_ in LANES} <= set(_STAGES)


def test_everything_that_the_images_copy_exists_and_is_sent():
    lines = [line.split()[1] for line in _LINES if re.match(r"COPY (?!--from)", line)]
    copied = {line.replace("${LANE}", lane_) for line in lines for lane_ in LANES}
    assert {"models", "pipeline", "schema", "requirements-modern-images.lock"} <= copied
    sent_to_docker = (ROOT / ".dockerignore").read_text().splitlines()
    sent_to_cloud_build = (ROOT / ".gcloudignore").read_text().splitlines()
    for name in copied:
        assert (ROOT / name).exists()
        pattern = re.sub("requirements-(modern|older)-", "requirements-*-", name)
        assert f"!{pattern}" in sent_to_docker
        assert f"!/{pattern}" in sent_to_cloud_build
    # The pipeline needs nothing else of the clone to find its code and its presets' schemas.
    assert "PYTHONPATH=/app" in _STAGES["code"]


def test_the_images_are_installed_like_every_other_environment():
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    (made,) = re.findall(r"-m pip install (.*-r \$\$lock)", makefile)
    needed = set(made.split()) & {"--no-deps", "--require-hashes"}
    assert len(needed) == 2
    installs = [line for line in _LINES if "pip install" in line]
    locked = [line for line in installs if "-r /tmp/" in line]
    for line in locked:
        assert needed <= set(line.split())
    # Only libtpu comes from another index, and nothing else comes from there.
    (libtpu,) = [line for line in installs if line not in locked]
    assert {"libtpu==2.16.0rc0", "--no-index", "--no-deps"} <= set(libtpu.split())


def locked(file: str) -> dict[str, str]:
    """Each package of a lock file, with its version and hashes."""
    text = re.sub(r"^ +#.*\n", "", (ROOT / file).read_text(), flags=re.MULTILINE)
    return dict(re.findall(r"^([\w.-]+)==((?:.+\\\n)*.+)", text, re.MULTILINE))


@pytest.mark.parametrize("lane_", LANES)
def test_the_images_hold_no_test_tools_and_are_otherwise_the_same(lane_):
    everything, images = locked(LANES[lane_]), locked(f"requirements-{lane_}-images.lock")
    assert images.items() <= everything.items()
    assert {"tfx", "tensorflow", "google-cloud-aiplatform", "google-cloud-storage"} <= set(images)
    extras = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    tools = {re.match(r"[\w-]+", one)[0].lower() for group in extras.values() for one in group}
    left_out = set(everything) - set(images)
    assert {"pytest", "ruff", "jax", "import-linter"} <= left_out
    # The others are needed by something that the images do need.
    assert tools - left_out <= {"cryptography", "tomli"}


def version_in(file: str, package: str) -> str:
    return re.search(rf"^{package}==(\S+)", (ROOT / file).read_text(), re.MULTILINE)[1]


@pytest.mark.parametrize("lane_", LANES)
def test_the_dockerfile_uses_the_versions_of_the_lock(lane_):
    images = f"requirements-{lane_}-images.lock"
    python = re.match(r"python:(3\.\d+)\.", _STAGES[f"python-{lane_}"])[1]
    assert (
        python == {"modern": "3.13", "older": (ROOT / ".python-version").read_text().strip()}[lane_]
    )
    beam = f"apache/beam_python{python}_sdk:{version_in(images, 'apache-beam')} "
    assert _STAGES[f"beam-{lane_}"].startswith(beam)
    tensorflow = version_in(images, "tensorflow")
    # There is no build of 2.21 for TPUs.
    for_tpus = {"2.21.0": "2.20.0"}.get(tensorflow, tensorflow)
    assert version_in(f"requirements-{lane_}-tpu.lock", "tensorflow-tpu") == for_tpus


def test_the_gpu_image_has_the_cuda_that_tensorflow_asks_for():
    from importlib.metadata import requires

    wanted = [Requirement(one) for one in requires("tensorflow") if "and-cuda" in one]
    lane_ = "older" if lane.IS_OLDER else "modern"
    gpu = locked(f"requirements-{lane_}-gpu.lock")
    assert {one.name for one in wanted} - {"tensorflow-io-gcs-filesystem"} == set(gpu)
    for one in wanted:
        assert one.specifier.contains(gpu[one.name].split()[0])
