"""Namespaces on a lab's bridge hear each other, until one is cut off, and never anything outside."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from lab.addresses import DEFAULT_ADDRESSES
from lab.names import SERVER, LabNames
from lab.namespaces import call_in_netns
from lab.network import connect_node, connect_server, create_bridge, cut_link, heal_link
from lab.teardown import remove_lab

PORT = 7000


@pytest.fixture
def names() -> Iterator[LabNames]:
    """A server and two nodes on a bridge, with nothing running on them."""
    names = LabNames(f"net-{os.getpid()}")
    create_bridge(names, DEFAULT_ADDRESSES)
    connect_server(names, DEFAULT_ADDRESSES, SERVER)
    for index in (1, 2):
        connect_node(names, DEFAULT_ADDRESSES, f"n{index}", index)
    yield names
    remove_lab(names)


def can_reach(names: LabNames, source: str, target: str, address: str) -> bool:
    """Whether a connection from one namespace arrives at a socket in the other."""

    def listen() -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, PORT))
        listener.listen()
        return listener

    def connect() -> bool:
        try:
            socket.create_connection((address, PORT), timeout=2).close()
        except OSError:
            return False
        return True

    with call_in_netns(names.netns(target), listen):
        return call_in_netns(names.netns(source), connect)


def test_a_cut_node_hears_nobody_until_it_is_healed(names: LabNames) -> None:
    second = str(DEFAULT_ADDRESSES.node(2))
    server = str(DEFAULT_ADDRESSES.server)

    assert can_reach(names, "n1", "n2", second)
    cut_link(names, "n2")
    assert not can_reach(names, "n1", "n2", second)
    assert not can_reach(names, "n2", SERVER, server)
    assert can_reach(names, "n1", SERVER, server), "the others must not notice"
    heal_link(names, "n2")
    assert can_reach(names, "n1", "n2", second)
    assert can_reach(names, "n2", SERVER, server)


def test_an_address_outside_the_lab_is_refused_at_once(names: LabNames) -> None:
    def connect() -> int:
        with socket.socket() as client:
            client.settimeout(10)
            return client.connect_ex(("192.0.2.1", 80))  # RFC 5737: nobody's

    error = call_in_netns(names.netns("n1"), connect)

    assert os.strerror(error) == "Network is unreachable"
