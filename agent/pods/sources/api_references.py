"""Which kinds of API objects a pod refers to: a static pod may not, because nobody could give it those.

Pure. Called by `static_pods`. Follows the "Create static Pods" page, and what the kubelet refuses by it;
kinds are spelled as the API's plurals.
"""

from __future__ import annotations

from collections.abc import Iterator

from kubeapi.pod import Container, Pod
from kubeapi.volume import Volume


def list_api_references(pod: Pod) -> frozenset[str]:
    """The plurals of the kinds, optional references too."""
    spec = pod.spec
    found = {kind for volume in spec.volumes for kind in _named_by_volume(volume)}
    for container in (*spec.init_containers, *spec.containers, *spec.ephemeral_containers):
        found.update(_named_by_environment(container))
    if spec.image_pull_secrets:
        found.add("secrets")
    if spec.service_account_name:
        found.add("serviceaccounts")
    return frozenset(found)


def _named_by_volume(volume: Volume) -> Iterator[str]:
    if volume.config_map is not None:
        yield "configmaps"
    if volume.secret is not None:
        yield "secrets"
    if volume.persistent_volume_claim is not None:
        yield "persistentvolumeclaims"
    for source in volume.projected.sources if volume.projected is not None else ():
        if source.config_map is not None:
            yield "configmaps"
        if source.secret is not None:
            yield "secrets"
        if source.service_account_token is not None:
            yield "serviceaccounts"


def _named_by_environment(container: Container) -> Iterator[str]:
    for source in container.env_from:
        if source.config_map_ref is not None:
            yield "configmaps"
        if source.secret_ref is not None:
            yield "secrets"
    for variable in container.env:
        value_from = variable.value_from
        if value_from is not None and value_from.config_map_key_ref is not None:
            yield "configmaps"
        if value_from is not None and value_from.secret_key_ref is not None:
            yield "secrets"
