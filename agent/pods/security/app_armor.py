"""Which AppArmor profile a container is to run under.

Pure. Called by `security` and by the admission. Follows the "Restrict a Container's Access to Resources with
AppArmor" page: the container's field, the annotation from before there were fields, then the pod's field.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kubeapi.pod import Container, Pod, SecurityProfile

_ANNOTATION: Final = "container.apparmor.security.beta.kubernetes.io/"
_LOCALHOST: Final = "localhost/"


def choose_app_armor(pod: Pod, container: Container) -> SecurityProfile | None:
    """None: nothing is said, and the runtime does what it does by default."""
    own, shared = container.security_context, pod.spec.security_context
    if own is not None and own.app_armor_profile is not None:
        return own.app_armor_profile
    annotated = parse_app_armor(pod.metadata.annotations.get(f"{_ANNOTATION}{container.name}", ""))
    if annotated is not None:
        return annotated
    return shared.app_armor_profile if shared is not None else None


def parse_app_armor(text: str) -> SecurityProfile | None:
    """The value of the annotation; None for none, and for one that isn't known."""
    if text == "runtime/default":
        return SecurityProfile(type="RuntimeDefault")
    if text == "unconfined":
        return SecurityProfile(type="Unconfined")
    if text.startswith(_LOCALHOST):
        return SecurityProfile(type="Localhost", localhost_profile=text.removeprefix(_LOCALHOST))
    return None


def asks_for_app_armor(pod: Pod) -> bool:
    """Whether some container is to be confined, so that a kernel without AppArmor can't run the pod."""
    return any(profile is not None and profile.type != "Unconfined" for profile in _list_profiles(pod))


def _list_profiles(pod: Pod) -> Iterator[SecurityProfile | None]:
    spec = pod.spec
    if spec.security_context is not None:
        yield spec.security_context.app_armor_profile
    for container in (*spec.init_containers, *spec.containers, *spec.ephemeral_containers):
        yield choose_app_armor(pod, container)
