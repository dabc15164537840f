"""Training states are for what is not finished: they go when the Trainer's output is there."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from pipeline.files import serving_path
from pipeline.metadata.run_record import ComponentRecord

_FINISHED = ("complete", "cached")


def remove_finished_state(components: Mapping[str, ComponentRecord], checkpoints: Path) -> None:
    """Removes the training state behind the Trainer's output of a run.

    Not before ML Metadata knows the output: until then a crash has to find the state. A crash
    after that leaves it to the next run, whose Trainer is cached.

    Args:
      components: of the run, see `pipeline.metadata.run_record.read_run`.
      checkpoints: folder of all training states; nothing outside of it is touched.
    """
    trainer = components.get("Trainer")
    model = trainer.output("model") if trainer and trainer.state in _FINISHED else None
    if model is None:
        return
    from models.training.checkpoint import NETWORK_FILE  # loads TensorFlow

    description = Path(serving_path(model.uri, NETWORK_FILE))
    state = Path(json.loads(description.read_text())["facts"]["state_dir"])
    if state.parent == checkpoints:
        shutil.rmtree(state, ignore_errors=True)
