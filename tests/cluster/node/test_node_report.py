"""What a node says of itself: its Node object and its Lease."""

from __future__ import annotations

import os
from datetime import datetime

from kubeapi.quantity import parse_quantity
from kubeapi.resources import LEASES, NODES
from lab.cluster import Cluster
from tests.cluster.scene import Scene


async def test_the_node_reports_conditions_addresses_and_room(cluster: Cluster, scene: Scene) -> None:
    node = await scene.client.get(NODES, "n1")

    assert {each.type: (each.status, each.reason) for each in node.status.conditions} == {
        "Ready": ("True", "KubeletReady"),
        "MemoryPressure": ("False", "KubeletHasSufficientMemory"),
        "DiskPressure": ("False", "KubeletHasNoDiskPressure"),
        "PIDPressure": ("False", "KubeletHasSufficientPID"),
    }
    addresses = {each.type: each.address for each in node.status.addresses}
    assert addresses["InternalIP"] == str(cluster.node("n1").ip)
    assert parse_quantity(node.status.capacity["cpu"]) == parse_quantity(str(os.cpu_count()))
    assert parse_quantity("0") < parse_quantity(node.status.allocatable["memory"])
    assert node.status.capacity["pods"] == "110"
    assert node.status.node_info.container_runtime_version.startswith("containerd://")
    assert node.status.node_info.operating_system == "linux"
    assert node.status.daemon_endpoints.kubelet_endpoint.port == 10250
    assert node.spec.pod_cidr == "10.244.0.0/24"
    assert node.metadata.labels["kubernetes.io/hostname"] == "n1"


async def test_the_node_renews_its_lease(scene: Scene) -> None:
    leases = "kube-node-lease"
    lease = await scene.client.get(LEASES, "n1", leases)
    assert lease.spec.holder_identity == "n1"
    assert lease.spec.lease_duration_seconds == 40
    node_leases = Scene(scene.cluster, scene.client, leases, scene.kubectl)

    renewed = await node_leases.wait_for(
        LEASES, "n1", lambda now: now.spec.renew_time != lease.spec.renew_time
    )

    before, after = (datetime.fromisoformat(each.spec.renew_time or "") for each in (lease, renewed))
    assert 0 < (after - before).total_seconds() < 15
