"""How large an emptyDir in memory may grow: the least of what bounds it."""

from __future__ import annotations

import pytest

from agent.volumes.empty_dir import compute_memory_size
from kubeapi.pod import Container, ResourceRequirements
from tests.builders import pod

_MEBI = 1 << 20


def _container(name: str, limit: str = "") -> Container:
    return Container(name=name, resources=ResourceRequirements(limits={"memory": limit} if limit else {}))


@pytest.mark.parametrize(
    ("size_limit", "limits", "allocatable", "expected"),
    [
        (None, ("",), {}, None),
        (None, ("",), {"memory": "512Mi"}, 512),
        ("64Mi", ("",), {"memory": "512Mi"}, 64),
        ("1Gi", ("",), {"memory": "512Mi"}, 512),
        ("1Gi", ("32Mi", "96Mi"), {"memory": "512Mi"}, 128),
        ("16Mi", ("32Mi", "96Mi"), {"memory": "512Mi"}, 16),
        ("1Gi", ("32Mi", ""), {"memory": "512Mi"}, 512),  # a container without a limit: the pod has none
        ("0", ("",), {"memory": "512Mi"}, 512),
    ],
)
def test_the_least_bound_counts(
    size_limit: str | None, limits: tuple[str, ...], allocatable: dict[str, str], expected: int | None
) -> None:
    containers = tuple(_container(f"c{index}", limit) for index, limit in enumerate(limits))
    found = compute_memory_size(pod(spec={"containers": containers}), size_limit, allocatable)
    assert found == (None if expected is None else expected * _MEBI)
