"""What the pod lanes write to the API server: statuses, deletions and mirror pods.

IO through `kubeapi.client`. `PodApi` is the port; refusals that mean "somebody else's pod now" or "not there
any more" are answers, not errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from kubeapi.client import Client, PatchType
from kubeapi.errors import ApiStatusError
from kubeapi.pod import Pod
from kubeapi.resources import PODS

_DEADLINE_SECONDS: Final = 15.0


class PodApi(Protocol):
    async def patch_status(self, pod: Pod, patch: Mapping[str, Any]) -> Pod | None:
        """The pod as stored; None when this pod (by uid) doesn't exist any more. Raises KubeAPIError."""

    async def delete_pod(self, pod: Pod) -> None:
        """At once and only this uid; success when it is gone already. Raises KubeAPIError."""

    async def create_pod(self, document: Mapping[str, Any], namespace: str) -> Pod | None:
        """None when a pod of that name exists. Raises KubeAPIError."""


class KubePodApi:
    """`PodApi` on the API server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def patch_status(self, pod: Pod, patch: Mapping[str, Any]) -> Pod | None:
        try:
            return await self._client.patch(
                PODS,
                msgspec.json.encode(patch),
                pod.metadata.name,
                pod.metadata.namespace,
                patch_type=PatchType.STRATEGIC,
                subresource="status",
                deadline_seconds=_DEADLINE_SECONDS,
            )
        except ApiStatusError as error:
            if error.is_not_found or (error.is_conflict and not await self._is_there(pod)):
                return None
            raise

    async def _is_there(self, pod: Pod) -> bool:
        """Whether this very pod still exists: a conflict may as well be a race with another writer."""
        try:
            found = await self._client.get(
                PODS, pod.metadata.name, pod.metadata.namespace, deadline_seconds=_DEADLINE_SECONDS
            )
        except ApiStatusError as error:
            if error.is_not_found:
                return False
            raise
        return found.uid == pod.uid

    async def delete_pod(self, pod: Pod) -> None:
        try:
            await self._client.delete(
                PODS,
                pod.metadata.name,
                pod.metadata.namespace,
                uid=pod.metadata.uid,
                grace_period_seconds=0,
                deadline_seconds=_DEADLINE_SECONDS,
            )
        except ApiStatusError as error:
            if not (error.is_not_found or error.is_conflict):
                raise

    async def create_pod(self, document: Mapping[str, Any], namespace: str) -> Pod | None:
        try:
            return await self._client.create(PODS, document, namespace, deadline_seconds=_DEADLINE_SECONDS)
        except ApiStatusError as error:
            if error.is_already_exists:
                return None
            raise
