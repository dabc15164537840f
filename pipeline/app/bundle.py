"""The page as a folder of files: the page itself, its runtime and a model.

`make page` installs the runtime with npm, by version and hash. Nothing of it is committed.
"""

import contextlib
import functools
import gzip
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.tflite_metadata import Metadata, read_metadata
from pipeline.detect import ModelFiles
from pipeline.errors import UserError
from pipeline.files import (
    LABELS_FILE,
    MANIFEST_FILE,
    PUSHED_MODEL_FILE,
    RAW_MODEL_FILE,
    hash_files,
    parse_manifest,
    sha256_of,
)

_HERE = Path(__file__).parent
_PAGE = _HERE / "page"
# What the page reads first: which model and which runtime it has.
INDEX_FILE = "model.json"
_SERVICE_WORKER = "sw.js"
_LICENSES = "licenses.txt"
_CORE, _UTILITIES = "@litertjs/core", "@litertjs/wasm-utils"
# With relaxed SIMD and, for browsers without it, with SIMD.
_WASM = ("litert_wasm_internal", "litert_wasm_compat_internal")
_HASH_DIGITS = 12
_OUTPUTS = 4


def build(model: ModelFiles, out: Path) -> None:
    """Writes the page with a model: a folder for any host of static files.

    Args:
      model: the detector; its folder may have a manifest.
      out: absent, empty, or an earlier build, which is replaced.

    Raises:
      UserError: the runtime is not installed, or something else is in `out`. Nothing is changed.
    """
    packages = _installed_packages()
    with replacing(out, INDEX_FILE) as folder:
        shutil.copytree(_PAGE, folder, dirs_exist_ok=True)
        runtime = _write_runtime(folder, packages)
        index = {"runtime": runtime, **_write_model(folder, model)}
        (folder / INDEX_FILE).write_text(json.dumps(index, ensure_ascii=False), encoding="utf-8")
        _finish_service_worker(folder)


@contextlib.contextmanager
def replacing(out: Path, mark: str) -> Iterator[Path]:
    """A folder to fill, which then becomes `out`: whole, or not at all.

    Args:
      out: a path.
      mark: a file that every such folder has; `out` is replaced only if it has it, or is empty.

    Raises:
      UserError: there is something else, or the folder can't be written.
    """
    if out.is_symlink() or (
        out.exists()
        and not (out / mark).is_file()
        and not (out.is_dir() and not any(out.iterdir()))
    ):
        raise UserError(
            f"Expected a path where nothing is, an empty folder, or one that an earlier run wrote. "
            f"Received: {str(out)!r}, where something else is. Choose another path."
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.writing-", dir=out.parent))
    except OSError as error:
        raise UserError(f"Expected a path to write to. Received: {error}") from error
    try:
        filled, old = temporary / "new", temporary / "old"
        filled.mkdir()
        yield filled
        if out.exists():
            out.rename(old)
        filled.rename(out)
    finally:
        shutil.rmtree(temporary)


def _installed_packages() -> dict[str, dict[str, Any]]:
    """The runtime's packages as package-lock.json records them, by name."""
    locked = json.loads((_HERE / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    packages = {path.removeprefix("node_modules/"): facts for path, facts in locked.items() if path}
    for name, facts in packages.items():
        try:
            installed = json.loads((_package(name) / "package.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            installed = {}
        if installed.get("version") != facts["version"]:
            raise UserError(
                f"Expected the page's runtime, {name} {facts['version']}. Received: "
                f"{installed.get('version', 'nothing')} in {_package(name)}. Run `make page`: it "
                "needs npm (of Node.js 18 or newer) and, once, the npm registry."
            )
    return packages


def _package(name: str) -> Path:
    return _HERE / "node_modules" / name


def _write_runtime(folder: Path, packages: dict[str, dict[str, Any]]) -> str:
    """Writes the runtime into a folder named by its version; returns that folder's name."""
    name = f"runtime/{packages[_CORE]['version']}"
    target = folder / name
    target.mkdir(parents=True)
    core = (_package(_CORE) / "dist" / "index.js").read_text(encoding="utf-8")
    # Browsers look packages up only in pages, not in workers.
    if core.count(f'"{_UTILITIES}"') != 1:
        raise RuntimeError(f"{_CORE} no longer imports {_UTILITIES} once: adapt {__name__}")
    (target / "index.js").write_text(
        core.replace(f'"{_UTILITIES}"', '"./wasm-utils.js"'), encoding="utf-8"
    )
    shutil.copyfile(_package(_UTILITIES) / "dist" / "index.js", target / "wasm-utils.js")
    for stem in _WASM:
        shutil.copyfile(_package(_CORE) / "wasm" / f"{stem}.js", target / f"{stem}.js")
        # 9 MB become 3, on hosts that do not compress, too; the worker unpacks them.
        packed = _compressed(_package(_CORE) / "wasm" / f"{stem}.wasm")
        (target / f"{stem}.wasm.gz").write_bytes(packed)
    used = [
        f"{package} {facts['version']}, {facts['license']}, "
        f"https://www.npmjs.com/package/{package}/v/{facts['version']}\n"
        for package, facts in packages.items()
    ]
    (target / _LICENSES).write_text(
        "This folder has files of these packages, index.js with one import renamed and the "
        f".wasm files compressed:\n\n{''.join(used)}\n"
        f"{(_HERE / 'Apache-2.0.txt').read_text(encoding='utf-8')}",
        encoding="utf-8",
    )
    return name


@functools.cache
def _compressed(path: Path) -> bytes:
    return gzip.compress(path.read_bytes(), compresslevel=6, mtime=0)


def _write_model(folder: Path, model: ModelFiles) -> dict[str, Any]:
    """Copies a model's files into a folder named by their hash; returns what the page must know."""
    name = f"models/{sha256_of(model.model)[:_HASH_DIGITS]}"
    target = folder / name
    target.mkdir(parents=True)
    shutil.copyfile(model.model, target / PUSHED_MODEL_FILE)
    shutil.copyfile(model.model.parent / LABELS_FILE, target / LABELS_FILE)
    raw = model.model.parent / RAW_MODEL_FILE
    if raw.is_file():
        shutil.copyfile(raw, target / RAW_MODEL_FILE)
    manifest = model.model.parent / MANIFEST_FILE
    try:
        facts = parse_manifest(manifest.read_bytes())
    except FileNotFoundError:  # a model that was not pushed
        facts = None
    except ValueError as error:
        raise UserError(f"Expected a manifest in {manifest}. Received: {error}.") from error
    if facts is not None:
        shutil.copyfile(manifest, target / MANIFEST_FILE)
    return {
        "folder": name,
        "has_raw": raw.is_file(),
        "name": name_of(model, metadata_of(model)),
        "labels": list(model.labels),
        "manifest": facts,
    }


def metadata_of(model: ModelFiles) -> Metadata | None:
    """What a detector's file says of itself; None if nothing.

    Raises:
      UserError: it is no .tflite file, a damaged one, or a form without the four outputs.
    """
    try:
        metadata = read_metadata(model.model.read_bytes(), str(model.model))
    except ValueError as error:
        raise UserError(str(error)) from error
    if metadata and metadata.num_outputs != _OUTPUTS:
        raise UserError(
            "Expected a detector with four outputs: boxes, classes, scores and count. Received: "
            f"{model.model}, which has {metadata.num_outputs}. Name the {PUSHED_MODEL_FILE}."
        )
    return metadata


def name_of(model: ModelFiles, metadata: Metadata | None) -> str:
    """The detector's name: its own or, without metadata, the file's."""
    return (metadata and metadata.model.get("name")) or model.model.stem


def _finish_service_worker(folder: Path) -> None:
    """Tells the service worker which files there are, and their version."""
    path = folder / _SERVICE_WORKER
    files = {name: facts["sha256"] for name, facts in hash_files(folder).items()}
    version = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:_HASH_DIGITS]
    offline = [name for name in files if name not in (_SERVICE_WORKER, "index.html")]
    text = path.read_text(encoding="utf-8")
    for place, value in (("VERSION", version), ("FILES", ["./", *offline])):
        text = text.replace(f"__{place}__", json.dumps(value))
    path.write_text(text, encoding="utf-8")
