"""Many Services with endpoints, loaded into a cluster through its API.

A shell on `kubeapi.client` and, to see that a node has them, `nft` in the node's namespace. Called by
`bench.podstart`. The Services have no selector and their endpoints lead nowhere: they are only to be many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from kubeapi.client import Client
from kubeapi.resources import ENDPOINT_SLICES, NAMESPACES, SERVICES
from lab.cluster import Cluster

NAMESPACE: Final = "bench-services"
ENDPOINTS: Final = 10
_CREATES_AT_ONCE: Final = 16
_PROGRAMMED_SECONDS: Final = 120.0
_LOOK_AGAIN_SECONDS: Final = 0.5


async def load_services(client: Client, cluster: Cluster, count: int) -> None:
    """Returns when the rules of the cluster's first node name every one of the `count` Services."""
    await client.create(
        NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    )
    slots = asyncio.Semaphore(_CREATES_AT_ONCE)

    async def create(number: int) -> str:
        async with slots:
            service = await client.create(SERVICES, build_service(number), NAMESPACE)
            await client.create(ENDPOINT_SLICES, build_slice(number), NAMESPACE)
        return service.spec.cluster_ip

    addresses = await asyncio.gather(*map(create, range(count)))
    await _wait_until_programmed(cluster, addresses)


def build_service(number: int) -> Mapping[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"load-{number}"},
        "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
    }


def build_slice(number: int) -> Mapping[str, Any]:
    first, second = divmod(number, 250)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"load-{number}", "labels": {"kubernetes.io/service-name": f"load-{number}"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {"addresses": [f"10.{200 + first}.{second}.{last}"], "conditions": {"ready": True}}
            for last in range(1, ENDPOINTS + 1)
        ],
    }


async def _wait_until_programmed(cluster: Cluster, addresses: list[str]) -> None:
    node = cluster.nodes[0].name
    async with asyncio.timeout(_PROGRAMMED_SECONDS):
        while True:
            listed = await asyncio.to_thread(cluster.exec, node, ["nft", "list", "table", "ip", "berth"])
            words = set(listed.stdout.split())
            if all(address in words for address in addresses):
                return
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
