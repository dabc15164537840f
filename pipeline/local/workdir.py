"""The folder in which the local runner keeps everything.

metadata.sqlite      ML Metadata, unless --metadata names another store
pipeline_root/       artifacts, by component
pushed/              published versions, unless --push-to names another folder
runs/<run id>/       summary.json, config.json, run.log
latest_run           symlink to the last of them
checkpoints/         training runs that are not finished
schema/<name>/       schemas that were inferred, to be reviewed and committed
data/                the embedded data set
"""

import contextlib
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import serving_path, write_whole
from pipeline.metadata.run_record import ComponentRecord

_STORE_MARKER = "metadata_store"
_FINISHED = ("complete", "cached")


def _not_writable(root: Path, error: OSError) -> UserError:
    return UserError(
        f"Expected --workdir to be a folder that can be written. Received: {root} "
        f"({error.strerror})."
    )


class Workdir:
    """Paths inside a workdir.

    Args:
      root: is created.

    Raises:
      UserError: when it can't be.
    """

    def __init__(self, root: str):
        self.root = Path(root).absolute()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_writable(self.root, error) from error
        self.pipeline_root = self.root / "pipeline_root"
        self.pushed = self.root / "pushed"
        self.checkpoints = self.root / "checkpoints"
        self.metadata = self.root / "metadata.sqlite"
        self.data = self.root / "data"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other runs out of this workdir; a run that dies frees it.

        Raises:
          UserError: when another run holds it, or nothing can be written here.
        """
        try:
            file = open(self.root / ".lock", "w")  # noqa: SIM115 - closed below
        except OSError as error:
            raise _not_writable(self.root, error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"Expected no other run in {self.root}. Received: one that is under way. "
                    "Wait for it, or name another --workdir."
                ) from error
            yield

    def run_folder(self, run_id: str) -> Path:
        """Makes the folder of a run and points `latest_run` at it."""
        folder = self.root / "runs" / run_id
        folder.mkdir(parents=True)
        pointer = self.root / ".latest_run"
        pointer.unlink(missing_ok=True)  # of a run that was killed right here
        pointer.symlink_to(Path("runs") / run_id)
        os.replace(pointer, self.root / "latest_run")
        return folder

    def schema_folder(self, name: str) -> Path:
        """Where an inferred schema is put for review."""
        return self.root / "schema" / name

    def _has_artifacts(self) -> bool:
        # Components' folders; what starts with a dot is a marker that a kill has cut off.
        return self.pipeline_root.exists() and any(
            not entry.name.startswith(".") for entry in self.pipeline_root.iterdir()
        )

    def bind_to_store(self, identify) -> None:
        """Ties the pipeline root to its metadata store, or checks that it is this one's.

        Artifacts' paths hold ids of the store: another store would give out the same ones again.

        Args:
          identify: takes a proposal for a new store's name, gives the store's name.

        Raises:
          UserError: when the root belongs to another store.
        """
        marker = self.pipeline_root / _STORE_MARKER
        bound = marker.read_text().strip() if marker.exists() else None
        name = identify(uuid.uuid4().hex)
        if bound is None and self._has_artifacts():
            raise UserError(
                "Expected a pipeline root that says which metadata store it belongs to. "
                f"Received: {self.pipeline_root}, which has artifacts and no {_STORE_MARKER}. "
                "Name another --workdir."
            )
        if bound is not None and bound != name:
            raise UserError(
                f"Expected the metadata store that {self.pipeline_root} belongs to ({bound}). "
                f"Received: another one ({name}). Pass the --metadata of the earlier runs, or name "
                "another --workdir."
            )
        self.pipeline_root.mkdir(parents=True, exist_ok=True)
        write_whole(marker, name + "\n")

    def remove_finished_state(self, components: Mapping[str, ComponentRecord]) -> None:
        """Removes the training state once the Trainer's output is in ML Metadata.

        Until then a crash must find the state; a crash after that leaves it to the next run, whose
        Trainer is cached.

        Args:
          components: of the run, see `pipeline.metadata.run_record.read_run`.
        """
        trainer = components.get("Trainer")
        model = trainer.output("model") if trainer and trainer.state in _FINISHED else None
        if model is None:
            return
        from models.training.checkpoint import NETWORK_FILE  # loads TensorFlow

        description = Path(serving_path(model.uri, NETWORK_FILE))
        state = Path(json.loads(description.read_text())["facts"]["state_dir"])
        if state.parent == self.checkpoints:  # nothing else is ours to remove
            shutil.rmtree(state, ignore_errors=True)
