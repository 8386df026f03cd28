"""The cluster behind an API server: informers, reports, and the pods that it assigns to this node.

IO through `kubeapi.client`. Implements `agent.foundation.Cluster`; made by `agent.app`. Mirror pods are the
API's pictures of static pods: they are kept here (`agent.pods.sources.mirror`) and never reach the lanes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from agent.foundation import Loop
from agent.node.api import KubeNodeApi
from agent.node.lease import LeaseKeeper
from agent.node.reporter import NodeReporter
from agent.pods.goal import is_mirror, is_static
from agent.pods.pod_api import KubePodApi
from agent.pods.ports import ObservablePods
from agent.pods.recorder import RecordedPodEvents
from agent.pods.security.runtime_class_source import ClassHandlers
from agent.pods.sources.manifests import ManifestObjects
from agent.pods.sources.mirror import MirrorKeeper
from agent.pods.sources.sources import ApiSource, PodSink
from agent.pods.sources.static_pods import BESIDE_AN_API_SERVER
from agent.settings import AgentSettings
from agent.volumes.claim_api import KubeClaimApi
from agent.volumes.config_api import KubeConfigApi, KubeTokens
from agent.volumes.config_objects import ConfigName
from agent.volumes.offline_tokens import OfflineTokens
from agent.volumes.remembered_config import RememberedConfig
from kubeapi.client import Client
from kubeapi.core import Node
from kubeapi.events import EventRecorder
from kubeapi.informer import Informer
from kubeapi.meta import ObjectKey
from kubeapi.object_store import Change
from kubeapi.pod import Pod
from kubeapi.resources import ENDPOINT_SLICES, NODES, PODS, RUNTIME_CLASSES, SERVICES

_logger = logging.getLogger(__name__)

_SERVICES_WAIT_SECONDS: Final = 10.0
_EVENT_LINGER_SECONDS: Final = 0.5  # statuses come first; an Event names its own time
_EVENT_SHARE: Final = 0.2


class KubeCluster:
    """Asks nothing before its loops run. `client_authority`: the cluster's certificate authority."""

    def __init__(self, client: Client, settings: AgentSettings, client_authority: bytes | None) -> None:
        self._node_key = ObjectKey("", settings.node_name)
        self._pods = Informer(client, PODS, field_selector=f"spec.nodeName={settings.node_name}")
        self._recorder = EventRecorder(
            client,
            component="kubelet",
            host=settings.node_name,
            linger_seconds=_EVENT_LINGER_SECONDS,
            share=_EVENT_SHARE,
        )
        self._handlers: list[Callable[[Pod, Pod], None]] = []
        self.nodes = Informer(client, NODES)
        self.services = Informer(client, SERVICES)
        self.slices = Informer(client, ENDPOINT_SLICES)
        self._runtime_classes = Informer(client, RUNTIME_CLASSES)
        self.runtime_handlers = ClassHandlers(self._runtime_classes, settings.root_dir)
        self.config = RememberedConfig(KubeConfigApi(client), settings.root_dir)
        self.tokens = OfflineTokens(KubeTokens(client))
        self.claims = KubeClaimApi(client)
        self.node_api = KubeNodeApi(client)
        self.pod_api = KubePodApi(client)
        self.pod_events = RecordedPodEvents(self._recorder)
        self.client_authority = client_authority
        self.manifest_rules = BESIDE_AN_API_SERVER
        self._mirrors = MirrorKeeper(self.pod_api, self._find_node_uid, self._tell)

    def list_loops(self, directory: ObservablePods, reporter: NodeReporter) -> Mapping[str, Loop]:  # noqa: ARG002
        self.nodes.subscribe(_tell_of_node(reporter, self._node_key))
        lease = LeaseKeeper(
            self.node_api, self._node_key.name, _now, lambda: reporter.node_uid, reporter.note_recovery
        )
        return {
            "node lease": lease.run,
            "remembered ConfigMaps": self.config.run,
            "remembered RuntimeClasses": self.runtime_handlers.run,
            "runtime class informer": self._runtime_classes.run,
            "events": self._recorder.run,
            "pod informer": self._pods.run,
            "node informer": self.nodes.run,
            "service informer": self.services.run,
            "endpoint slice informer": self.slices.run,
        }

    def go_on_with(self, pods: Sequence[Pod], *, rebooted: bool) -> None:
        self.runtime_handlers.read_all()
        self.config.read_all()
        self.config.keep_only(pods)
        if rebooted:
            self.tokens.remember(pods)

    def forget_config(self, name: ConfigName) -> None:
        self.config.forget(name)

    # --- pods -----------------------------------------------------------------------------------------------

    def note_manifests(self, objects: ManifestObjects) -> None:
        self._mirrors.set_statics(objects.pods)

    def find_object(self, pod: Pod) -> Pod | None:
        if is_static(pod):
            return self._mirrors.find_mirror(pod)
        found = self._pods.get(pod.key)
        return found if found is not None and found.uid == pod.uid else None

    def subscribe_objects(self, handler: Callable[[Pod, Pod], None]) -> None:
        self._handlers.append(handler)

    async def feed_pods(self, lanes: PodSink) -> None:
        await _wait_a_while(self.services.wait_until_synced())
        self._pods.subscribe(ApiSource(lanes, self._mirrors.note_mirror).note_change)
        self._pods.subscribe(self._note_pod)
        await self._pods.wait_until_synced()
        lanes.keep_only({pod.uid for pod in self._pods.objects().values()}, static=False)
        lanes.adopt_orphans()
        await self.nodes.wait_until_synced()  # a mirror must name its node's uid
        await self._mirrors.run()

    def _note_pod(self, change: Change[Pod]) -> None:
        """After the lanes, so that a status is sent again only as it is now. Mirrors tell of themselves."""
        if change.new is not None and not is_mirror(change.new):
            self._tell(change.new, change.new)

    def _tell(self, pod: Pod, shown: Pod) -> None:
        for handler in self._handlers:
            handler(pod, shown)

    def _find_node_uid(self) -> str:
        node = self.nodes.get(self._node_key)
        return node.metadata.uid if node is not None else ""


def _now() -> datetime:
    return datetime.now(UTC)


def _tell_of_node(reporter: NodeReporter, key: ObjectKey) -> Callable[[Change[Node]], None]:
    def tell(change: Change[Node]) -> None:
        if change.key == key and change.new is not None:
            reporter.note_node(change.new)

    return tell


async def _wait_a_while(awaitable: Awaitable[None]) -> None:
    """Variables of Services are worth a short wait, not more: pods must start without them too."""
    try:
        async with asyncio.timeout(_SERVICES_WAIT_SECONDS):
            await awaitable
    except TimeoutError:
        _logger.warning("pods start without the Services' variables: the API server doesn't answer")
