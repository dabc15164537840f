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
        from tensorflow.io import gfile  # takes seconds to import, and local files need none of it

        gfile.makedirs(folder)
        with gfile.GFile(temporary, "wb") as file:
            file.write(data)
        gfile.rename(temporary, path, overwrite=True)
        return
    os.makedirs(folder or os.curdir, exist_ok=True)
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(folder or os.curdir)


def sync_folder(folder: str) -> None:
    """Makes it durable which names a local folder holds."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
