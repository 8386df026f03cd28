"""The server's listening sockets and its word to the service manager that started it.

IO on sockets and the environment. Called by the composition root. Sockets handed over by systemd-style
activation (sd_listen_fds(3)) are served beside the server's own; readiness is told as sd_notify(3)
describes.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

from controlplane.errors import ServerError

_FIRST_DESCRIPTOR: Final = 3
_BACKLOG: Final = 512

# Documentation addresses: connecting a datagram socket sends nothing, it only asks for the route.
_ROUTED_ADDRESSES: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def open_listener(address: str, port: int) -> socket.socket:
    """A listening TCP socket; ServerError if the port is taken or the address is none of this machine's."""
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ServerError(
            f"cannot listen on {address} port {port}: {error.strerror}; "
            "stop the program that uses it, or choose another --bind-address or --secure-port"
        ) from error
    return listener


def take_activated_sockets(environment: Mapping[str, str], process_id: int) -> tuple[socket.socket, ...]:
    """The sockets that the parent handed to this very process; none without LISTEN_FDS."""
    if environment.get("LISTEN_PID") != str(process_id):
        return ()
    try:
        count = int(environment.get("LISTEN_FDS", "0"))
        sockets = [socket.socket(fileno=_FIRST_DESCRIPTOR + offset) for offset in range(count)]
    except (ValueError, OSError) as error:
        raise ServerError(f"LISTEN_FDS announces sockets that are not there: {error}") from error
    for each in sockets:
        os.set_inheritable(each.fileno(), False)
        each.setblocking(False)
    return tuple(sockets)


def send_notification(environment: Mapping[str, str], state: str) -> None:
    """Tell the service manager, if there is one; one that does not listen is not our trouble."""
    path = environment.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
        try:
            notifier.connect(address)
            notifier.send(state.encode())
        except OSError:
            return


def choose_advertise_address(wanted: str, bind_address: str) -> str:
    """The address others reach the server at: given, or bound, or where the default route leaves from."""
    if wanted:
        return wanted
    if bind_address and not ip_address(bind_address).is_unspecified:
        return bind_address
    for family, target in _ROUTED_ADDRESSES:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
            try:
                probe.connect((target, 9))
            except OSError:
                continue
            return str(probe.getsockname()[0])
    return "127.0.0.1"
