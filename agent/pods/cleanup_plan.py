"""Plans the removal of what a running pod has outlived: old attempts of containers, old sandboxes.

Pure. Called by `plan`. For each container the newest attempt stays, and the newest that exited: status and
logs of the previous attempt are shown to people.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.pods.actions import Action, RemoveContainer, RemovePodSandbox, StopContainer, StopPodSandbox
from agent.pods.lifecycle import find_current_sandbox
from agent.pods.observed import ObservedContainer, ObservedPod
from agent.pods.ports import ContainerID
from agent.pods.progress import Progress
from kubeapi.pod import Pod


def plan_cleanup(pod: Pod, observed: ObservedPod, progress: Progress) -> tuple[Action, ...]:
    """Removals that nothing waits for."""
    kept = frozenset(_choose_kept(observed))
    return (
        *_plan_container_removals(observed, kept),
        *_plan_sandbox_removals(pod, observed, progress, kept),
    )


def _choose_kept(observed: ObservedPod) -> Iterator[ContainerID]:
    for name in {container.name for container in observed.containers}:
        newest, dead = observed.newest(name), observed.newest_dead(name)
        yield from (container.id for container in (newest, dead) if container is not None)


def _plan_container_removals(observed: ObservedPod, kept: frozenset[ContainerID]) -> Iterator[Action]:
    for container in reversed(observed.containers):
        if container.id not in kept:
            yield _plan_removal(container)


def _plan_removal(container: ObservedContainer) -> Action:
    if container.running:
        # Two of one name run only if another program made one: the newest wins.
        return StopContainer(container.name, container.id, container.created_at, "a newer attempt is running")
    return RemoveContainer(container.name, container.id)


def _plan_sandbox_removals(
    pod: Pod, observed: ObservedPod, progress: Progress, kept: frozenset[ContainerID]
) -> Iterator[Action]:
    current = find_current_sandbox(pod, observed)
    if current is None:
        return
    for sandbox in observed.sandboxes:
        if sandbox.id == current.id:
            continue
        inside = [container for container in observed.containers if container.sandbox_id == sandbox.id]
        if sandbox.ready or sandbox.id not in progress.stopped:
            yield StopPodSandbox(sandbox.id)
        elif not any(container.id in kept for container in inside):
            yield RemovePodSandbox(sandbox.id)
