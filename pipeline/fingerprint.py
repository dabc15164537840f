"""Fingerprints of code and environment: part of every cache key and of the lineage.

TFX caches a component by its inputs and properties. It finds our modules by path and would not
notice an edit, so each component has the fingerprint of its code as a property. Files are read,
never imported.
"""

import ast
import functools
import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipeline", "models")


@functools.cache
def code_fingerprint(*modules: str) -> str:
    """Fingerprint of modules and of everything of this project that they import.

    Args:
      modules: names such as "pipeline.training.trainer".

    Returns:
      Hex sha256 over the names and contents of the files.
    """
    digest = hashlib.sha256()
    for module in sorted(import_closure(modules)):
        digest.update(module.encode() + b"\0" + _file_of(module).read_bytes() + b"\0")
    return digest.hexdigest()


def import_closure(modules: tuple[str, ...]) -> set[str]:
    """The given modules and all modules of this project that they import, directly or not."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        for node in ast.walk(ast.parse(_file_of(module).read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                # `from a import b` may name the module a.b, `from a.b import x` always does.
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            waiting += [name for name in names if name.split(".")[0] in PACKAGES and _exists(name)]
    return found


def _file_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _exists(module: str) -> bool:
    return _file_of(module).is_file()


@functools.cache
def environment() -> dict[str, str]:
    """Versions of Python and of every installed distribution, by name."""
    versions = {
        distribution.metadata["Name"].lower(): distribution.version
        for distribution in importlib.metadata.distributions()
    }
    return {"python": platform.python_version(), **dict(sorted(versions.items()))}


def environment_fingerprint() -> str:
    """Hex sha256 of `environment()`."""
    return fingerprint_of(environment())


def fingerprint_of(value: object) -> str:
    """Hex sha256 of a JSON value; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
