"""Keeps what this node once chose by itself, such as addresses of Services, in one file.

IO: `<root>/checkpoint/choices.json`, replaced atomically. Called by `agent.standalone`. A file that can't be
read is set aside with a warning: the same is chosen again wherever nothing has changed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

_logger = logging.getLogger(__name__)


class ChoiceFile:
    def __init__(self, root_dir: Path) -> None:
        self._path = root_dir / "checkpoint" / "choices.json"

    def read(self) -> Mapping[str, str]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            _logger.warning(
                "what this node chose earlier can't be read and is set aside",
                extra={"path": str(self._path), "error": str(error)},
            )
            return {}

    def write(self, choices: Mapping[str, str]) -> None:
        """A failure is logged: the choices hold until the next start."""
        draft = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with draft.open("wb") as file:
                file.write(msgspec.json.encode(choices, order="deterministic"))
                file.flush()
                os.fdatasync(file.fileno())
            os.replace(draft, self._path)
        except OSError as error:
            _logger.warning(
                "what this node chose can't be remembered",
                extra={"path": str(self._path), "error": str(error)},
            )
