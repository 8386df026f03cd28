"""One agent for each root directory.

IO: a lock on `<root>/agent.lock`, held as long as the process lives; the kernel lets go of it at any death.
Called by `agent.app` before anything else.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import AgentError


@contextmanager
def hold_root(root_dir: Path) -> Iterator[None]:
    """Makes the directory and holds its lock; raises AgentError when another agent has it, or it can't be
    made.
    """
    try:
        root_dir.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(root_dir / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise AgentError(
            f"the root directory {root_dir} can't be used: {error.strerror}; run as root or name another one"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AgentError(
                f"another agent uses the root directory {root_dir}; stop it, or name another one "
                "with --root-dir"
            ) from error
        yield
    finally:
        os.close(descriptor)
