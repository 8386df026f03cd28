"""The environment variables of a container, and the `$(VAR)` texts that use them.

Pure. Called by `execute` before CreateContainer, with the ConfigMaps and Secrets that `list_references`
named. Follows the "Define Environment Variables" and "Downward API" pages; service variables follow the
Service page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from agent.pods.config.service_environment import compute_service_environment
from agent.pods.ports import Unavailable
from agent.volumes.downward import FieldRefused, compute_field, compute_resource
from kubeapi.core import Service
from kubeapi.meta import ObjectKey, QuantityText
from kubeapi.pod import Container, EnvFromSource, EnvVar, EnvVarSource, KeySelector, Pod
from kubeapi.volume import ResourceFieldRef

CONFIG_ERROR: Final = "CreateContainerConfigError"
_REFERENCE: Final = re.compile(r"\$(?:\$|\(([^()]*)\))")

Contents = Mapping[ObjectKey, Mapping[str, bytes] | None]


@dataclass(frozen=True, slots=True)
class EnvironmentFacts:
    """What variables may refer to; `config_maps` and `secrets` hold None for what doesn't exist."""

    pod_ips: tuple[str, ...]
    host_ips: tuple[str, ...]
    services: tuple[Service, ...]
    config_maps: Contents
    secrets: Contents
    allocatable: Mapping[str, QuantityText]

    def __repr__(self) -> str:
        return f"EnvironmentFacts({len(self.config_maps)} ConfigMaps, {len(self.secrets)} Secrets)"


@dataclass(frozen=True, slots=True)
class ConfigReferences:
    config_maps: frozenset[ObjectKey]
    secrets: frozenset[ObjectKey]


def list_references(pod: Pod, container: Container) -> ConfigReferences:
    """The ConfigMaps and Secrets that the container's variables name."""
    config_maps: set[str] = set()
    secrets: set[str] = set()
    for source in container.env_from:
        if source.config_map_ref is not None:
            config_maps.add(source.config_map_ref.name)
        if source.secret_ref is not None:
            secrets.add(source.secret_ref.name)
    for value_from in (variable.value_from for variable in container.env):
        if value_from is not None and value_from.config_map_key_ref is not None:
            config_maps.add(value_from.config_map_key_ref.name)
        if value_from is not None and value_from.secret_key_ref is not None:
            secrets.add(value_from.secret_key_ref.name)
    namespace = pod.metadata.namespace
    return ConfigReferences(
        frozenset(ObjectKey(namespace, name) for name in config_maps),
        frozenset(ObjectKey(namespace, name) for name in secrets),
    )


def compute_environment(pod: Pod, container: Container, facts: EnvironmentFacts) -> Mapping[str, str]:
    """All variables in order of definition; raises Unavailable for what is missing and not optional."""
    services = compute_service_environment(pod, facts.services)
    own: dict[str, str] = {}
    for source in container.env_from:
        own.update(_read_source(pod, source, facts))
    for variable in container.env:
        value = _compute_variable(pod, container, variable, {**services, **own}, facts)
        if value is not None:
            own[variable.name] = value
    return {**services, **own}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where NAME is known and left where it isn't; `$$` is a dollar sign."""

    def replace(found: re.Match[str]) -> str:
        name = found[1]
        if name is None:
            return "$"
        return variables.get(name, found[0])

    return _REFERENCE.sub(replace, text)


def list_unknown_names(text: str, variables: Mapping[str, str]) -> tuple[str, ...]:
    """The names that `expand` would leave as they are, each once."""
    names = (found[1] for found in _REFERENCE.finditer(text))
    return tuple(dict.fromkeys(name for name in names if name is not None and name not in variables))


def _read_source(pod: Pod, source: EnvFromSource, facts: EnvironmentFacts) -> Iterator[tuple[str, str]]:
    for reference, kind, contents in (
        (source.config_map_ref, "configmap", facts.config_maps),
        (source.secret_ref, "secret", facts.secrets),
    ):
        if reference is None:
            continue
        data = contents.get(ObjectKey(pod.metadata.namespace, reference.name))
        if data is None:
            if reference.optional:
                continue
            raise Unavailable(CONFIG_ERROR, f'{kind} "{reference.name}" not found')
        for key, value in data.items():
            if kind == "secret" or _is_text(value):  # binaryData is for volumes
                yield source.prefix + key, _decode(value, kind, reference.name, key)


def _compute_variable(
    pod: Pod, container: Container, variable: EnvVar, known: Mapping[str, str], facts: EnvironmentFacts
) -> str | None:
    """None for an optional source that is missing: the variable isn't set at all."""
    source = variable.value_from
    if source is None:
        return expand(variable.value, known)
    if source.config_map_key_ref is not None:
        return _read_key(pod, source.config_map_key_ref, "configmap", "ConfigMap", facts.config_maps)
    if source.secret_key_ref is not None:
        return _read_key(pod, source.secret_key_ref, "secret", "Secret", facts.secrets)
    return _compute_own_field(pod, container, variable.name, source, facts)


def _read_key(pod: Pod, reference: KeySelector, lower_kind: str, kind: str, contents: Contents) -> str | None:
    key = ObjectKey(pod.metadata.namespace, reference.name)
    data = contents.get(key)
    if (
        data is not None
        and reference.key in data
        and (lower_kind == "secret" or _is_text(data[reference.key]))
    ):
        return _decode(data[reference.key], lower_kind, reference.name, reference.key)
    if reference.optional:
        return None
    if data is None:
        raise Unavailable(CONFIG_ERROR, f'{lower_kind} "{reference.name}" not found')
    raise Unavailable(CONFIG_ERROR, f"couldn't find key {reference.key} in {kind} {key}")


def _is_text(value: bytes) -> bool:
    """Whether an environment can hold it."""
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _decode(value: bytes, kind: str, name: str, key: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        message = f'key {key} of {kind} "{name}" is no UTF-8 text and can\'t be an environment variable'
        raise Unavailable(CONFIG_ERROR, message) from error


def _compute_own_field(
    pod: Pod, container: Container, name: str, source: EnvVarSource, facts: EnvironmentFacts
) -> str:
    if source.field_ref is not None:
        value = _compute_status_field(pod, source.field_ref.field_path, facts)
        found = compute_field(pod, source.field_ref.field_path) if value is None else value
    elif source.resource_field_ref is not None:
        reference = source.resource_field_ref
        found = compute_resource(
            pod,
            ResourceFieldRef(
                container_name=reference.container_name or container.name,
                resource=reference.resource,
                divisor=reference.divisor,
            ),
            facts.allocatable,
        )
    else:
        found = FieldRefused("valueFrom names no source this agent knows")
    if isinstance(found, FieldRefused):
        raise Unavailable(CONFIG_ERROR, f"environment variable {name}: {found.message}")
    return found


def _compute_status_field(pod: Pod, path: str, facts: EnvironmentFacts) -> str | None:
    match path:
        case "spec.nodeName":
            return pod.spec.node_name
        case "spec.serviceAccountName":
            return pod.spec.service_account_name
        case "status.podIP":
            return next(iter(facts.pod_ips), "")
        case "status.podIPs":
            return ",".join(facts.pod_ips)
        case "status.hostIP":
            return next(iter(facts.host_ips), "")
        case "status.hostIPs":
            return ",".join(facts.host_ips)
        case _:
            return None


def expand_all(texts: Iterable[str], variables: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(expand(text, variables) for text in texts)
