"""The folder where the local runner keeps everything.

metadata.sqlite      ML Metadata, unless --metadata names another store
pipeline_root/       artifacts, by component
pushed/              published versions, unless --push-to names another folder
runs/<run id>/       summary.json, config.json, run.log
latest_run           symlink to the last of them
checkpoints/         unfinished training runs
schema/<name>/       inferred schemas, to review and commit
data/                the embedded data set
unpacked/<sha256>/   data sets that came as archives
tmp/                 temporary files of the run that is under way
"""

import contextlib
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from ml_metadata.metadata_store import metadata_store

from pipeline.errors import UserError
from pipeline.files import serving_path, temporary_files, write_whole
from pipeline.local.console import say
from pipeline.metadata import relocation
from pipeline.metadata.run_record import ComponentRecord
from pipeline.metadata.store import identity

_FINISHED = ("complete", "cached")


def _not_writable(root: Path, error: OSError) -> UserError:
    return UserError(
        f"Expected --workdir to be a writable folder. Received: {root} ({error.strerror})."
    )


class Workdir:
    """Paths inside a workdir.

    Args:
      root: created if it does not exist.

    Raises:
      UserError: when it cannot be created.
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
        self.unpacked = self.root / "unpacked"
        self.temporary = self.root / "tmp"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other runs out of this workdir; the lock of a run that dies is released.

        Raises:
          UserError: when another run holds the lock, or the folder is not writable.
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
                    f"Another run is using {self.root}. Wait for it to finish, or choose another "
                    "--workdir."
                ) from error
            yield

    def temporary_files(self) -> contextlib.AbstractContextManager[None]:
        """Keeps libraries' temporary files in the workdir, and removes them at the end."""
        return temporary_files(self.temporary)

    def run_folder(self, run_id: str) -> Path:
        """Creates the folder of a run and points `latest_run` at it."""
        folder = self.root / "runs" / run_id
        folder.mkdir(parents=True)
        pointer = self.root / ".latest_run"
        pointer.unlink(missing_ok=True)  # left by a run that was killed at this point
        pointer.symlink_to(Path("runs") / run_id)
        os.replace(pointer, self.root / "latest_run")
        return folder

    def run_folders(self) -> list[Path]:
        """The folders of all runs, the oldest first."""
        return sorted(path for path in (self.root / "runs").glob("[0-9]*-[0-9]*"))

    def _has_artifacts(self) -> bool:
        # Ignores a marker, named with a leading dot, whose writing was interrupted.
        return self.pipeline_root.exists() and any(
            not entry.name.startswith(".") for entry in self.pipeline_root.iterdir()
        )

    def bind_to_store(self, store: metadata_store.MetadataStore, location: str) -> None:
        """Ties the pipeline root to its metadata store, or checks that it belongs to this one.

        Artifacts' paths contain ids of the store, and another store would assign the same ones. If
        the workdir was moved, the paths of its artifacts follow it.

        Args:
          store: the metadata store.
          location: of the store.

        Raises:
          UserError: when the root belongs to another store.
        """
        name = identity(store, uuid.uuid4().hex)
        marker = self.pipeline_root / relocation.MARKER
        lines = marker.read_text().splitlines() if marker.exists() else []
        bound = lines[0] if lines else None
        last_root = relocation.last_place(self.pipeline_root) or str(self.root)
        if bound is None and self._has_artifacts():
            raise UserError(
                "Expected a pipeline root that says which metadata store it belongs to. "
                f"Received: {self.pipeline_root}, which has artifacts but no {relocation.MARKER}. "
                "Choose another --workdir."
            )
        if bound is not None and bound != name:
            raise UserError(
                f"{self.pipeline_root} belongs to another metadata store ({bound}) than this one "
                f"({name}). Pass the --metadata of the earlier runs, or choose another --workdir."
            )
        # A copy that shares the store with its original leaves the paths to the original.
        own_store = Path(location).is_relative_to(self.root)
        if last_root != str(self.root) and (own_store or not Path(last_root).exists()):
            count = relocation.follow(store, last_root, str(self.root))
            say(f"the workdir was in {last_root}: the paths of {count} artifacts follow it")
        self.pipeline_root.mkdir(parents=True, exist_ok=True)
        write_whole(marker, f"{name}\n{self.root}\n")

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
