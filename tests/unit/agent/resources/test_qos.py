"""QoS classes and the numbers that follow from requests and limits."""

from __future__ import annotations

import pytest

from agent.resources.qos import (
    QOSClass,
    compute_cpu_quota,
    compute_cpu_shares,
    compute_oom_score_adj,
    compute_qos_class,
)
from kubeapi.pod import PodSpec, ResourceRequirements
from tests.builders import container, pod

_FULL = {"cpu": "1", "memory": "1Gi"}


def _spec(*resources: ResourceRequirements) -> PodSpec:
    return PodSpec(
        containers=tuple(container(f"c{index}", resources=each) for index, each in enumerate(resources))
    )


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ((ResourceRequirements(),), QOSClass.BEST_EFFORT),
        ((ResourceRequirements(requests={"cpu": "0"}),), QOSClass.BEST_EFFORT),
        ((ResourceRequirements(requests={"example.com/gpu": "1"}),), QOSClass.BEST_EFFORT),
        ((ResourceRequirements(limits=_FULL),), QOSClass.GUARANTEED),
        (
            (ResourceRequirements(limits=_FULL, requests={"cpu": "1000m", "memory": "1024Mi"}),),
            QOSClass.GUARANTEED,
        ),
        ((ResourceRequirements(limits=_FULL, requests={"cpu": "500m"}),), QOSClass.BURSTABLE),
        ((ResourceRequirements(limits={"memory": "1Gi"}),), QOSClass.BURSTABLE),
        ((ResourceRequirements(requests=_FULL),), QOSClass.BURSTABLE),
        ((ResourceRequirements(limits=_FULL), ResourceRequirements()), QOSClass.BURSTABLE),
        ((ResourceRequirements(limits=_FULL), ResourceRequirements(limits=_FULL)), QOSClass.GUARANTEED),
    ],
)
def test_class_follows_requests_and_limits(
    resources: tuple[ResourceRequirements, ...], expected: QOSClass
) -> None:
    assert compute_qos_class(_spec(*resources)) is expected


def test_init_containers_count() -> None:
    spec = PodSpec(
        containers=(container(resources=ResourceRequirements(limits=_FULL)),),
        init_containers=(container("init", resources=ResourceRequirements()),),
    )
    assert compute_qos_class(spec) is QOSClass.BURSTABLE


def test_resources_of_the_pod_come_before_those_of_its_containers() -> None:
    spec = PodSpec(
        containers=(container(resources=ResourceRequirements()),),
        resources=ResourceRequirements(limits=_FULL),
    )
    assert compute_qos_class(spec) is QOSClass.GUARANTEED


@pytest.mark.parametrize(
    ("requests", "expected"),
    [({"memory": "1Gi"}, 750), ({"memory": "4Gi"}, 3), ({"cpu": "1"}, 999), ({"memory": "1"}, 999)],
)
def test_oom_score_of_burstable_follows_the_share_of_memory(requests: dict[str, str], expected: int) -> None:
    burstable = container(resources=ResourceRequirements(requests=requests))
    subject = pod(spec={"containers": (burstable,)})
    assert compute_oom_score_adj(subject, burstable, 4 * 1024**3) == expected


def test_oom_score_of_the_other_classes_is_fixed() -> None:
    best_effort = container(resources=ResourceRequirements())
    guaranteed = container(resources=ResourceRequirements(limits=_FULL))
    assert compute_oom_score_adj(pod(spec={"containers": (best_effort,)}), best_effort, 1024**3) == 1000
    assert compute_oom_score_adj(pod(spec={"containers": (guaranteed,)}), guaranteed, 1024**3) == -997
    critical = pod(spec={"containers": (best_effort,), "priority": 2_000_001_000})
    assert compute_oom_score_adj(critical, best_effort, 1024**3) == -997


def test_cpu_numbers() -> None:
    assert [compute_cpu_shares(millicores) for millicores in (0, 1, 100, 1000, 1_000_000)] == [
        2,
        2,
        102,
        1024,
        262144,
    ]
    assert [compute_cpu_quota(millicores) for millicores in (0, 5, 10, 500, 2000)] == [
        0,
        1000,
        1000,
        50000,
        200000,
    ]
