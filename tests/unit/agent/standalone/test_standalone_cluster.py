"""What a node without an API server computes by itself: endpoints, addresses, its own Node and objects."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.checkpoint.choices import ChoiceFile
from agent.pods.pod_events import PodEvent
from agent.pods.sources.manifests import ManifestObjects
from agent.settings import AgentSettings
from agent.standalone.cluster import StandaloneCluster, choose_pod_cidr
from agent.standalone.endpoint_slices import compute_endpoint_slices
from agent.standalone.local_objects import LocalObjects
from agent.standalone.reports import LoggedPodEvents
from agent.standalone.service_addresses import complete_services
from agent.volumes.config_objects import ConfigMapName, SecretName
from kubeapi.core import ConfigMap, Secret, Service
from kubeapi.discovery import EndpointSlice
from kubeapi.meta import ObjectKey, ObjectMeta
from kubeapi.object_store import Change
from kubeapi.pod import Pod, PodUID
from tests import builders


def build_service(name: str = "web", **spec: Any) -> Service:
    given = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}], **spec}
    return msgspec.convert({"metadata": {"name": name, "namespace": "default"}, "spec": given}, Service)


def build_pod(name: str = "web-1", ip: str = "10.244.0.2", *, ready: bool = True, **spec: Any) -> Pod:
    ports = [{"name": "http", "containerPort": 8080}]
    document = {
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "x", "ports": ports}], **spec},
        "status": {
            "phase": "Running",
            "podIPs": [{"ip": ip}] if ip else [],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }
    return msgspec.convert(document, Pod)


def compute(service: Service, *pods: Pod, terminating: Collection[str] = ()) -> list[EndpointSlice]:
    return list(compute_endpoint_slices([service], pods, [PodUID(uid) for uid in terminating]))


# --- endpoints ----------------------------------------------------------------------------------------------


def test_a_ready_pod_is_an_endpoint() -> None:
    (found,) = compute(build_service(), build_pod())
    assert found.metadata.labels == {"kubernetes.io/service-name": "web"}
    assert (found.address_type, found.ports[0].port) == ("IPv4", 8080)
    (endpoint,) = found.endpoints
    assert (endpoint.addresses, endpoint.node_name) == (("10.244.0.2",), "n1")
    conditions = endpoint.conditions
    assert (conditions.ready, conditions.serving, conditions.terminating) == (True, True, False)


@pytest.mark.parametrize(
    ("pod", "service"),
    [
        (build_pod(ip=""), build_service()),
        (build_pod(), build_service(selector={"app": "other"})),
        (build_pod(), build_service(selector={})),
        (build_pod(), build_service(type="ExternalName")),
        (
            msgspec.structs.replace(build_pod(), metadata=ObjectMeta(name="x", namespace="other")),
            build_service(),
        ),
        (builders.pod(metadata={"labels": {"app": "web"}}, status={"phase": "Failed"}), build_service()),
    ],
    ids=["no address", "other labels", "no selector", "external name", "other namespace", "finished"],
)
def test_what_is_no_endpoint(pod: Pod, service: Service) -> None:
    assert compute(service, pod) == []


def test_an_unready_or_ending_pod_gets_no_new_clients() -> None:
    ((unready,), (ending,)) = (
        [each.conditions for each in compute(build_service(), pod, terminating=uids)[0].endpoints]
        for pod, uids in ((build_pod(ready=False), ()), (build_pod(), ("web-1",)))
    )
    assert (unready.ready, unready.serving, unready.terminating) == (False, False, False)
    assert (ending.ready, ending.serving, ending.terminating) == (False, True, True)


def test_a_service_may_publish_what_is_not_ready() -> None:
    (found,) = compute(build_service(publishNotReadyAddresses=True), build_pod(ready=False))
    assert found.endpoints[0].conditions.ready is True


def test_named_ports_that_differ_make_slices_of_their_own() -> None:
    other = build_pod("web-2", "10.244.0.3", containers=[{"name": "main", "image": "x"}])
    found = compute(build_service(), build_pod(), other)
    assert [(each.metadata.name, len(each.ports)) for each in found] == [("web-ipv4-0", 1), ("web-ipv4-1", 0)]


def test_a_pod_that_names_the_service_as_its_subdomain_has_a_hostname() -> None:
    (found,) = compute(build_service(), build_pod(hostname="first", subdomain="web"))
    assert found.endpoints[0].hostname == "first"


def test_both_families_have_slices() -> None:
    found = compute(build_service(), build_pod(), build_pod("web-6", "fd00::2"))
    assert [each.address_type for each in found] == ["IPv4", "IPv6"]


# --- addresses ----------------------------------------------------------------------------------------------


def test_what_the_manifest_says_counts() -> None:
    written = build_service(clusterIP="10.96.0.9", type="NodePort", ports=[{"port": 80, "nodePort": 30001}])
    (found,), chosen = complete_services([written], {}, "10.96.0.0/16", ())
    assert (found.spec.cluster_ip, found.spec.cluster_ips) == ("10.96.0.9", ("10.96.0.9",))
    assert found.spec.ports[0].node_port == 30001
    assert chosen == {}


def test_headless_and_external_services_get_no_address() -> None:
    services = [build_service(clusterIP="None"), build_service("x", type="ExternalName", externalName="a.b")]
    (headless, external), chosen = complete_services(services, {}, "10.96.0.0/16", ())
    assert (headless.spec.cluster_ip, external.spec.cluster_ip, chosen) == ("None", "", {})


def test_addresses_are_chosen_by_name_and_stay_whoever_comes_later() -> None:
    names = [f"web-{number}" for number in range(12)]
    services = [build_service(name, type="NodePort") for name in names]
    one, first = complete_services(services, {}, "10.96.0.0/28", ("10.96.0.10",))
    addresses = [each.spec.cluster_ip for each in one]
    assert len(set(addresses)) == len(names)
    assert "10.96.0.10" not in addresses
    assert len({each.spec.ports[0].node_port for each in one}) == len(names)
    assert complete_services(services[::-1], {}, "10.96.0.0/28", ("10.96.0.10",)) == (one, first)
    more, second = complete_services([build_service("a"), *services], first, "10.96.0.0/28", ("10.96.0.10",))
    assert [each.spec.cluster_ip for each in more[1:]] == addresses
    assert first.items() <= second.items()


def test_without_a_free_address_a_service_has_none() -> None:
    services = [build_service(name) for name in ("a", "b", "c")]
    found, _ = complete_services(services, {}, "10.96.0.0/30", ())
    assert sorted(each.spec.cluster_ip for each in found) == ["", "10.96.0.1", "10.96.0.2"]


def test_a_choice_that_somebody_wrote_down_for_another_is_made_anew() -> None:
    (only,), chosen = complete_services([build_service("a")], {}, "10.96.0.0/16", ())
    written = build_service("b", clusterIP=only.spec.cluster_ip)
    (moved, _), _ = complete_services([build_service("a"), written], chosen, "10.96.0.0/16", ())
    assert moved.spec.cluster_ip not in ("", only.spec.cluster_ip)


def test_choices_survive_the_disk_and_a_torn_file_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert ChoiceFile(tmp_path).read() == {}
    ChoiceFile(tmp_path).write({"a": "b"})
    assert ChoiceFile(tmp_path).read() == {"a": "b"}
    (tmp_path / "checkpoint" / "choices.json").write_text('{"a"')
    with caplog.at_level(logging.WARNING):
        assert ChoiceFile(tmp_path).read() == {}
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("cluster", "pods"),
    [("10.244.0.0/16", "10.244.0.0/24"), ("10.9.0.0/26", "10.9.0.0/26"), ("fd00::/48", "fd00::/64")],
)
def test_pods_get_the_first_network(cluster: str, pods: str) -> None:
    assert choose_pod_cidr(cluster) == pods


# --- objects ------------------------------------------------------------------------------------------------


def build_config_map(color: str = "red") -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name="settings", namespace="default"), data={"color": color})


async def test_local_objects_tell_only_of_changes() -> None:
    objects: LocalObjects[ConfigMap] = LocalObjects()
    seen: list[Change[ConfigMap]] = []
    objects.subscribe(seen.append)
    assert not objects.has_synced
    red, blue = build_config_map("red"), build_config_map("blue")
    for new in ([red], [red], [blue], []):
        objects.replace(new)
    assert objects.has_synced
    assert [(change.old, change.new) for change in seen] == [(None, red), (red, blue), (blue, None)]


async def test_a_handler_that_fails_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    objects: LocalObjects[ConfigMap] = LocalObjects()
    seen: list[object] = []
    objects.subscribe(lambda change: 1 / 0)  # type: ignore[arg-type]
    objects.subscribe(seen.append)
    objects.replace([build_config_map()])
    assert len(seen) == len(caplog.records) == 1


def build_cluster(tmp_path: Path) -> StandaloneCluster:
    return StandaloneCluster(AgentSettings(node_name="n1", root_dir=tmp_path, standalone=True))


async def test_config_is_watched_and_read(tmp_path: Path) -> None:
    cluster = build_cluster(tmp_path)
    key = ObjectKey("default", "settings")
    told: list[str] = []
    watch = cluster.config.watch_object(ConfigMapName(key), lambda: told.append("changed"))
    running = asyncio.create_task(watch.run())
    reading = asyncio.create_task(cluster.config.read_object(ConfigMapName(key)))
    await asyncio.sleep(0)
    assert not watch.is_synced()
    assert not reading.done()
    secret = Secret(metadata=ObjectMeta(name="keys", namespace="default"), data={"key": b"sesame"})
    cluster.note_manifests(
        ManifestObjects(config_maps={key: build_config_map()}, secrets={secret.key: secret})
    )
    assert await reading == watch.current() == {"color": b"red"}
    assert await cluster.config.read_object(SecretName(secret.key)) == {"key": b"sesame"}
    cluster.note_manifests(ManifestObjects())
    assert told == ["changed", "changed"]
    assert watch.current() is None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    cluster.note_manifests(ManifestObjects(config_maps={key: build_config_map()}))
    assert told == ["changed", "changed"]


async def test_the_node_lives_in_memory_with_a_pod_cidr(tmp_path: Path) -> None:
    cluster = build_cluster(tmp_path)
    api = cluster.node_api
    assert await api.read_node("n1") is None
    assert await api.patch_node_status("n1", {}) is None
    await api.create_node({"metadata": {"name": "n1", "labels": {"a": "b"}}, "spec": {}})
    node = await api.patch_node_status("n1", {"allocatable": {"cpu": "2"}})
    assert node == cluster.nodes.get(ObjectKey("", "n1")) == await api.read_node("n1")
    assert node is not None
    assert (node.spec.pod_cidr, node.metadata.labels) == ("10.244.0.0/24", {"a": "b"})
    assert node.status.allocatable == {"cpu": "2"}


class Sink:
    def __init__(self) -> None:
        self.told: list[str] = []

    def set_pod(self, pod: Pod) -> None:
        raise AssertionError("nobody assigns pods to this node")

    def remove_pod(self, uid: PodUID) -> None:
        raise AssertionError("nobody takes pods from this node")

    def keep_only(self, uids: Collection[PodUID], *, static: bool) -> None:
        self.told.append(f"keep {list(uids)} of {'static' if static else 'assigned'}")

    def adopt_orphans(self) -> None:
        self.told.append("orphans")


async def test_pods_of_an_earlier_life_go_once_the_directory_is_known(tmp_path: Path) -> None:
    cluster, sink = build_cluster(tmp_path), Sink()
    feeding = asyncio.create_task(cluster.feed_pods(sink))
    await asyncio.sleep(0)
    assert sink.told == ["keep [] of assigned"]
    cluster.note_manifests(ManifestObjects())
    await feeding
    assert sink.told[1:] == ["orphans"]


def test_events_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        LoggedPodEvents().record(builders.pod(), PodEvent("Pulled", "it is there", "main"))
        LoggedPodEvents().record(builders.pod(), PodEvent("Failed", "it isn't", warning=True))
    assert [(record.levelname, record.reason) for record in caplog.records] == [  # type: ignore[attr-defined]
        ("INFO", "Pulled"),
        ("WARNING", "Failed"),
    ]
