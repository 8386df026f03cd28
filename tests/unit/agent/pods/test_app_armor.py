"""Which AppArmor profile counts."""

from __future__ import annotations

import pytest

from agent.pods.security.app_armor import asks_for_app_armor, choose_app_armor
from kubeapi.pod import Pod, PodSecurityContext, SecurityContext, SecurityProfile
from tests import builders

DEFAULT, UNCONFINED = SecurityProfile(type="RuntimeDefault"), SecurityProfile(type="Unconfined")
LOCAL = SecurityProfile(type="Localhost", localhost_profile="deny-write")
ANNOTATION = "container.apparmor.security.beta.kubernetes.io/web"


def build(
    own: SecurityProfile | None = None, annotation: str = "", shared: SecurityProfile | None = None
) -> Pod:
    container = builders.container("web", security_context=SecurityContext(app_armor_profile=own))
    return builders.pod(
        metadata={"annotations": {ANNOTATION: annotation} if annotation else {}},
        spec={
            "containers": (container,),
            "security_context": PodSecurityContext(app_armor_profile=shared),
        },
    )


@pytest.mark.parametrize(
    ("pod", "profile", "asks"),
    [
        (build(), None, False),
        (build(shared=DEFAULT), DEFAULT, True),
        (build(annotation="localhost/deny-write", shared=DEFAULT), LOCAL, True),
        (build(annotation="runtime/default"), DEFAULT, True),
        (build(annotation="unconfined"), UNCONFINED, False),
        (build(annotation="nonsense"), None, False),
        (build(own=UNCONFINED, annotation="runtime/default"), UNCONFINED, False),
    ],
)
def test_the_nearest_setting_counts(pod: Pod, profile: SecurityProfile | None, asks: bool) -> None:
    assert choose_app_armor(pod, pod.spec.containers[0]) == profile
    assert asks_for_app_armor(pod) == asks
