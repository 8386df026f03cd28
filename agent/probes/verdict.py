"""What the results of a container's probes say of it together, and how a restarted agent learns them again.

Pure. Called by `runner` and, for the results stored in pods' statuses, by `agent.app`. Follows the "Container
probes" section of the pod lifecycle page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from agent.pods.ports import ContainerID, ProbeKind, ProbeVerdict
from kubeapi.pod import Container, Pod, Probe

ProbeKey = tuple[ContainerID, ProbeKind]


def list_probes(container: Container) -> Mapping[ProbeKind, Probe]:
    """The container's probes by kind, each number at least what the API lets it be."""
    found = {
        ProbeKind.STARTUP: container.startup_probe,
        ProbeKind.READINESS: container.readiness_probe,
        ProbeKind.LIVENESS: container.liveness_probe,
    }
    return {kind: _with_minimums(probe) for kind, probe in found.items() if probe is not None}


def _with_minimums(probe: Probe) -> Probe:
    """0 stands for the API's default, which a static pod's manifest may rely on."""
    least = Probe()
    return msgspec.structs.replace(
        probe,
        initial_delay_seconds=max(probe.initial_delay_seconds, 0),
        timeout_seconds=max(probe.timeout_seconds or least.timeout_seconds, 1),
        period_seconds=max(probe.period_seconds or least.period_seconds, 1),
        success_threshold=max(probe.success_threshold or least.success_threshold, 1),
        failure_threshold=max(probe.failure_threshold or least.failure_threshold, 1),
    )


def compute_verdict(
    kinds: Iterable[ProbeKind], results: Mapping[ProbeKind, bool | None], messages: Mapping[ProbeKind, str]
) -> ProbeVerdict:
    """The verdict of a running container that has probes of these kinds; no result yet is None."""
    present = set(kinds)
    started = ProbeKind.STARTUP not in present or results.get(ProbeKind.STARTUP) is True
    ready = started and (ProbeKind.READINESS not in present or results.get(ProbeKind.READINESS) is True)
    live = results.get(ProbeKind.LIVENESS) is not False and results.get(ProbeKind.STARTUP) is not False
    message = next((messages[kind] for kind in _BY_WEIGHT if messages.get(kind)), "")
    return ProbeVerdict(started, ready, live, message)


_BY_WEIGHT = (ProbeKind.STARTUP, ProbeKind.LIVENESS, ProbeKind.READINESS)


def compute_stored_results(pods: Iterable[Pod]) -> Mapping[ProbeKey, bool]:
    """The good results that the pods' statuses show: what a restarted agent goes on from without a
    checkpoint.

    Bad ones are not taken over: a first probe finds them again, and it costs nothing to be asked.
    """
    results: dict[ProbeKey, bool] = {}
    for pod in pods:
        containers = {
            container.name: container for container in (*pod.spec.init_containers, *pod.spec.containers)
        }
        for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
            container = containers.get(status.name)
            identifier = ContainerID(status.container_id.partition("://")[2])
            if container is None or not identifier or status.state.running is None:
                continue
            if container.startup_probe is not None and status.started:
                results[identifier, ProbeKind.STARTUP] = True
            if container.readiness_probe is not None and status.ready:
                results[identifier, ProbeKind.READINESS] = True
    return results
