"""Remembers the node's address, for starts at which the API server's name can't be looked up.

IO: one small file below the root directory, replaced atomically. Called by `agent.app` at start: a node that
is cut off must still run the pods it remembers, and those show its address.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from pathlib import Path

from agent.node.address import NoNodeAddress, choose_node_ip

_logger = logging.getLogger(__name__)


class NodeAddressMemory:
    def __init__(self, root_dir: Path) -> None:
        self._path = root_dir / "checkpoint" / "node-address"

    async def choose(self, server_url: str, node_ip: str = "") -> str:
        """As `choose_node_ip`, or the address of last time where that finds none; raises NoNodeAddress."""
        try:
            chosen = await choose_node_ip(server_url, node_ip)
        except NoNodeAddress as error:
            remembered = self._read()
            if node_ip or remembered is None:
                raise
            _logger.warning(
                "the node keeps the address it had", extra={"address": remembered, "error": str(error)}
            )
            return remembered
        self._write(chosen)
        return chosen

    def _read(self) -> str | None:
        try:
            return str(ipaddress.ip_address(self._path.read_text().strip()))
        except (OSError, ValueError):
            return None

    def _write(self, address: str) -> None:
        if self._read() == address:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft = self._path.with_suffix(".new")
            draft.write_text(f"{address}\n")
            os.replace(draft, self._path)
        except OSError as error:
            _logger.warning("the node's address can't be remembered", extra={"error": str(error)})
