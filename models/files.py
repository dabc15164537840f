"""Whole writes: a reader always finds the old file or the new one, never half of one."""

import os


def write_whole(path: str | os.PathLike, content: str | bytes) -> None:
    """Writes a file, local or on cloud storage, whole or not at all.

    A local file survives a power failure once this has returned. A crash may leave a hidden
    `.NAME.writing-*` file behind.

    Args:
      path: its folder is created if necessary.
      content: text is encoded as UTF-8.

    Raises:
      OSError: when it can't be written.
    """
    path = os.fspath(path)
    data = content.encode() if isinstance(content, str) else content
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}.writing-{os.getpid()}")
    if "://" in path:
        from tensorflow.io import gfile  # takes seconds to import; local files can do without

        gfile.makedirs(folder)
        with gfile.GFile(temporary, "wb") as file:
            file.write(data)
        gfile.rename(temporary, path, overwrite=True)
        return
    _make_folder(folder or os.curdir)
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(folder or os.curdir)


def _make_folder(folder: str) -> None:
    """Creates a folder, and those above it, so that they survive a power failure."""
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder) or os.curdir
    _make_folder(parent)
    os.makedirs(folder, exist_ok=True)
    sync_folder(parent)


def sync_folder(folder: str) -> None:
    """Makes new and renamed files in a local folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
