"""Where files lie in artifacts, in a push and in a run; how to write and hash them.

Imports neither TensorFlow nor TFX.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

# models/ can't import this file, so what both need lives there.
from models.files import sync_folder as sync_folder
from models.files import write_whole as write_whole

# Model artifacts. TFX looks for a model in this folder.
SERVING_FOLDER = "Format-Serving"
# The shipping model, the TFLiteRewriter's. TFMA requires the file to be called this.
SHIPPING_MODEL_FILE = "tflite"
LABELS_FILE = "labels.txt"  # one class a line, line 1 is class index 0; a push has it too
# How the file was made and how well it agrees with the network, for whoever asks. The Trainer's
# model has a file of this name that says something else: `models.training.checkpoint.NETWORK_FILE`.
SHIPPING_FACTS_FILE = "detector.json"

# Other artifacts.
SCHEMA_FILE = "schema.pbtxt"
DEVICE_REPORT_FILE = "device_check.json"
# Reports beside the examples, one JSON object a line.
IMAGES_FILE = "images.jsonl"
SKIPPED_FILE = "set_aside.jsonl"
IGNORED_FILE = "ignored.jsonl"

# A push, and the PushedModel artifact's copy of it; apps get the model under this name.
PUSHED_MODEL_FILE = "detect.tflite"
# The same network without the post-processing, for accelerators; absent in older versions.
RAW_MODEL_FILE = "detect_raw.tflite"
# Likewise, in floating point with weights of 16 bits; only where rewriter.float16 is set.
FLOAT16_MODEL_FILE = "detect_float16.tflite"
MANIFEST_FILE = "manifest.json"
# In a manifest: {at, reason} of a version that was withdrawn after the push.
WITHDRAWN = "withdrawn"
# Packed into the .tflite, with the labels: what made it.
PROVENANCE_FILE = "provenance.json"
LATEST = "latest"  # names the newest version

# Custom property of shipping models, both blessings and pushed models: `hash_together` of the
# .tflite, its labels and its raw forms, which are judged and shipped as one.
HASH_PROPERTY = "files_sha256"
# Custom properties of shipping and pushed models: the sha256 of each raw form.
FORMS = {RAW_MODEL_FILE: "raw_sha256", FLOAT16_MODEL_FILE: "float16_sha256"}
JUDGED_FILES = (PUSHED_MODEL_FILE, LABELS_FILE, *FORMS)  # in the order of their hash

# The Report's artifact; the page is in the run's folder, too, and on Vertex AI beside the push.
REPORT_FACTS_FILE = "report.json"
REPORT_FILE = "report.html"

# The folder of a run.
CONFIG_FILE = "config.json"
SUMMARY_FILE = "summary.json"
LOG_FILE = "run.log"

_CHUNK = 1 << 20


def serving_path(model_uri: str, name: str) -> str:
    """Path of a file in a Model artifact."""
    return os.path.join(model_uri, SERVING_FOLDER, name)


def format_manifest(manifest: Mapping[str, Any]) -> bytes:
    """Content of a manifest: the same text whenever it is read and written again."""
    return (json.dumps(manifest, indent=2, allow_nan=False) + "\n").encode()


def parse_manifest(content: bytes) -> dict[str, Any]:
    """The inverse of `format_manifest`.

    Raises:
      ValueError: it is damaged: no JSON, or no manifest as far as anybody reads one.
    """
    found = json.loads(content)
    try:
        known = (
            all(isinstance(facts["sha256"], str) for facts in found["files"].values()),
            isinstance(found.get("metrics", {}), dict),
            WITHDRAWN not in found
            or all(isinstance(found[WITHDRAWN][key], str) for key in ("at", "reason")),
        )
    except (LookupError, TypeError, AttributeError):
        known = (False,)
    if not all(known):
        raise ValueError("JSON that is not a manifest")
    return found


@contextlib.contextmanager
def temporary_files(folder: Path) -> Iterator[None]:
    """Keeps libraries' temporary files in a folder, and removes it at the end.

    TFX leaves 50 MB after each component that uses Beam. What is in the folder of a run that was
    killed is removed at the beginning.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    before = os.environ.get("TMPDIR"), tempfile.tempdir
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        del os.environ["TMPDIR"]
        os.environ.update({"TMPDIR": before[0]} if before[0] else {})
        tempfile.tempdir = before[1]


def hash_file(path: str | os.PathLike) -> dict[str, Any]:
    """A local file's {"sha256": hex digest, "size_bytes": its size}."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return {"sha256": digest.hexdigest(), "size_bytes": size}


def hash_files(folder: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """`hash_file` of every file of a local folder, by relative path; of a file, itself as "."."""
    root = Path(folder)
    if root.is_file():
        return {".": hash_file(root)}
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {path.relative_to(root).as_posix(): hash_file(path) for path in files}


def hash_together(files: Mapping[str, bytes]) -> str:
    """One hex sha256 of several files: what `sha256sum NAME ... | sha256sum` prints.

    Args:
      files: contents by name, in this order.
    """
    lines = (f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sha256_of(path: str | os.PathLike) -> str:
    """Hex sha256 of a local file."""
    return hash_file(path)["sha256"]
