"""The cluster of a node that stands alone: its static pod directory is all there is.

IO: one file of choices. Implements `agent.foundation.Cluster`; made by `agent.app`. What an API server and
its controllers would do is computed here: the Node's pod CIDR, addresses of Services, EndpointSlices. Proxy,
DNS, volumes and environment see no difference.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from typing import Final

from agent.checkpoint.choices import ChoiceFile
from agent.foundation import Loop
from agent.node.reporter import NodeReporter
from agent.pods.ports import ObservablePods
from agent.pods.security.runtime_class import NamedHandlers
from agent.pods.sources.manifests import ManifestObjects
from agent.pods.sources.sources import PodSink
from agent.pods.sources.static_pods import ALONE
from agent.settings import AgentSettings
from agent.standalone.config import LocalConfig
from agent.standalone.endpoint_slices import compute_endpoint_slices
from agent.standalone.local_objects import LocalObjects
from agent.standalone.reports import LocalNodeApi, LoggedPodEvents, NoPodApi, NoTokens
from agent.standalone.service_addresses import complete_services
from agent.volumes.config_objects import ConfigName
from kubeapi.core import ConfigMap, Node, Secret, Service
from kubeapi.discovery import EndpointSlice
from kubeapi.pod import Pod

_POD_CIDR_LENGTHS: Final = {4: 24, 6: 64}


class StandaloneCluster:
    """Everything is known once the directory has been read."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self._choices = ChoiceFile(settings.root_dir)
        self._config_maps: LocalObjects[ConfigMap] = LocalObjects()
        self._secrets: LocalObjects[Secret] = LocalObjects()
        self._changed = asyncio.Event()
        self.nodes: LocalObjects[Node] = LocalObjects()
        self.services: LocalObjects[Service] = LocalObjects()
        self.slices: LocalObjects[EndpointSlice] = LocalObjects()
        self.config = LocalConfig(self._config_maps, self._secrets)
        self.tokens = NoTokens()
        self.claims = None
        self.node_api = LocalNodeApi(self.nodes, settings.pod_cidr or choose_pod_cidr(settings.cluster_cidr))
        self.pod_api = NoPodApi()
        self.pod_events = LoggedPodEvents()
        self.runtime_handlers = NamedHandlers()
        self.client_authority = None
        self.manifest_rules = ALONE

    def note_manifests(self, objects: ManifestObjects) -> None:
        self._config_maps.replace(objects.config_maps.values())
        self._secrets.replace(objects.secrets.values())
        self._note_services(objects)

    def _note_services(self, objects: ManifestObjects) -> None:
        settings, chosen = self._settings, self._choices.read()
        services, choices = complete_services(
            objects.services.values(), chosen, settings.service_cidr, (settings.cluster_dns,)
        )
        if choices != chosen:
            self._choices.write(choices)
        self.services.replace(services)
        self._changed.set()

    def go_on_with(self, pods: Sequence[Pod], *, rebooted: bool) -> None:
        """The directory has all that they need."""

    def forget_config(self, name: ConfigName) -> None:
        """The directory has all that there is."""

    def find_object(self, pod: Pod) -> Pod | None:  # noqa: ARG002
        return None

    def subscribe_objects(self, handler: Callable[[Pod, Pod], None]) -> None:
        """No pod has an object, so that none ever changes."""

    async def feed_pods(self, lanes: PodSink) -> None:
        """Nobody assigns pods to this node; those of an earlier life in a cluster go."""
        lanes.keep_only((), static=False)
        await self.services.wait_until_synced()
        lanes.adopt_orphans()

    def list_loops(self, directory: ObservablePods, reporter: NodeReporter) -> Mapping[str, Loop]:  # noqa: ARG002
        directory.subscribe_pods(self._changed.set)
        return {"endpoint slices": lambda: self._compute_slices(directory)}

    async def _compute_slices(self, directory: ObservablePods) -> None:
        """As soon as a Service or a pod has changed, until cancelled."""
        await self.services.wait_until_synced()
        while True:
            self._changed.clear()
            terminating = {running.uid for running in directory.running_pods() if running.terminating}
            services = self.services.objects().values()
            self.slices.replace(compute_endpoint_slices(services, directory.pods(), terminating))
            await self._changed.wait()


def choose_pod_cidr(cluster_cidr: str) -> str:
    """The first network of the usual size for a node's pods."""
    network = ip_network(cluster_cidr)
    length = max(network.prefixlen, _POD_CIDR_LENGTHS[network.version])
    return str(next(network.subnets(new_prefix=length)))
