"""What the agent stands on: the runtime, the API server, and what was found out about them at start.

Pure values that hold the open clients; made by `agent.app`, used by whatever it joins.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from agent.runtime.client import RuntimeClient
from agent.runtime.values import RuntimeVersion
from agent.settings import AgentSettings
from kubeapi.client import Client
from kubeapi.core import Node, Service
from kubeapi.discovery import EndpointSlice
from kubeapi.informer import Informer
from kubeapi.kubeconfig import ClientConfig
from kubeapi.pod import Pod
from kubeapi.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES

Loop = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Informers:
    pods: Informer[Pod]
    nodes: Informer[Node]
    services: Informer[Service]
    slices: Informer[EndpointSlice]


@dataclass(frozen=True, slots=True)
class Foundation:
    """All of it answered once; any of it may go away and come back."""

    settings: AgentSettings
    runtime: RuntimeClient
    version: RuntimeVersion
    config: ClientConfig
    client: Client
    informers: Informers
    node_ip: str


def make_informers(client: Client, settings: AgentSettings) -> Informers:
    """Informers that don't run yet; of the pods only this node's."""
    return Informers(
        pods=Informer(client, PODS, field_selector=f"spec.nodeName={settings.node_name}"),
        nodes=Informer(client, NODES),
        services=Informer(client, SERVICES),
        slices=Informer(client, ENDPOINT_SLICES),
    )
