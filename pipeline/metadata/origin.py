"""Where a run came from: the commit of the code, and the host and user that started it."""

import getpass
import os
import socket
import subprocess
from typing import Any

from pipeline.fingerprint import ROOT

NOT_IN_GIT = "not in git"


def read_origin(*, with_host_and_user: bool) -> dict[str, Any]:
    """What is recorded of a run's origin.

    Args:
      with_host_and_user: also where and by whom it was started.

    Returns:
      commit: hex id; `NOT_IN_GIT`; or why git can't tell.
      dirty: whether files of the project that git tracks differ from the commit; left out without
        one.
      host, user: if they are wanted.
    """
    facts = _git_state()
    if with_host_and_user:
        facts |= {"host": socket.gethostname(), "user": _user()}
    return facts


def _git_state() -> dict[str, Any]:
    # The code may lie, untracked, in somebody else's repository, whose commit says nothing of it.
    try:
        tracked = _git("ls-files", "--", os.path.relpath(__file__, ROOT))
        if not tracked:
            return {"commit": NOT_IN_GIT}
        commit = _git("rev-parse", "--verify", "HEAD")
        changes = _git(
            "--no-optional-locks", "status", "--porcelain", "--untracked-files=no", "--", "."
        )
    except OSError:  # there is no git
        return {"commit": NOT_IN_GIT}
    except subprocess.CalledProcessError as error:
        if "not a git repository" in error.stderr:
            return {"commit": NOT_IN_GIT}
        return {"commit": f"unknown: {error.stderr.strip().partition(os.linesep)[0]}"}
    return {"commit": commit, "dirty": bool(changes)}


def _git(*arguments: str) -> str:
    # Inside a hook, these variables name the hook's repository.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(ROOT), *arguments],
        env={**environment, "LC_ALL": "C"},
        capture_output=True, text=True, errors="replace", check=True,
    )  # fmt: skip
    return done.stdout.strip()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"
