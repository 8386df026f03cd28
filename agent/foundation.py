"""What the agent stands on: the runtime, the cluster it belongs to, and what was found out about them at
start.

Pure: values and protocols. Made by `agent.app`, used by whatever it joins. `Cluster` has two
implementations: `agent.kube_cluster` (an API server) and `agent.standalone.cluster` (a directory and this
node alone); nothing else asks which it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.node.address import parse_node_ips
from agent.node.api import NodeApi
from agent.node.reporter import NodeReporter
from agent.object_source import ObjectSource
from agent.pods.pod_api import PodApi
from agent.pods.pod_events import PodEvents
from agent.pods.ports import ObservablePods
from agent.pods.security.runtime_class import RuntimeHandlers
from agent.pods.sources.manifests import ManifestObjects
from agent.pods.sources.sources import PodSink
from agent.pods.sources.static_pods import ManifestRules
from agent.runtime.client import RuntimeClient
from agent.runtime.values import RuntimeVersion
from agent.settings import AgentSettings
from agent.volumes.claim_api import ClaimApi
from agent.volumes.config_objects import ConfigApi, ConfigName
from agent.volumes.tokens import TokenSource
from kubeapi.core import Node, Service
from kubeapi.discovery import EndpointSlice
from kubeapi.pod import Pod

Loop = Callable[[], Awaitable[None]]


class Cluster(Protocol):
    """Where the objects that a node works with come from, and where it reports to."""

    @property
    def nodes(self) -> ObjectSource[Node]: ...

    @property
    def services(self) -> ObjectSource[Service]: ...

    @property
    def slices(self) -> ObjectSource[EndpointSlice]: ...

    @property
    def config(self) -> ConfigApi: ...

    @property
    def claims(self) -> ClaimApi | None:
        """None: there are no PersistentVolumeClaims."""

    @property
    def tokens(self) -> TokenSource: ...

    @property
    def node_api(self) -> NodeApi: ...

    @property
    def pod_api(self) -> PodApi: ...

    @property
    def pod_events(self) -> PodEvents: ...

    @property
    def runtime_handlers(self) -> RuntimeHandlers: ...

    @property
    def client_authority(self) -> bytes | None:
        """The certificates that clients of the agent's HTTPS server must come from; None: there are none,
        and so there is no such server.
        """

    @property
    def manifest_rules(self) -> ManifestRules:
        """What the static pod directory may hold."""

    def note_manifests(self, objects: ManifestObjects) -> None:
        """All that the static pod directory holds now, told before the lanes hear of its pods."""

    def go_on_with(self, pods: Sequence[Pod], *, rebooted: bool) -> None:
        """The pods that this node remembers at its start, and whether the machine itself was started anew."""

    def forget_config(self, name: ConfigName) -> None:
        """No pod of this node names this ConfigMap or Secret any more."""

    def find_object(self, pod: Pod) -> Pod | None:
        """Where the pod's status goes: its object in the API, or its mirror; None while there is none."""

    def subscribe_objects(self, handler: Callable[[Pod, Pod], None]) -> None:
        """Calls `handler` with a pod and the object that shows it, at each change of that object."""

    async def feed_pods(self, lanes: PodSink) -> None:
        """Gives the lanes the pods that aren't static, until cancelled; once all are known, others go."""

    def list_loops(self, directory: ObservablePods, reporter: NodeReporter) -> Mapping[str, Loop]:
        """What must run for all this."""


@dataclass(frozen=True, slots=True)
class Foundation:
    """All of it answered once; any of it may go away and come back."""

    settings: AgentSettings
    runtime: RuntimeClient
    version: RuntimeVersion
    cluster: Cluster
    node_ip: str

    @property
    def node_ips(self) -> tuple[str, ...]:
        """The node's address, then that of the other family if it was given one."""
        return (self.node_ip, *parse_node_ips(self.settings.node_ip)[1:])
