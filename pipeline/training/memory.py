"""How much memory is available: the machine's, or what the limits of a container leave."""

import os
from collections.abc import Iterator
from pathlib import Path


def available_bytes(root: Path = Path("/")) -> int:
    """Bytes that this process can still allocate before the system swaps, or kills it.

    This is the minimum of the machine's free memory and of what is left under the limits of the
    process's control groups (version 1 or 2). A group's file cache counts as free, since the kernel
    can drop it.

    Args:
      root: of the file system; tests use another one.
    """
    return max(0, min([_of_machine(root), *_of_groups(root)]))


def _of_machine(root: Path) -> int:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(kilobytes) * 1024


def _of_groups(root: Path) -> Iterator[int]:
    try:
        memberships = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for membership in memberships:
        _, controllers, path = membership.split(":", 2)
        if not controllers:
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        # In a container the path may be the host's and missing; then the top group counts.
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            free = _free_in(folder, *names)
            if free is not None:
                yield free
            if folder == top:
                break


def _free_in(folder: Path, limit: str, usage: str, droppable: str) -> int | None:
    try:
        most = (folder / limit).read_text().strip()
        used = int((folder / usage).read_text())
        statistics = dict(
            line.split() for line in (folder / "memory.stat").read_text().splitlines()
        )
    except OSError:
        return None
    return None if most == "max" else int(most) - used + int(statistics.get(droppable, 0))
