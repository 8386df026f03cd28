"""Environment variables and the texts that use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.pods.config.environment import EnvironmentFacts, compute_environment, expand, list_references
from agent.pods.ports import Unavailable
from kubeapi.core import ServicePort
from kubeapi.meta import ObjectKey
from kubeapi.pod import (
    EnvFromSource,
    EnvSource,
    EnvVar,
    EnvVarSource,
    KeySelector,
    ObjectFieldSelector,
    ResourceFieldSelector,
    ResourceRequirements,
)
from tests import builders

FACTS = EnvironmentFacts(
    pod_ips=("10.1.0.1", "fd00::1"),
    host_ips=("192.168.0.1",),
    services=(),
    config_maps={ObjectKey("default", "conf"): {"a": b"1", "b": b"2"}},
    secrets={ObjectKey("default", "keys"): {"token": b"s3cret", "raw": b"\xff"}},
    allocatable={"cpu": "4", "memory": "8Gi"},
)


def compute(facts: EnvironmentFacts = FACTS, **container: Any) -> Mapping[str, str]:
    pod = builders.pod(metadata={"labels": {"app": "web"}, "annotations": {"note": "x"}})
    return compute_environment(pod, builders.container("web", **container), facts)


def from_key(kind: str, name: str, key: str, optional: bool | None = None) -> EnvVarSource:
    selector = KeySelector(name=name, key=key, optional=optional)
    if kind == "secret":
        return EnvVarSource(secret_key_ref=selector)
    return EnvVarSource(config_map_key_ref=selector)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$$(A)", "$(A)"),
        ("$(MISSING)", "$(MISSING)"),
        ("$A", "$A"),
        ("$(A", "$(A"),
        ("$$$(A)", "$1"),
        ("", ""),
    ],
)
def test_references_expand_where_they_are_known(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expanded


def test_a_variable_sees_those_before_it() -> None:
    env = (
        EnvVar(name="ONE", value="$(TWO)"),
        EnvVar(name="TWO", value="2"),
        EnvVar(name="THREE", value="$(TWO)"),
    )
    assert compute(env=env) == {"ONE": "$(TWO)", "TWO": "2", "THREE": "2"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web-1"),
        ("metadata.namespace", "default"),
        ("metadata.uid", "uid-web-1"),
        ("metadata.labels['app']", "web"),
        ("metadata.annotations['note']", "x"),
        ("spec.nodeName", "node-1"),
        ("spec.serviceAccountName", ""),
        ("status.podIP", "10.1.0.1"),
        ("status.podIPs", "10.1.0.1,fd00::1"),
        ("status.hostIP", "192.168.0.1"),
        ("status.hostIPs", "192.168.0.1"),
    ],
)
def test_fields_of_the_pod(path: str, value: str) -> None:
    source = EnvVarSource(field_ref=ObjectFieldSelector(field_path=path))
    assert compute(env=(EnvVar(name="X", value_from=source),)) == {"X": value}


def test_an_unknown_field_is_a_configuration_error() -> None:
    source = EnvVarSource(field_ref=ObjectFieldSelector(field_path="spec.secretSauce"))
    with pytest.raises(Unavailable, match="CreateContainerConfigError: environment variable X"):
        compute(env=(EnvVar(name="X", value_from=source),))


def test_resources_are_the_containers_or_the_nodes() -> None:
    def variable(name: str, resource: str, divisor: str = "0") -> EnvVar:
        selector = ResourceFieldSelector(resource=resource, divisor=divisor)
        return EnvVar(name=name, value_from=EnvVarSource(resource_field_ref=selector))

    env = (
        variable("CPU", "requests.cpu", "1m"),
        variable("MEMORY", "requests.memory", "1Mi"),
        variable("LIMIT", "limits.cpu"),
    )
    assert compute(env=env) == {"CPU": "100", "MEMORY": "64", "LIMIT": "4"}


def test_keys_of_config_maps_and_secrets() -> None:
    env = (
        EnvVar(name="A", value_from=from_key("configmap", "conf", "a")),
        EnvVar(name="T", value_from=from_key("secret", "keys", "token")),
    )
    assert compute(env=env) == {"A": "1", "T": "s3cret"}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (from_key("configmap", "none", "a"), 'configmap "none" not found'),
        (from_key("secret", "none", "a"), 'secret "none" not found'),
        (from_key("configmap", "conf", "z"), "couldn't find key z in ConfigMap default/conf"),
        (from_key("secret", "keys", "z"), "couldn't find key z in Secret default/keys"),
        (from_key("secret", "keys", "raw"), 'key raw of secret "keys" is no UTF-8 text'),
    ],
)
def test_what_is_missing_is_named(source: EnvVarSource, message: str) -> None:
    with pytest.raises(Unavailable) as raised:
        compute(env=(EnvVar(name="X", value_from=source),))
    assert raised.value.reason == "CreateContainerConfigError"
    assert raised.value.message.startswith(message)


def test_what_is_optional_may_be_missing() -> None:
    env = (EnvVar(name="X", value_from=from_key("secret", "none", "a", optional=True)),)
    sources = (EnvFromSource(config_map_ref=EnvSource(name="none", optional=True)),)
    assert compute(env=env, env_from=sources) == {}


def test_whole_sources_come_with_a_prefix_and_yield_to_single_variables() -> None:
    sources = (EnvFromSource(prefix="P_", config_map_ref=EnvSource(name="conf")),)
    assert compute(env_from=sources, env=(EnvVar(name="P_a", value="own"),)) == {"P_a": "own", "P_b": "2"}


def test_a_missing_source_is_named() -> None:
    with pytest.raises(Unavailable, match='secret "none" not found'):
        compute(env_from=(EnvFromSource(secret_ref=EnvSource(name="none")),))


def test_services_are_found_by_variables() -> None:
    service = builders.service(spec={"ports": (ServicePort(name="http", port=80),)})
    found = compute(replace(FACTS, services=(service,)))
    assert found == {
        "WEB_SERVICE_HOST": "10.96.0.10",
        "WEB_SERVICE_PORT": "80",
        "WEB_SERVICE_PORT_HTTP": "80",
        "WEB_PORT": "tcp://10.96.0.10:80",
        "WEB_PORT_80_TCP": "tcp://10.96.0.10:80",
        "WEB_PORT_80_TCP_PROTO": "tcp",
        "WEB_PORT_80_TCP_PORT": "80",
        "WEB_PORT_80_TCP_ADDR": "10.96.0.10",
    }


def test_only_services_of_the_namespace_with_an_address_count_and_the_api_server() -> None:
    services = (
        builders.service("headless", spec={"cluster_ip": "None"}),
        builders.service("elsewhere", "other"),
        builders.service("kubernetes", "default", spec={"cluster_ip": "10.96.0.1"}),
    )
    pod = builders.pod(namespace="mine", spec={"enable_service_links": False})
    found = compute_environment(pod, builders.container(), replace(FACTS, services=services))
    assert found["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert all(name.startswith("KUBERNETES_") for name in found)


def test_a_variable_sees_those_of_whole_sources_too() -> None:
    sources = (EnvFromSource(prefix="P_", config_map_ref=EnvSource(name="conf")),)
    found = compute(env_from=sources, env=(EnvVar(name="X", value="$(P_a)$(P_b)"),))
    assert found["X"] == "12"


def test_binary_data_is_not_for_variables() -> None:
    key = ObjectKey("default", "pictures")
    facts = replace(FACTS, config_maps={key: {"jpeg": b"\xff\xd8", "size": b"2"}})
    sources = (EnvFromSource(config_map_ref=EnvSource(name="pictures")),)
    assert compute(facts, env_from=sources) == {"size": "2"}
    with pytest.raises(Unavailable, match="couldn't find key jpeg in ConfigMap default/pictures"):
        compute(facts, env=(EnvVar(name="X", value_from=from_key("configmap", "pictures", "jpeg")),))


def test_a_service_of_the_pods_own_namespace_counts_before_the_api_servers() -> None:
    services = (
        builders.service("kubernetes", "default", spec={"cluster_ip": "10.96.0.1"}),
        builders.service("kubernetes", "a", spec={"cluster_ip": "10.96.0.9"}),
    )
    pod = builders.pod(namespace="a")
    found = compute_environment(pod, builders.container(), replace(FACTS, services=services))
    assert found["KUBERNETES_SERVICE_HOST"] == "10.96.0.9"


def test_no_limit_is_the_nodes_and_no_request_the_limit() -> None:
    def variable(name: str, resource: str) -> EnvVar:
        return EnvVar(
            name=name, value_from=EnvVarSource(resource_field_ref=ResourceFieldSelector(resource=resource))
        )

    env = (variable("LIMIT", "limits.cpu"), variable("REQUEST", "requests.memory"))
    resources = ResourceRequirements(limits={"cpu": "0", "memory": "5"})
    container = builders.container("web", env=env, resources=resources)
    pod = builders.pod(spec={"containers": (container,)})
    assert compute_environment(pod, container, FACTS) == {"LIMIT": "4", "REQUEST": "5"}


def test_the_references_of_a_container_are_listed() -> None:
    container = builders.container(
        env=(EnvVar(name="T", value_from=from_key("secret", "keys", "token")),),
        env_from=(EnvFromSource(config_map_ref=EnvSource(name="conf")),),
    )
    references = list_references(builders.pod(), container)
    assert references.secrets == {ObjectKey("default", "keys")}
    assert references.config_maps == {ObjectKey("default", "conf")}


def test_facts_never_show_a_secret() -> None:
    assert "s3cret" not in repr(FACTS)
