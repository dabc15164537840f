import shutil
import subprocess
import sys

import pytest

from pipeline import fingerprint


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A copy of the project's code that may be edited."""
    for package in fingerprint.PACKAGES:
        shutil.copytree(
            fingerprint.ROOT / package,
            tmp_path / package,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    monkeypatch.setattr(fingerprint, "ROOT", tmp_path)
    fingerprint.code_fingerprint.cache_clear()
    yield tmp_path
    fingerprint.code_fingerprint.cache_clear()


def fresh(module="pipeline.training.trainer"):
    fingerprint.code_fingerprint.cache_clear()
    return fingerprint.code_fingerprint(module)


def edit(tree, file):
    (tree / file).write_text((tree / file).read_text() + "# edited\n")


def test_the_closure_follows_imports_of_imports():
    closure = fingerprint.import_closure(("pipeline.training.trainer",))
    # trainer -> training -> detector -> matching -> boxes, the last by `from models import`.
    assert {
        "models.training.run",
        "models.training.detector",
        "models.training.matching",
        "models.networks.boxes",
    } <= closure
    assert "pipeline.features" in closure
    assert not closure & {"pipeline.shipping.pusher", "pipeline.summary", "models.tflite.export"}
    assert all(name.split(".")[0] in fingerprint.PACKAGES for name in closure)


def test_imports_inside_functions_count():
    assert "pipeline.shipping.gate" in fingerprint.import_closure(("pipeline.summary",))


@pytest.mark.parametrize(
    "file",
    ["pipeline/training/trainer.py", "models/networks/boxes.py", "models/networks/anchors.py"],
)
def test_an_edit_of_used_code_changes_the_fingerprint(tree, file):
    before = fresh()
    assert fresh() == before
    edit(tree, file)
    assert fresh() != before


def test_an_edit_of_unused_code_does_not_change_the_fingerprint(tree):
    before = fresh()
    edit(tree, "pipeline/shipping/pusher.py")
    assert fresh() == before


def test_a_copy_elsewhere_has_the_same_fingerprint(tree):
    here = fresh()
    program = (
        "from pipeline.fingerprint import code_fingerprint as f\n"
        "print(f('pipeline.training.trainer'))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tree, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == here


def test_the_order_of_modules_does_not_matter():
    one = fingerprint.code_fingerprint("pipeline.training.trainer", "pipeline.shipping.pusher")
    assert one == fingerprint.code_fingerprint(
        "pipeline.shipping.pusher", "pipeline.training.trainer"
    )
    assert one != fingerprint.code_fingerprint("pipeline.training.trainer")


def test_the_environment_names_versions():
    versions = fingerprint.environment()
    python = versions["python"].rpartition(".")[0]
    assert python in {"1.16.0": ["3.10"], "1.21.0": ["3.11", "3.12", "3.13"]}[versions["tfx"]]
    assert len(fingerprint.environment_fingerprint()) == 64


def test_the_order_of_keys_does_not_change_a_fingerprint():
    assert fingerprint.fingerprint_of({"a": 1, "b": 2}) == fingerprint.fingerprint_of(
        {"b": 2, "a": 1}
    )
    assert fingerprint.fingerprint_of({"a": 1}) != fingerprint.fingerprint_of({"a": 2})
