"""The folder that `build` writes, and what it refuses."""

import gzip
import json
import os
import re
import shutil
import subprocess

import pytest

from pipeline.app import bundle
from pipeline.app.bundle import build, replacing
from pipeline.detect import ModelFiles, find_model
from pipeline.errors import UserError
from pipeline.files import sha256_of
from pipeline.fingerprint import ROOT

MEGABYTES = 12  # that a browser may have to load


@pytest.fixture
def model(empty_model) -> ModelFiles:
    return find_model(str(empty_model))


def test_the_folder_has_the_page_its_runtime_and_the_model(runtime, model, tmp_path):
    out = tmp_path / "new" / "site"
    build(model, out)
    index = json.loads((out / "model.json").read_text())
    assert index["labels"] == ["cat", "dög & co"]
    assert index["manifest"] is None
    assert sha256_of(out / index["folder"] / "detect.tflite") == sha256_of(model.model)
    assert index["runtime"] == "runtime/2.5.3"
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    assert size < MEGABYTES * 1_000_000
    assert [path.name for path in out.parent.iterdir()] == ["site"]


def test_the_runtime_is_that_of_the_lock_with_its_licence(runtime, model, tmp_path):
    build(model, tmp_path / "site")
    folder = tmp_path / "site" / "runtime" / "2.5.3"
    for name in ("litert_wasm_internal", "litert_wasm_compat_internal"):
        packed = (folder / f"{name}.wasm.gz").read_bytes()
        original = ROOT / f"pipeline/app/node_modules/@litertjs/core/wasm/{name}.wasm"
        assert gzip.decompress(packed) == original.read_bytes()
    licences = (folder / "licenses.txt").read_text()
    assert "@litertjs/core 2.5.3, Apache-2.0" in licences
    assert "@litertjs/wasm-utils 2.5.3, Apache-2.0" in licences
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in licences


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"npm_config_registry": "http://127.0.0.1:9/"}, "Check that the npm registry is within"),
        ({"PATH": "{folder}"}, "npm not found. Install Node.js 18 or newer"),
    ],
)
def test_make_page_says_what_is_missing(environment, says, tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed (Debian: npm)")
    app = tmp_path / "pipeline" / "app"
    app.mkdir(parents=True)
    for name in ("Makefile", "pipeline/app/package.json", "pipeline/app/package-lock.json"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    changed = {name: value.format(folder=tmp_path) for name, value in environment.items()}
    made = subprocess.run(
        [shutil.which("make"), "SHELL=/bin/sh", "page"],
        cwd=tmp_path,
        env={**os.environ, "npm_config_cache": str(tmp_path / "cache"), **changed},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert made.returncode
    first, *rest = made.stderr.splitlines()
    assert first.startswith("error: ")
    assert says in first
    assert len(rest) == 1  # make's own
    assert not (app / "node_modules" / ".package-lock.json").exists()


def test_the_lock_has_a_hash_for_every_package():
    lock = json.loads((ROOT / "pipeline/app/package-lock.json").read_text())
    packages = {name: facts for name, facts in lock["packages"].items() if name}
    assert packages
    assert all(facts["integrity"].startswith("sha512-") for facts in packages.values())
    direct = json.loads((ROOT / "pipeline/app/package.json").read_text())["dependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in direct.values())


def test_the_service_worker_keeps_all_files_and_its_version_tells_models_apart(
    runtime, model, tmp_path
):
    def built(name):
        build(model, tmp_path / name)
        text = (tmp_path / name / "sw.js").read_text()
        version, files = (
            json.loads(re.search(f"const {word} = (.*?);", text)[1])
            for word in ("VERSION", "FILES")
        )
        return version, files

    version, files = built("one")
    there = {
        path.relative_to(tmp_path / "one").as_posix()
        for path in (tmp_path / "one").rglob("*")
        if path.is_file()
    }
    assert set(files) == there - {"index.html", "sw.js"} | {"./"}
    assert built("two") == (version, files)
    with open(model.model, "ab") as file:
        file.write(b"more")
    assert built("three")[0] != version


def test_an_earlier_build_is_replaced_and_anything_else_is_not(runtime, model, tmp_path):
    out = tmp_path / "site"
    build(model, out)
    (out / "left.txt").write_text("")
    build(model, out)
    assert not (out / "left.txt").exists()
    other = tmp_path / "photographs"
    other.mkdir()
    (other / "me.jpg").write_text("")
    for taken in (other, other / "me.jpg"):
        with pytest.raises(UserError, match="something else is"):
            build(model, taken)
    assert [file.name for file in other.iterdir()] == ["me.jpg"]


def test_what_fails_half_way_leaves_the_earlier_build(tmp_path):
    out = tmp_path / "site"
    with replacing(out, "mark") as folder:
        (folder / "mark").write_text("old")

    def fail_half_way():
        with replacing(out, "mark") as folder:
            (folder / "mark").write_text("new")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail_half_way()
    assert (out / "mark").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_without_the_runtime_the_command_says_what_to_do(model, tmp_path, monkeypatch):
    for name in ("package-lock.json", "page"):
        source = bundle._HERE / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, tmp_path / name)
    monkeypatch.setattr(bundle, "_HERE", tmp_path)
    with pytest.raises(UserError, match=r"Run `make page`"):
        build(model, tmp_path / "site")
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize("content", [b"", b"not a model", b"\xff\0\0\0TFL3"])
def test_a_file_that_is_no_model_is_named(runtime, model, content, tmp_path):
    model.model.write_bytes(content)
    with pytest.raises(UserError, match=r"Received: .*in .*|Received: .*truncated"):
        build(model, tmp_path / "site")
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize(
    "content",
    ['{"version"', "[]", '{"files": null}', '{"files": {}, "withdrawn": "yes"}', "\0"],
)
def test_a_damaged_manifest_is_named(runtime, model, content, tmp_path):
    (model.model.parent / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"Expected a manifest in .*manifest\.json"):
        build(model, tmp_path / "site")
    assert not (tmp_path / "site").exists()
