"""Completes a configuration before a run, and finds what would stop the run much later."""

import functools
import hashlib
import os
import tempfile
from pathlib import Path

from pipeline import beam_options
from pipeline.config import PipelineConfig, override
from pipeline.data import archives
from pipeline.errors import UserError
from pipeline.files import hash_file
from pipeline.given_paths import absolute, schema_folder, with_content
from pipeline.local.console import say
from pipeline.local.workdir import Workdir


def complete(config: PipelineConfig, places: Workdir) -> PipelineConfig:
    """Fills in the run's places, as absolute paths.

    Unpacks data that come as an archive, and draws the demo's if there are none.

    Raises:
      UserError: a place that does not exist or cannot be written, a missing setting, an archive
        that can't be unpacked.
    """
    filled = {
        "execution.pipeline_root": str(places.pipeline_root),
        "execution.state_dir": str(places.checkpoints),
        "execution.beam_args": config.execution.beam_args or beam_options.IN_PROCESS,
        "push.destination": absolute(config.push.destination or str(places.pushed)),
    }
    _require_writable(filled["push.destination"])
    if not config.data.path and not config.data.train:
        from pipeline.demo.data import write_demo_data

        filled["data.path"] = str(write_demo_data(places.data / "demo"))
    for name in ("path", "train", "eval", "test"):
        if path := getattr(config.data, name):
            filled[f"data.{name}"] = _unpacked(absolute(path), places, config.data.max_unpacked_gb)
    if config.schema_dir:
        filled["schema_dir"] = schema_folder(config.schema_dir)
    filled |= with_content(config.warm_start)
    return override(config, filled)


def _unpacked(path: str, places: Workdir, max_gigabytes: float) -> str:
    """The folder of an archive's content, unpacked once; any other path stays as it is."""
    if archives.is_archive(path) and "://" in path:
        return _fetched(path, places, max_gigabytes)
    if not archives.is_archive(path) or not os.path.isfile(path):
        return path
    file = os.stat(path)
    folder = places.unpacked / _content_sha256(path, file.st_size, file.st_mtime_ns)
    if not folder.is_dir():
        say(f"unpacking {path} into {folder} ...")
        archives.unpack(Path(path), folder, max_gigabytes)
    return str(archives.root_of(folder))


def _fetched(url: str, places: Workdir, max_gigabytes: float) -> str:
    """Likewise for an archive in a bucket, downloaded once for each of its versions."""
    import tensorflow as tf  # slow to load, and knows the way into buckets

    try:
        stat = tf.io.gfile.stat(url)
        version = f"{url} {stat.length} {stat.mtime_nsec}"
        folder = places.unpacked / hashlib.sha256(version.encode()).hexdigest()
        if not folder.is_dir():
            places.unpacked.mkdir(parents=True, exist_ok=True)
            say(f"downloading {url}, {stat.length / 1e6:.0f} MB, into {folder} ...")
            with tempfile.TemporaryDirectory(dir=places.unpacked, prefix=".") as scratch:
                file = Path(scratch, os.path.basename(url))
                tf.io.gfile.copy(url, str(file))
                archives.unpack(file, folder, max_gigabytes)
    except tf.errors.OpError as error:
        raise UserError(
            f"Expected an archive. Received: {url}, which can't be read: {error.message}"
        ) from None
    return str(archives.root_of(folder))


@functools.lru_cache
def _content_sha256(path: str, size: int, changed: int) -> str:
    # A run asks more than once; an archive may have many gigabytes.
    return hash_file(path)["sha256"]


def _require_writable(destination: str) -> None:
    """Finds a folder that nothing can be pushed to before the training rather than after it."""
    if "://" in destination:
        return
    folder = Path(destination)
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(
            f"Expected --push-to to be a writable folder. Received: {destination}, where {folder} "
            f"is {'not writable' if folder.is_dir() else 'not a folder'}."
        )
