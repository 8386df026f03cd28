"""The CNI conflist: a bridge with host-local addresses, and nothing that belongs to the rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.podnetwork.cni_config import render_cni_config


def test_a_bridge_with_addresses_from_the_pod_cidr() -> None:
    [plugin] = json.loads(render_cni_config(["10.244.1.0/24"], Path("/var/lib/cni")))["plugins"]
    assert plugin["type"] == "bridge"
    assert plugin["isGateway"] is True
    assert plugin["ipMasq"] is False
    assert plugin["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}]]
    assert plugin["ipam"]["routes"] == [{"dst": "0.0.0.0/0"}]
    assert plugin["ipam"]["dataDir"] == "/var/lib/cni"


def test_both_families_have_a_range_and_a_default_route() -> None:
    text = render_cni_config(["10.244.1.0/24", "fd00:1::/64"], Path("/x"))
    ipam = json.loads(text)["plugins"][0]["ipam"]
    assert ipam["ranges"] == [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:1::/64"}]]
    assert ipam["routes"] == [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]


def test_what_is_not_a_cidr_is_refused() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        render_cni_config(["nonsense"], Path("/x"))
