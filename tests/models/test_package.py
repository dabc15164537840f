"""What the modules of the detector may know of: read from their source."""

import ast
from pathlib import Path

import pytest

import models

FOLDER = Path(models.__file__).parent
MODULES = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.rglob("*.py"))


def imported(module: str) -> set[str]:
    """All that a module imports, those inside of functions included, as dotted names."""
    names = set()
    for node in ast.walk(ast.parse((FOLDER / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("module", MODULES)
def test_the_detector_imports_neither_tfx_nor_the_pipeline(module):
    roots = {name.split(".")[0] for name in imported(module)}
    assert not roots & {"tfx", "apache_beam", "pipeline", "ml_metadata", "tf_keras"}
    assert not {name for name in imported(module) if name.startswith("tensorflow.keras")}


@pytest.mark.parametrize(
    "module", ["networks/anchors", "networks/boxes", "training/matching", "training/losses"]
)
def test_the_math_is_written_for_any_backend(module):
    """The NumPy backend of Keras 3.12 can't be run to prove it: it asks for JAX."""
    allowed = {"keras.ops", "math", "numpy", "typing", "collections", "models"}
    for name in imported(module):
        assert name in allowed or name.split(".")[0] in allowed
