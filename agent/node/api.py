"""The few calls on Node and Lease that the node's own status needs.

IO through `kubeapi.client`; the ports are what `reporter` and `lease` see, so that tests can join fakes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from kubeapi.client import Client, PatchType
from kubeapi.core import Node
from kubeapi.errors import ApiStatusError
from kubeapi.resources import LEASES, NODES

LEASE_NAMESPACE: Final = "kube-node-lease"
_DEADLINE_SECONDS: Final = 10.0

Document = Mapping[str, object]


class NodeApi(Protocol):
    """Raises KubeAPIError."""

    async def read_node(self, name: str) -> Node | None: ...

    async def create_node(self, document: Document) -> Node: ...

    async def patch_node(self, name: str, patch: Document) -> Node: ...

    async def patch_node_status(self, name: str, status: Document) -> Node | None:
        """The Node as stored; None: there is none."""


class LeaseApi(Protocol):
    """Raises KubeAPIError."""

    async def patch_lease(self, name: str, spec: Document) -> bool:
        """Whether there was a Lease to patch."""

    async def create_lease(self, document: Document) -> None: ...


class KubeNodeApi:
    """`NodeApi` and `LeaseApi` on the API server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def read_node(self, name: str) -> Node | None:
        try:
            return await self._client.get(NODES, name, deadline_seconds=_DEADLINE_SECONDS)
        except ApiStatusError as error:
            if error.is_not_found:
                return None
            raise

    async def create_node(self, document: Document) -> Node:
        return await self._client.create(NODES, document, deadline_seconds=_DEADLINE_SECONDS)

    async def patch_node(self, name: str, patch: Document) -> Node:
        return await self._client.patch(
            NODES, patch, name, patch_type=PatchType.MERGE, deadline_seconds=_DEADLINE_SECONDS
        )

    async def patch_node_status(self, name: str, status: Document) -> Node | None:
        # Strategic: conditions and addresses are merged by type, so that other people's conditions stay.
        try:
            return await self._client.patch(
                NODES,
                {"status": status},
                name,
                patch_type=PatchType.STRATEGIC,
                subresource="status",
                deadline_seconds=_DEADLINE_SECONDS,
            )
        except ApiStatusError as error:
            if error.is_not_found:
                return None
            raise

    async def patch_lease(self, name: str, spec: Document) -> bool:
        try:
            await self._client.patch(
                LEASES,
                {"spec": spec},
                name,
                LEASE_NAMESPACE,
                patch_type=PatchType.MERGE,
                deadline_seconds=_DEADLINE_SECONDS,
            )
        except ApiStatusError as error:
            if error.is_not_found:
                return False
            raise
        return True

    async def create_lease(self, document: Document) -> None:
        await self._client.create(LEASES, document, LEASE_NAMESPACE, deadline_seconds=_DEADLINE_SECONDS)
