"""Tells systemd that the agent is ready.

IO: one datagram to the socket that the service manager named. Called by `agent.app`. Follows sd_notify(3).
"""

from __future__ import annotations

import logging
import socket

_logger = logging.getLogger(__name__)


def send_notice(address: str, state: str) -> None:
    """`address` is $NOTIFY_SOCKET, empty without a service manager; a failure is logged, nothing more."""
    if not address:
        return
    target = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect(target)
            channel.sendall(state.encode())
    except OSError as error:
        _logger.warning("the service manager can't be told", extra={"state": state, "error": str(error)})
