"""Reads PersistentVolumeClaims and PersistentVolumes through the Kubernetes API.

IO: one GET each. `ClaimApi` is what `source` needs; joined by `agent.kube_cluster`. A node may read the
claims of its own pods and the volumes that these are bound to.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from kubeapi.client import Client
from kubeapi.errors import ApiStatusError
from kubeapi.meta import ObjectKey
from kubeapi.resources import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, ViewT
from kubeapi.storage import PersistentVolume, PersistentVolumeClaim


class ClaimApi(Protocol):
    """None: there is no such object. Raises KubeAPIError."""

    async def read_claim(self, key: ObjectKey) -> PersistentVolumeClaim | None: ...

    async def read_volume(self, name: str) -> PersistentVolume | None: ...


class KubeClaimApi:
    """`ClaimApi` on the API server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def read_claim(self, key: ObjectKey) -> PersistentVolumeClaim | None:
        return await _found(self._client.get(PERSISTENT_VOLUME_CLAIMS, key.name, key.namespace))

    async def read_volume(self, name: str) -> PersistentVolume | None:
        return await _found(self._client.get(PERSISTENT_VOLUMES, name))


async def _found(reading: Awaitable[ViewT]) -> ViewT | None:
    try:
        return await reading
    except ApiStatusError as error:
        if error.is_not_found:
            return None
        raise
