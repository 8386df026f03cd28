"""What the runtime shows of one pod, as facts that a plan can read.

Pure. Built by the lanes from CRI lists and statuses, so that a restart with empty memory sees the same; read
by the plans and the status. Annotations and labels are those the kubelet writes, plus `berth.dev/` ones where
it has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from agent.pods.ports import ContainerID, SandboxID
from agent.runtime.values import (
    ContainerState,
    LinuxResources,
    LinuxUser,
    RuntimeContainer,
    RuntimeContainerStatus,
    RuntimeSandbox,
)
from kubeapi.pod import ResourceRequirements

HASH_ANNOTATION: Final = "io.kubernetes.container.hash"
RESTART_COUNT_ANNOTATION: Final = "io.kubernetes.container.restartCount"
TERMINATION_PATH_ANNOTATION: Final = "io.kubernetes.container.terminationMessagePath"
TERMINATION_POLICY_ANNOTATION: Final = "io.kubernetes.container.terminationMessagePolicy"
GRACE_ANNOTATION: Final = "io.kubernetes.pod.terminationGracePeriod"
BACKOFF_ANNOTATION: Final = "berth.dev/crash-backoff-seconds"
POD_RESTARTS_ANNOTATION: Final = "berth.dev/pod-restarts"
RESOURCES_ANNOTATION: Final = "berth.dev/resources"
TERMINATION_FILE_ANNOTATION: Final = "berth.dev/termination-message-file"

# A start that is cancelled before its shim runs ends the shim's first process: the container hasn't one yet.
_GIVEN_UP: Final = re.compile(
    r"context canceled|context deadline exceeded|failed to start shim: .*signal: killed", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class ObservedSandbox:
    id: SandboxID
    attempt: int
    ready: bool
    created_at: float
    ips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ObservedContainer:
    """One attempt of a container; the times are None where they didn't happen yet."""

    id: ContainerID
    sandbox_id: SandboxID
    name: str
    attempt: int
    state: ContainerState
    created_at: float
    restart_count: int = 0
    spec_hash: str = ""
    backoff_seconds: float = 0.0
    grace_seconds: int = 30
    started_at: float | None = None
    finished_at: float | None = None
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    image: str = ""
    image_ref: str = ""
    log_path: str = ""
    stop_signal: str = ""
    resources: ResourceRequirements | None = None  # that it was made with, where its annotation tells
    reported: LinuxResources | None = None  # that the runtime shows now
    user: LinuxUser | None = None  # where the runtime tells
    replaced: bool = False  # it makes room for an attempt with other resources
    pod_restarts: int = 0  # how often the whole pod had been restarted in place when it was made
    superseded: bool = False  # the whole pod is restarted, and this attempt is of the past
    restarts_all: bool = False  # and its exit asked for that

    @property
    def running(self) -> bool:
        return self.state is ContainerState.RUNNING

    @property
    def cut_short(self) -> bool:
        """Its start was given up because the caller went away: nothing of it ever ran.

        containerd ends a start with its call, as a crash of the agent or a deadline do, and shows an exit.
        """
        if self.state is not ContainerState.EXITED or self.started_at is not None:
            return False
        return _GIVEN_UP.search(self.message) is not None

    @property
    def dead(self) -> bool:
        """Started once and over; a container that never started isn't dead."""
        return self.state in (ContainerState.EXITED, ContainerState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class ObservedPod:
    """Sandboxes and containers of one pod, newest first."""

    sandboxes: tuple[ObservedSandbox, ...] = ()
    containers: tuple[ObservedContainer, ...] = ()

    @property
    def sandbox(self) -> ObservedSandbox | None:
        """The newest, whether or not it is ready."""
        return self.sandboxes[0] if self.sandboxes else None

    @property
    def empty(self) -> bool:
        return not self.sandboxes and not self.containers

    def attempts(self, name: str) -> tuple[ObservedContainer, ...]:
        """Every attempt of one container, newest first."""
        return tuple(container for container in self.containers if container.name == name)

    def newest(self, name: str) -> ObservedContainer | None:
        return next((container for container in self.containers if container.name == name), None)

    def newest_in(self, sandbox_id: SandboxID, name: str) -> ObservedContainer | None:
        return next((c for c in self.attempts(name) if c.sandbox_id == sandbox_id), None)

    def newest_dead(self, name: str) -> ObservedContainer | None:
        return next((container for container in self.attempts(name) if container.dead), None)


def build_observed_sandbox(sandbox: RuntimeSandbox, ips: tuple[str, ...]) -> ObservedSandbox:
    return ObservedSandbox(sandbox.id, sandbox.attempt, sandbox.ready, sandbox.created_at, ips)


def build_observed_container(
    container: RuntimeContainer, status: RuntimeContainerStatus | None, termination_message: str = ""
) -> ObservedContainer:
    """The list entry, its annotations and its status as one value; a missing status leaves the times None."""
    annotations = container.annotations
    facts = ObservedContainer(
        id=container.id,
        sandbox_id=container.sandbox_id,
        name=container.name,
        attempt=container.attempt,
        state=status.state if status else container.state,
        created_at=container.created_at,
        restart_count=_read_int(annotations, RESTART_COUNT_ANNOTATION, container.attempt),
        spec_hash=annotations.get(HASH_ANNOTATION, ""),
        backoff_seconds=_read_int(annotations, BACKOFF_ANNOTATION, 0),
        grace_seconds=_read_int(annotations, GRACE_ANNOTATION, 30),
        image=container.image,
        image_ref=container.image_ref,
        resources=decode_resources(annotations.get(RESOURCES_ANNOTATION, "")),
        pod_restarts=_read_int(annotations, POD_RESTARTS_ANNOTATION, 0),
    )
    return facts if status is None else _add_status(facts, status, termination_message)


def _add_status(
    facts: ObservedContainer, status: RuntimeContainerStatus, termination_message: str
) -> ObservedContainer:
    return ObservedContainer(
        id=facts.id,
        sandbox_id=facts.sandbox_id,
        name=facts.name,
        attempt=facts.attempt,
        state=status.state,
        created_at=facts.created_at,
        restart_count=facts.restart_count,
        spec_hash=facts.spec_hash,
        backoff_seconds=facts.backoff_seconds,
        grace_seconds=facts.grace_seconds,
        started_at=status.started_at,
        finished_at=status.finished_at,
        exit_code=status.exit_code,
        reason=status.reason,
        message=": ".join(filter(None, (status.message, termination_message))),
        image=status.image or facts.image,
        image_ref=status.image_ref or facts.image_ref,
        log_path=status.log_path,
        stop_signal=status.stop_signal,
        resources=facts.resources,
        reported=status.resources,
        user=status.user,
        pod_restarts=facts.pod_restarts,
    )


def build_observed_pod(
    sandboxes: Iterable[ObservedSandbox], containers: Iterable[ObservedContainer]
) -> ObservedPod:
    """Ordered newest first: by attempt, then creation.

    Attempts only grow, while a call whose answer was lost may show its creation after that of its successor.
    """
    return ObservedPod(
        tuple(sorted(sandboxes, key=lambda s: (s.attempt, s.created_at), reverse=True)),
        tuple(sorted(containers, key=lambda c: (c.attempt, c.created_at), reverse=True)),
    )


def add_container(observed: ObservedPod, container: ObservedContainer) -> ObservedPod:
    """The pod with a container that has just been made, and is the newest therefore."""
    return ObservedPod(observed.sandboxes, (container, *observed.containers))


def add_sandbox(observed: ObservedPod, sandbox: ObservedSandbox) -> ObservedPod:
    """The pod with a sandbox that has just been made, and is the newest therefore."""
    others = tuple(each for each in observed.sandboxes if each.id != sandbox.id)
    return ObservedPod((sandbox, *others), observed.containers)


def add_started(observed: ObservedPod, started: ObservedContainer) -> ObservedPod:
    """The pod with what is known of one of its containers since it was started."""
    return ObservedPod(
        observed.sandboxes, tuple(started if c.id == started.id else c for c in observed.containers)
    )


def build_started(created: ObservedContainer, status: RuntimeContainerStatus) -> ObservedContainer:
    """A container that runs since its creation was seen."""
    return _add_status(created, status, "")


def encode_resources(resources: ResourceRequirements) -> str:
    """For the annotation of a container that is made."""
    return msgspec.json.encode(resources).decode()


def decode_resources(text: str) -> ResourceRequirements | None:
    try:
        return msgspec.json.decode(text, type=ResourceRequirements)
    except msgspec.MsgspecError:
        return None


def _read_int(annotations: Mapping[str, str], key: str, default: int) -> int:
    text = annotations.get(key, "")
    return int(text) if text.lstrip("-").isdigit() else default
