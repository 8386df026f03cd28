"""What a node that nobody watches does with its reports: it keeps its Node itself, and logs pods' events.

No IO but the log. Joined by `cluster`. There is no API server: statuses of pods and mirrors go nowhere, the
Node lives in memory, where admission and the pod network look for it.
"""

# ruff: noqa: ARG002 - the ports' arguments have no use where there is nobody to send them to

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from agent.node.api import Document
from agent.pods.pod_events import PodEvent
from agent.standalone.local_objects import LocalObjects
from agent.volumes.files import TokenRef
from agent.volumes.tokens import IssuedToken
from kubeapi.core import Node, NodeSpec, NodeStatus
from kubeapi.meta import ObjectKey
from kubeapi.pod import Pod

_logger = logging.getLogger(__name__)


class LocalNodeApi:
    """`NodeApi` in memory: the one Node, with the pod CIDR that a controller would have given it."""

    def __init__(self, nodes: LocalObjects[Node], pod_cidr: str) -> None:
        self._nodes = nodes
        self._spec = NodeSpec(pod_cidr=pod_cidr, pod_cidrs=(pod_cidr,))

    async def read_node(self, name: str) -> Node | None:
        return self._nodes.get(ObjectKey("", name))

    async def create_node(self, document: Document) -> Node:
        node = msgspec.structs.replace(msgspec.convert(document, Node), spec=self._spec)
        self._nodes.replace((node,))
        return node

    async def patch_node(self, name: str, patch: Document) -> Node:
        """Nobody else writes the Node, so that it never lacks what a patch would bring."""
        return self._nodes.objects()[ObjectKey("", name)]

    async def patch_node_status(self, name: str, status: Document) -> Node | None:
        """The reporter's statuses are whole."""
        node = self._nodes.get(ObjectKey("", name))
        if node is None:
            return None
        new = msgspec.structs.replace(node, status=msgspec.convert(status, NodeStatus))
        self._nodes.replace((new,))
        return new


class NoPodApi:
    """`PodApi` where no pod has an object."""

    async def patch_status(self, pod: Pod, patch: Mapping[str, Any]) -> Pod | None:
        return None

    async def delete_pod(self, pod: Pod) -> None:
        return None

    async def create_pod(self, document: Mapping[str, Any], namespace: str) -> Pod | None:
        return None


class NoTokens:
    """`TokenSource` where there are no service accounts."""

    async def request_token(self, pod: Pod, reference: TokenRef) -> IssuedToken | None:
        return None


class LoggedPodEvents:
    """`PodEvents` in the log, since there is no other place to see them."""

    def record(self, pod: Pod, event: PodEvent) -> None:
        _logger.log(
            logging.WARNING if event.warning else logging.INFO,
            "a pod event",
            extra={
                "pod": str(pod.key),
                "container": event.container,
                "reason": event.reason,
                "what": event.message,
            },
        )
