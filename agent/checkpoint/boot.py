"""Whether the machine was started anew since the agent last ran.

IO: `<root>/checkpoint/boot-id`. Called by `agent.joined_pods` once at start: what lived in memory, such as
files in tmpfs, is gone after a reboot and intact after a mere restart of the agent.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

_logger = logging.getLogger(__name__)


def note_boot(root_dir: Path, boot_id: str) -> bool:
    """Remembers this boot; True when the one remembered so far was another."""
    path = root_dir / "checkpoint" / "boot-id"
    try:
        known = path.read_text().strip()
    except OSError:
        known = ""
    if known == boot_id:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_suffix(".new")
        draft.write_text(f"{boot_id}\n")
        os.replace(draft, path)
    except OSError as error:
        _logger.warning("this boot can't be remembered", extra={"path": str(path), "error": str(error)})
    return known != ""
