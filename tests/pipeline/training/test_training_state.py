import json

import pytest

from pipeline.metadata.run_record import ArtifactRecord, ComponentRecord
from pipeline.training.training_state import remove_finished_state


@pytest.fixture
def trained(tmp_path):
    """A run with the Trainer in a state; its training state is in the given folder."""

    def make(state, folder="checkpoints/one"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "state.npz").write_bytes(b"")
        serving = tmp_path / "model" / "Format-Serving"
        serving.mkdir(parents=True, exist_ok=True)
        facts = {"facts": {"state_dir": str(tmp_path / folder)}}
        (serving / "detector.json").write_text(json.dumps(facts))
        model = ArtifactRecord(1, "Model", str(tmp_path / "model"), {})
        return {"Trainer": ComponentRecord("Trainer", 1, state, 1.0, {"model": [model]}, {})}

    return make


@pytest.mark.parametrize("state", ["complete", "cached"])
def test_the_state_goes_when_the_model_is_published(tmp_path, trained, state):
    components = trained(state)
    trained(state, "checkpoints/two")
    trained(state)
    for _ in range(2):  # a run that is cached finds none
        remove_finished_state(components, tmp_path / "checkpoints")
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["two"]


@pytest.mark.parametrize("state", ["failed", "running"])
def test_the_state_stays_while_it_is_needed(tmp_path, trained, state):
    remove_finished_state(trained(state), tmp_path / "checkpoints")
    assert (tmp_path / "checkpoints" / "one" / "state.npz").exists()


def test_a_run_that_did_not_come_to_training_removes_nothing(tmp_path):
    remove_finished_state({}, tmp_path / "checkpoints")


def test_nothing_outside_of_the_folder_is_removed(tmp_path, trained):
    remove_finished_state(trained("complete", "elsewhere/one"), tmp_path / "checkpoints")
    assert (tmp_path / "elsewhere" / "one" / "state.npz").exists()
