"""Environment variables on real containerd: what the first process of a container really gets."""

from __future__ import annotations

import msgspec

from kubeapi.core import ServicePort
from kubeapi.meta import ObjectKey
from kubeapi.pod import (
    Container,
    EnvFromSource,
    EnvSource,
    EnvVar,
    EnvVarSource,
    KeySelector,
    ObjectFieldSelector,
    Pod,
    ResourceFieldSelector,
    ResourceRequirements,
)
from lab.images import SHELL_IMAGE
from tests import builders
from tests.runtime.pods.conftest import ALLOCATABLE, FOREVER, PodHost, new_pod

SHOW = "tr '\\0' '\\n' < /proc/1/environ; echo end=of-environment"
FIELDS = {
    "NAME": "metadata.name",
    "NAMESPACE": "metadata.namespace",
    "UID": "metadata.uid",
    "LABEL": "metadata.labels['app']",
    "NOTE": "metadata.annotations['example.com/note']",
    "NODE": "spec.nodeName",
    "ACCOUNT": "spec.serviceAccountName",
    "HOST_IP": "status.hostIP",
    "HOST_IPS": "status.hostIPs",
    "POD_IP": "status.podIP",
    "POD_IPS": "status.podIPs",
}


def field(name: str, path: str) -> EnvVar:
    return EnvVar(name=name, value_from=EnvVarSource(field_ref=ObjectFieldSelector(field_path=path)))


def resource(name: str, what: str, divisor: str = "0", container: str = "") -> EnvVar:
    selector = ResourceFieldSelector(resource=what, divisor=divisor, container_name=container)
    return EnvVar(name=name, value_from=EnvVarSource(resource_field_ref=selector))


def key(name: str, kind: str, source: str, entry: str, optional: bool | None = None) -> EnvVar:
    selector = KeySelector(name=source, key=entry, optional=optional)
    if kind == "secret":
        return EnvVar(name=name, value_from=EnvVarSource(secret_key_ref=selector))
    return EnvVar(name=name, value_from=EnvVarSource(config_map_key_ref=selector))


def read_environment(host: PodHost, pod: Pod, container: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in host.read_log(pod, container).splitlines() if "=" in line)


RESOURCES = ResourceRequirements(
    requests={"cpu": "250m", "memory": "64Mi", "ephemeral-storage": "1Gi"},
    limits={"cpu": "1500m", "memory": "100Mi"},
)


def full_pod() -> Pod:
    env = (
        EnvVar(name="FIRST", value="1"),
        EnvVar(name="SECOND", value="$(FIRST)-$(CONF_color)-$(WEB_SERVICE_PORT)-$(LATER)-$$(FIRST)"),
        EnvVar(name="LATER", value="later"),
        EnvVar(name="CONF_shape", value="own"),
        key("TOKEN", "secret", "keys", "token"),
        key("SHADE", "configmap", "conf", "color"),
        key("NO_KEY", "configmap", "conf", "absent", optional=True),
        key("NO_MAP", "configmap", "absent", "color", optional=True),
        *(field(name, path) for name, path in FIELDS.items()),
        resource("CPU", "limits.cpu"),
        resource("CPU_MILLIS", "requests.cpu", "1m"),
        resource("MEMORY_MIB", "limits.memory", "1Mi"),
        resource("DISK", "requests.ephemeral-storage", "1Mi"),
        resource("NODE_DISK", "limits.ephemeral-storage"),
        resource("NEIGHBOUR_CPU", "limits.cpu", container="free"),
    )
    main = Container(
        name="main",
        image=SHELL_IMAGE,
        command=("sh", "-c", f"echo args=$*; {SHOW}; {FOREVER}"),
        args=("sh", "$(FIRST)", "$$(FIRST)", "$(UNKNOWN)"),
        env_from=(
            EnvFromSource(prefix="CONF_", config_map_ref=EnvSource(name="conf")),
            EnvFromSource(secret_ref=EnvSource(name="keys")),
            EnvFromSource(config_map_ref=EnvSource(name="absent", optional=True)),
        ),
        env=env,
        resources=RESOURCES,
    )
    free = Container(
        name="free",
        image=SHELL_IMAGE,
        command=("sh", "-c", f"{SHOW}; {FOREVER}"),
        env=(resource("CPU", "limits.cpu"), resource("MEMORY", "limits.memory", "1Gi")),
    )
    pod = new_pod(containers=(main, free), service_account_name="robot")
    metadata = msgspec.structs.replace(pod.metadata, annotations={"example.com/note": "two words"})
    return msgspec.structs.replace(pod, metadata=metadata)


async def test_variables_come_from_everywhere_and_are_expanded(host: PodHost) -> None:
    host.config.config_maps[ObjectKey("default", "conf")] = {
        "color": b"blue",
        "shape": b"round",
        "dotted.name": b"kept",
        "picture": b"\xff\xd8",
    }
    host.config.secrets[ObjectKey("default", "keys")] = {"token": b"s3cret"}
    pod = full_pod()
    uid = host.create(pod)
    await host.wait(lambda: host.is_ready(uid))
    names = ("main", "free")
    await host.wait(lambda: all("end=of" in host.read_log(pod, name) for name in names))
    found, free = (read_environment(host, pod, name) for name in names)
    assert found["args"] == "1 $(FIRST) $(UNKNOWN)"
    assert found["SECOND"] == "1-blue-80-$(LATER)-$(FIRST)"
    assert (found["CONF_color"], found["CONF_shape"], found["CONF_dotted.name"]) == ("blue", "own", "kept")
    assert (found["TOKEN"], found["token"], found["SHADE"]) == ("s3cret", "s3cret", "blue")
    assert found.keys().isdisjoint({"NO_KEY", "NO_MAP", "CONF_picture"})
    ip, host_ip = host.status(uid).pod_ip, str(host.node.ip)
    assert {name: found[name] for name in FIELDS} == {
        "NAME": "web",
        "NAMESPACE": "default",
        "UID": uid,
        "LABEL": "web",
        "NOTE": "two words",
        "NODE": "node-1",
        "ACCOUNT": "robot",
        "HOST_IP": host_ip,
        "HOST_IPS": host_ip,
        "POD_IP": ip,
        "POD_IPS": ip,
    }
    assert (found["CPU"], found["CPU_MILLIS"], found["MEMORY_MIB"]) == ("2", "250", "100")
    assert (found["DISK"], found["NODE_DISK"]) == ("1024", str(9 << 30))
    assert (found["NEIGHBOUR_CPU"], free["CPU"], free["MEMORY"]) == (ALLOCATABLE["cpu"], "7", "3")
    assert free["WEB_SERVICE_HOST"] == "10.96.0.10"
    assert free["WEB_PORT_80_TCP_PROTO"] == "tcp"


async def test_without_service_links_only_the_api_server_is_named(host: PodHost) -> None:
    port = ServicePort(name="https", port=443)
    spec = {"cluster_ip": "10.96.0.1", "ports": (port,)}
    host.services = (builders.service(), builders.service("kubernetes", "default", spec=spec))
    pod = new_pod(SHOW, FOREVER, enable_service_links=False)
    uid = host.create(pod)
    await host.wait(lambda: host.is_ready(uid) and "end=of" in host.read_log(pod))
    found = read_environment(host, pod, "main")
    assert found["KUBERNETES_SERVICE_PORT_HTTPS"] == "443"
    assert "WEB_SERVICE_HOST" not in found


async def test_a_container_waits_for_what_its_variables_name_and_says_so(host: PodHost) -> None:
    def container(name: str, variable: EnvVar) -> Container:
        return Container(name=name, image=SHELL_IMAGE, command=("sh", "-c", FOREVER), env=(variable,))

    host.config.config_maps[ObjectKey("default", "conf")] = {"color": b"blue"}
    pod = new_pod(
        containers=(
            container("map", key("X", "configmap", "later", "a")),
            container("secret", key("X", "secret", "absent", "a")),
            container("key", key("X", "configmap", "conf", "absent")),
        )
    )
    uid = host.create(pod)

    def messages() -> dict[str, str]:
        statuses = host.status(uid).container_statuses
        waiting = {each.name: each.state.waiting for each in statuses if each.state.waiting is not None}
        return {
            name: state.message
            for name, state in waiting.items()
            if state is not None and state.reason == "CreateContainerConfigError"
        }

    expected = {
        "map": 'configmap "later" not found',
        "secret": 'secret "absent" not found',
        "key": "couldn't find key absent in ConfigMap default/conf",
    }
    await host.wait(lambda: messages() == expected)
    told = {event.message for event in host.events.events if event.reason == "Failed"}
    assert told == {f"Error: {message}" for message in expected.values()}
    host.config.config_maps[ObjectKey("default", "later")] = {"a": b"1"}
    host.lanes.note_config(uid)
    await host.wait(lambda: any(each.state.running for each in host.status(uid).container_statuses))
    assert messages().keys() == {"secret", "key"}
