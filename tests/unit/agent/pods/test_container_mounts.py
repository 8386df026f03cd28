"""volumeMounts as CRI mounts: one changed fact at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.pods.config.container_config import ContainerMount
from agent.pods.config.container_mounts import asks_for_recursion, build_mounts, list_sub_paths, plan_mounts
from agent.pods.ports import HostVolume, Unavailable
from kubeapi.pod import Container, SecurityContext, VolumeMount
from tests.builders import container

DATA = Path("/root/data")
TARGET = Path("/root/volume-subpaths/web/0")
VOLUMES = {
    "data": HostVolume(DATA),
    "secret": HostVolume(DATA, read_only=True),
    "picture": HostVolume(Path("/"), read_only=True, image="sha256:abc"),
}


def _mounts(
    *, has_recursion: bool = False, security: SecurityContext | None = None, **mount: Any
) -> tuple[ContainerMount, ...]:
    subject = _container(security, **mount)
    planned = plan_mounts(subject, VOLUMES, {"WHO": "me"}, has_recursion)
    return tuple(build_mounts(planned, tuple(TARGET for _ in list_sub_paths(planned))))


def _container(security: SecurityContext | None = None, **mount: Any) -> Container:
    return container(
        volume_mounts=(VolumeMount(**{"name": "data", "mount_path": "/v", **mount}),),
        security_context=security,
    )


def _refused(**mount: Any) -> str:
    with pytest.raises(Unavailable) as caught:
        _mounts(**mount)
    assert caught.value.reason == "CreateContainerConfigError"
    return caught.value.message


def test_a_volume_is_mounted_as_it_is() -> None:
    assert _mounts() == (ContainerMount("/v", DATA),)
    assert _mounts(name="secret") == (ContainerMount("/v", DATA, read_only=True),)
    assert _mounts(mount_propagation="HostToContainer") == (
        ContainerMount("/v", DATA, propagation="HostToContainer"),
    )


def test_a_part_of_a_volume_is_mounted_from_where_it_was_bound() -> None:
    planned = plan_mounts(_container(sub_path_expr="logs/$(WHO)"), VOLUMES, {"WHO": "me"}, False)
    assert list_sub_paths(planned) == ((DATA, "logs/me"),)
    assert _mounts(sub_path="a") == (ContainerMount("/v", TARGET),)
    assert _mounts(sub_path=".") == (ContainerMount("/v", DATA),)


def test_a_part_of_an_image_is_the_runtimes_to_find() -> None:
    (mount,) = _mounts(name="picture", sub_path="bin")
    assert (mount.image, mount.image_sub_path, mount.read_only) == ("sha256:abc", "bin", True)


def test_what_an_expression_lacks_is_named() -> None:
    assert _refused(sub_path_expr="$(NOBODY)/$(WHO)") == "missing value for 'NOBODY' in subPathExpr of data"
    assert "must not contain '..'" in _refused(sub_path_expr="$(WHO)/../..")
    assert "absolute" in _refused(sub_path="/etc")


def test_an_unknown_volume_is_named() -> None:
    assert _refused(name="absent") == "the pod has no volume absent, which /v mounts"


def test_only_privileged_containers_give_mounts_to_the_host() -> None:
    assert "privileged" in _refused(mount_propagation="Bidirectional")
    (mount,) = _mounts(mount_propagation="Bidirectional", security=SecurityContext(privileged=True))
    assert mount.propagation == "Bidirectional"


@pytest.mark.parametrize(
    ("mode", "has_recursion", "expected"),
    [
        (None, True, False),
        ("Disabled", True, False),
        ("IfPossible", True, True),
        ("IfPossible", False, False),
        ("Enabled", True, True),
    ],
)
def test_recursion_is_asked_for_where_the_runtime_has_it(
    mode: str | None, has_recursion: bool, expected: bool
) -> None:
    (mount,) = _mounts(read_only=True, recursive_read_only=mode, has_recursion=has_recursion)
    assert mount.recursive_read_only == expected


def test_recursion_has_its_conditions() -> None:
    asked = 'volume "data" requested recursive read-only mode, but it is '
    assert _refused(recursive_read_only="Enabled", has_recursion=True) == asked + "not read-only"
    assert _refused(recursive_read_only="Enabled", read_only=True) == asked + "not supported by the runtime"
    assert "not compatible with propagation" in _refused(
        recursive_read_only="IfPossible", read_only=True, mount_propagation="HostToContainer"
    )
    assert "unknown recursive read-only mode" in _refused(recursive_read_only="Always", read_only=True)


def test_the_runtime_is_asked_only_when_it_matters() -> None:
    assert not asks_for_recursion(_container(recursive_read_only="Disabled"))
    assert asks_for_recursion(_container(recursive_read_only="IfPossible"))
