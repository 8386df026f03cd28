"""What every namespace has from the start: the ServiceAccount `default`, and the cluster's CA for its pods.

Pure. Called by `controlplane.controllers.namespace_defaults.observe`. Follows the "Managing Service
Accounts" page and the kube-root-ca.crt ConfigMap's description in the Kubernetes documentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from controlplane.controllers.actions import Action, Create, MergePatch, Plan
from kubeapi.core import ConfigMap, Namespace
from kubeapi.meta import ObjectKey
from kubeapi.resources import CONFIG_MAPS, SERVICE_ACCOUNTS

SERVICE_ACCOUNT_NAME: Final = "default"
ROOT_CA_NAME: Final = "kube-root-ca.crt"
_ROOT_CA_KEY: Final = "ca.crt"
_DESCRIPTION: Final = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such "
    "as the internal service IP or kubernetes.default.svc."
)


@dataclass(frozen=True, slots=True)
class ObservedDefaults:
    namespace: Namespace
    has_service_account: bool
    root_ca_config_map: ConfigMap | None


def plan_namespace_defaults(observed: ObservedDefaults, root_ca: str) -> Plan:
    """`root_ca` is PEM; empty means that none is published."""
    namespace = observed.namespace
    if namespace.metadata.deletion_timestamp is not None or namespace.status.phase == "Terminating":
        return Plan()
    actions: tuple[Action, ...] = ()
    if not observed.has_service_account:
        actions = (_build_service_account(namespace.metadata.name),)
    if root_ca:
        actions = (*actions, *_plan_root_ca(namespace.metadata.name, observed.root_ca_config_map, root_ca))
    return Plan(actions)


def _build_service_account(namespace: str) -> Create:
    metadata = {"name": SERVICE_ACCOUNT_NAME, "namespace": namespace}
    body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    return Create(SERVICE_ACCOUNTS, ObjectKey(namespace, SERVICE_ACCOUNT_NAME), body)


def _plan_root_ca(namespace: str, current: ConfigMap | None, root_ca: str) -> tuple[Action, ...]:
    key = ObjectKey(namespace, ROOT_CA_NAME)
    data = {_ROOT_CA_KEY: root_ca}
    if current is None:
        metadata = {
            "name": ROOT_CA_NAME,
            "namespace": namespace,
            "annotations": {"kubernetes.io/description": _DESCRIPTION},
        }
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
        return (Create(CONFIG_MAPS, key, body),)
    if dict(current.data) == data:
        return ()
    dropped = {name: None for name in current.data if name != _ROOT_CA_KEY}
    return (MergePatch(CONFIG_MAPS, key, {"data": {**dropped, **data}}),)
