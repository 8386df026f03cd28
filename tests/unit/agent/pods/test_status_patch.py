"""The patch between two statuses: only what changed, and nothing that a merge would keep by mistake."""

from __future__ import annotations

from agent.pods.status.patch import build_status_patch
from kubeapi.meta import Condition
from kubeapi.pod import PodIP, PodStatus

READY = Condition(type="Ready", status="True")
UNREADY = Condition(type="Ready", status="False", reason="ContainersNotReady", message="why")


def test_equal_statuses_need_no_patch() -> None:
    assert build_status_patch("u", PodStatus(phase="Running"), PodStatus(phase="Running")) is None


def test_only_changed_fields_are_sent_with_the_uid() -> None:
    old = PodStatus(phase="Pending", host_ip="1.2.3.4")
    new = PodStatus(phase="Running", host_ip="1.2.3.4")
    expected = {"metadata": {"uid": "u"}, "status": {"phase": "Running"}}
    assert build_status_patch("u", old, new) == expected


def test_a_field_that_lost_its_value_is_nulled() -> None:
    patch = build_status_patch("u", PodStatus(reason="Evicted"), PodStatus())
    assert patch is not None
    assert patch["status"] == {"reason": None}


def test_a_condition_names_the_fields_it_lost() -> None:
    patch = build_status_patch("u", PodStatus(conditions=(UNREADY,)), PodStatus(conditions=(READY,)))
    assert patch is not None
    expected = [{"type": "Ready", "status": "True", "reason": None, "message": None}]
    assert patch["status"]["conditions"] == expected


def test_only_changed_conditions_are_sent() -> None:
    kept = Condition(type="Initialized", status="True")
    patch = build_status_patch("u", PodStatus(conditions=(kept,)), PodStatus(conditions=(kept, UNREADY)))
    assert patch is not None
    assert [condition["type"] for condition in patch["status"]["conditions"]] == ["Ready"]


def test_addresses_replace_each_other() -> None:
    old = PodStatus(pod_ips=(PodIP(ip="10.0.0.1"),))
    new = PodStatus(pod_ips=(PodIP(ip="10.0.0.2"),))
    patch = build_status_patch("u", old, new)
    assert patch is not None
    assert patch["status"]["podIPs"] == [{"$patch": "replace"}, {"ip": "10.0.0.2"}]
    first = build_status_patch("u", PodStatus(), new)
    assert first is not None
    assert list(first["status"]["podIPs"]) == [{"ip": "10.0.0.2"}]


def test_the_order_of_conditions_is_nobodys_business() -> None:
    other = Condition(type="PodScheduled", status="True")
    assert (
        build_status_patch("u", PodStatus(conditions=(READY, other)), PodStatus(conditions=(other, READY)))
        is None
    )
