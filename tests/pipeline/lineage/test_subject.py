import json

import pytest

from benchmarks.lineage_store import sha256
from benchmarks.lineage_writer import Writer
from pipeline.errors import UserError
from pipeline.lineage import open_backend
from pipeline.lineage.subject import find_subject
from pipeline.metadata import store
from pipeline.metadata.facts import RECORD_TYPE

FILE = sha256("file")


def store_of_pushes(folder, *pushes):
    """A store of PushedModels of one file; each push names its model. Returns it and their ids."""
    location = str(folder / "metadata.sqlite")
    writer = Writer(store.open_store(store.connection_config(location)), folder / "root")
    models, pushed = {}, []
    for number, name in enumerate(pushes):
        run = writer.run(f"run-{number}", 2)
        if name not in models:
            models[name] = writer.artifact("Model", "TFLiteRewriter", "model", sha256=FILE)
            outputs = {"shipping_model": models[name]}
            writer.execute("TFLiteRewriter", run, {}, outputs, cached=False, millis=number)
        pushed.append(
            writer.artifact(
                "PushedModel", "Pusher", "pushed_model",
                pushed=1, sha256=FILE, pushed_version="1", pushed_destination="/pushed/1",
            )
        )  # fmt: skip
        writer.execute(
            "Pusher", run, {"model": models[name]}, {"pushed_model": pushed[-1]},
            cached=False, millis=number,
        )  # fmt: skip
    known = json.dumps({"artifacts": [*models.values(), *pushed]})
    writer.context(RECORD_TYPE, f"sha256/{FILE}", json=known)
    writer.write()
    return open_backend(location), pushed


@pytest.mark.parametrize("given", [FILE, FILE[:12]])
def test_a_model_that_was_pushed_three_times_is_one(tmp_path, given):
    backend, pushed = store_of_pushes(tmp_path, "a", "a", "a")
    assert find_subject(backend, given).artifact.id == pushed[0]


def test_two_models_of_equal_bytes_are_ambiguous(tmp_path):
    backend, _ = store_of_pushes(tmp_path, "a", "b")
    with pytest.raises(UserError, match="which matches 2"):
        find_subject(backend, FILE)
