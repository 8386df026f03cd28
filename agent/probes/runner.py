"""Runs the probes of this node's containers: `agent.pods.ports.ProbeRunner`.

IO: one task for each probe of each running container, which sleeps until the plan's next time, makes one try
and hands the outcome back to the plan. Called by the pod lanes. A probe that hangs delays nothing but itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from agent.pods.overdue import OVERDUE_SECONDS
from agent.pods.ports import (
    ContainerID,
    ProbeFailure,
    ProbeKind,
    ProbeTarget,
    ProbeTrouble,
    ProbeVerdict,
)
from agent.probes.check import CheckResult
from agent.probes.plan import (
    Outcome,
    ProbeState,
    does_count,
    is_settled,
    plan_first_probe,
    plan_probe,
    plan_resumed_probe,
)
from agent.probes.verdict import ProbeKey, compute_verdict, list_probes
from kubeapi.pod import PodUID, Probe

_log = logging.getLogger(__name__)


class Check(Protocol):
    async def run(self, target: ProbeTarget, probe: Probe) -> CheckResult: ...


@dataclass(slots=True)
class _Probed:
    """One container under probes; `target` is replaced as the pod's object changes."""

    target: ProbeTarget
    probes: Mapping[ProbeKind, Probe]
    states: dict[ProbeKind, ProbeState] = field(default_factory=dict)
    tasks: dict[ProbeKind, asyncio.Task[None]] = field(default_factory=dict)
    errors: dict[ProbeKind, str] = field(default_factory=dict)

    def verdict(self) -> ProbeVerdict:
        results = {kind: state.result for kind, state in self.states.items()}
        messages = {
            kind: f"{kind.value.capitalize()} probe failed: {state.message}"
            for kind, state in self.states.items()
            if state.message
        }
        return compute_verdict(self.probes, results, messages)


class TaskProbeRunner:
    """`stored` are results from before a restart; `wall_clock` is in seconds since the epoch."""

    def __init__(
        self,
        check: Check,
        wall_clock: Callable[[], float],
        stored: Mapping[ProbeKey, bool] | None = None,
    ) -> None:
        self._check = check
        self._wall_clock = wall_clock
        self._stored = dict(stored or {})
        self._containers: dict[ContainerID, _Probed] = {}
        self._by_pod: dict[PodUID, tuple[ContainerID, ...]] = {}
        self._handlers: list[Callable[[PodUID], None]] = []
        self._failure_handlers: list[Callable[[ProbeFailure], None]] = []

    # --- what the lanes ask ---------------------------------------------------------------------------------

    def set_targets(self, uid: PodUID, targets: tuple[ProbeTarget, ...]) -> None:
        """What is to be probed for this pod from now on; schedules of unchanged containers go on."""
        wanted = {target.container_id: target for target in targets if list_probes(target.container)}
        for container_id in self._by_pod.get(uid, ()):
            known = self._containers[container_id]
            target = wanted.get(container_id)
            if target is None or list_probes(target.container) != known.probes:
                self._forget(container_id)
            elif target.terminating:
                _end_all_but_readiness(known)
        for container_id, target in wanted.items():
            if container_id in self._containers:
                self._containers[container_id].target = target
            else:
                self._begin(target)
        self._by_pod[uid] = tuple(wanted)
        if not wanted:
            del self._by_pod[uid]

    def verdict(self, target: ProbeTarget) -> ProbeVerdict:
        """As known now, from memory; of a container that isn't probed yet, what is stored."""
        known = self._containers.get(target.container_id)
        if known is not None:
            return known.verdict()
        probes = list_probes(target.container)
        results = {kind: self._stored.get((target.container_id, kind)) for kind in probes}
        return compute_verdict(probes, results, {})

    def subscribe(self, handler: Callable[[PodUID], None]) -> None:
        """Called when a pod's verdict changed; sync and quick."""
        self._handlers.append(handler)

    def subscribe_failures(self, handler: Callable[[ProbeFailure], None]) -> None:
        """Called for each failure that counts towards a threshold, and for other trouble; sync and quick."""
        self._failure_handlers.append(handler)

    # --- what a restart needs -------------------------------------------------------------------------------

    def restore(self, stored: Mapping[ProbeKey, bool]) -> None:
        """Results from before a restart that became known after the start; newer ones win."""
        self._stored = {**stored, **self._stored}

    @property
    def results(self) -> Mapping[ProbeKey, bool]:
        """Every result there is, to be stored."""
        return {
            (container_id, kind): state.result
            for container_id, known in self._containers.items()
            for kind, state in known.states.items()
            if state.result is not None
        }

    async def aclose(self) -> None:
        """Ends all probing; verdicts stay readable."""
        tasks = [task for known in self._containers.values() for task in known.tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- one container --------------------------------------------------------------------------------------

    def _begin(self, target: ProbeTarget) -> None:
        known = _Probed(target, list_probes(target.container))
        self._containers[target.container_id] = known
        for kind in known.probes:
            stored = self._stored.pop((target.container_id, kind), None)
            if stored is not None:
                now = asyncio.get_running_loop().time()
                known.states[kind] = plan_resumed_probe(known.probes[kind], stored, now, random.random())
        self._start_tasks(known)

    def _start_tasks(self, known: _Probed) -> None:
        """The startup probe alone while it hasn't passed, then the others."""
        gate = ProbeKind.STARTUP in known.probes and not known.verdict().started
        for kind, probe in known.probes.items():
            if kind in known.tasks or (gate and kind is not ProbeKind.STARTUP):
                continue
            if known.target.terminating and kind is not ProbeKind.READINESS:
                continue
            if kind not in known.states:
                age = max(self._wall_clock() - known.target.started_at, 0.0)
                now = asyncio.get_running_loop().time()
                known.states[kind] = plan_first_probe(kind, probe, age, now, random.random())
            name = f"{kind.value} probe of {known.target.container_id}"
            task = asyncio.get_running_loop().create_task(self._probe(known, kind, probe), name=name)
            task.add_done_callback(_log_failure)
            known.tasks[kind] = task

    def _forget(self, container_id: ContainerID) -> None:
        for task in self._containers.pop(container_id).tasks.values():
            task.cancel()

    async def _probe(self, known: _Probed, kind: ProbeKind, probe: Probe) -> None:
        loop = asyncio.get_running_loop()
        while not is_settled(kind, known.states[kind]):
            await asyncio.sleep(max(known.states[kind].due_at - loop.time(), 0.0))
            outcome, message = await self._try(known, kind, probe)
            if outcome is not Outcome.PASSED:
                _log.debug("a probe did not pass", extra=_describe(known.target, kind, outcome))
            self._tell_outcome(known, kind, outcome, message)
            before = known.verdict()
            known.states[kind] = plan_probe(
                kind, probe, known.states[kind], outcome, message, loop.time(), random.random()
            )
            if known.verdict() != before:
                self._start_tasks(known)
                self._notify(known.target.pod.uid)

    async def _try(self, known: _Probed, kind: ProbeKind, probe: Probe) -> CheckResult:
        """One try; told of while it is in flight for long, as a long timeout allows."""

        def tell() -> None:
            message = f"no answer for {OVERDUE_SECONDS:g} s, of the {probe.timeout_seconds} s that it has"
            self._tell_failure(known.target, kind, message, ProbeTrouble.HANGS)

        timer = asyncio.get_running_loop().call_later(OVERDUE_SECONDS, tell)
        try:
            return await self._check.run(known.target, probe)
        finally:
            timer.cancel()

    def _tell_outcome(self, known: _Probed, kind: ProbeKind, outcome: Outcome, message: str) -> None:
        """What is trouble; an error that goes on is told once."""
        before, known.errors[kind] = known.errors.get(kind), ""
        match outcome:
            case Outcome.FAILED if does_count(known.states[kind]):
                self._tell_failure(known.target, kind, message, ProbeTrouble.FAILED)
            case Outcome.UNKNOWN:
                known.errors[kind] = message
                if message != before:
                    self._tell_failure(known.target, kind, message, ProbeTrouble.ERRORED)
            case Outcome.PASSED if message:
                self._tell_failure(known.target, kind, message, ProbeTrouble.WARNING)
            case _:
                pass

    def _tell_failure(
        self, target: ProbeTarget, kind: ProbeKind, message: str, trouble: ProbeTrouble
    ) -> None:
        failure = ProbeFailure(target.pod.uid, target.container.name, kind, message, trouble)
        for handler in self._failure_handlers:
            handler(failure)

    def _notify(self, uid: PodUID) -> None:
        for handler in self._handlers:
            handler(uid)


def _end_all_but_readiness(known: _Probed) -> None:
    """What they found stays; a container that hasn't started will not be asked for more."""
    for kind in (ProbeKind.STARTUP, ProbeKind.LIVENESS):
        if (task := known.tasks.get(kind)) is not None:
            task.cancel()


def _describe(target: ProbeTarget, kind: ProbeKind, outcome: Outcome) -> dict[str, str]:
    # Not the message: it may hold what a command in the container printed.
    return {
        "pod": str(target.pod.key),
        "container": target.container.name,
        "probe": kind.value,
        "outcome": outcome.value,
    }


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a probe's task ended", extra={"task": task.get_name()}, exc_info=error)
