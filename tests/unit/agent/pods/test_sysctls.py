"""Kernel parameters of pods."""

from __future__ import annotations

import pytest

from agent.pods.security.sysctls import find_forbidden_sysctl, list_sysctls, normalize_sysctl
from kubeapi.pod import Pod, PodSecurityContext, Sysctl
from tests import builders


def build(name: str, **spec: bool) -> Pod:
    context = PodSecurityContext(sysctls=(Sysctl(name=name, value="1"),))
    return builders.pod(spec={"security_context": context, **spec})


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("kernel.shm_rmid_forced", "kernel.shm_rmid_forced"),
        ("net/ipv4/tcp_syncookies", "net.ipv4.tcp_syncookies"),
        ("net/ipv4/conf/eth0.100/forwarding", "net.ipv4.conf.eth0/100.forwarding"),
        ("net.ipv4.conf.eth0/100.forwarding", "net.ipv4.conf.eth0/100.forwarding"),
    ],
)
def test_names_are_written_with_dots(name: str, normal: str) -> None:
    assert normalize_sysctl(name) == normal


@pytest.mark.parametrize(
    ("pod", "why"),
    [
        (build("net.ipv4.tcp_keepalive_time"), None),
        (build("net/ipv4/tcp_rmem"), None),
        (build("kernel.shm_rmid_forced"), None),
        (build("kernel.msgmax"), 'forbidden sysctl: "kernel.msgmax" not allowlisted'),
        (
            build("net.ipv4.tcp_wmem", host_network=True),
            'forbidden sysctl: "net.ipv4.tcp_wmem" not allowed with host net enabled',
        ),
        (build("net.ipv4.tcp_wmem", host_ipc=True), None),
        (
            build("kernel.shm_rmid_forced", host_ipc=True),
            'forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host ipc enabled',
        ),
    ],
)
def test_only_what_is_the_pods_own_may_be_set(pod: Pod, why: str | None) -> None:
    assert find_forbidden_sysctl(pod) == why


def test_the_runtime_gets_dots() -> None:
    (sysctl,) = list_sysctls(build("net/ipv4/tcp_fin_timeout"))
    assert (sysctl.name, sysctl.value) == ("net.ipv4.tcp_fin_timeout", "1")
