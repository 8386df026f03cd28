"""What one pod's lane tells the journal: remembers what was told, so that only changes are.

No IO of its own: it calls the journal's port, which never waits. One recorder for each lane.
"""

from __future__ import annotations

from agent.journal.entry import Entry, Picture, PodName, shorten, shorten_waits
from agent.journal.narration import narrate_arrival, narrate_end, narrate_end_of_action, narrate_status
from agent.journal.store import PodJournal
from agent.pods.actions import Action
from agent.pods.goal import SOURCE_ANNOTATION, Termination
from agent.pods.outcomes import ActionResult
from agent.pods.progress import Failure
from agent.pods.waits import Wait
from kubeapi.meta import parse_time
from kubeapi.pod import Pod, PodStatus


def build_pod_name(pod: Pod) -> PodName:
    """How the journal calls the pod."""
    meta = pod.metadata
    created = parse_time(meta.creation_timestamp).timestamp() if meta.creation_timestamp else None
    return PodName(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        source=meta.annotations.get(SOURCE_ANNOTATION, "api"),
        created_at=created,
    )


class JournalRecorder:
    def __init__(self, journal: PodJournal, pod: Pod) -> None:
        self._journal = journal
        self._pod = build_pod_name(pod)
        self._told_end: tuple[object, int] | None = None
        self._picture: Picture | None = None
        self._notice = ""

    def note_arrival(self, pod: Pod, now: float) -> None:
        """The node has this pod for the first time."""
        for entry in narrate_arrival(pod, self._pod.source, now):
            self._journal.note(self._pod, entry)

    def note_resumption(self, now: float) -> None:
        """The node has had this pod before: another process of ours goes on with it."""
        self._note("agent restarted", now, "it goes on from its checkpoint and what the runtime shows")

    def note_admission(self, refusal: tuple[str, str] | None, now: float) -> None:
        if refusal is None:
            self._note("admitted", now)
        else:
            self._journal.note(
                self._pod,
                Entry(at=now, what="refused", failed=True, reason=refusal[0], message=shorten(refusal[1])),
            )

    def note_action(
        self, action: Action, began_at: float, now: float, result: ActionResult, failure: Failure | None
    ) -> None:
        """An action is over."""
        self._journal.note(self._pod, narrate_end_of_action(action, began_at, now, result, failure))

    def note_overdue(self, message: str, target: str, now: float) -> None:
        """A call takes too long."""
        if message != self._notice:
            self._notice = message
            entry = Entry(at=now, what="hangs", target=target, failed=True, message=shorten(message))
            self._journal.note(self._pod, entry)

    def note_status(self, before: PodStatus, after: PodStatus, now: float) -> None:
        for entry in narrate_status(before, after, now):
            self._journal.note(self._pod, entry)

    def note_termination(self, termination: Termination | None, now: float) -> None:
        """The pod's end as its goal has it; told when it begins, or becomes another."""
        if termination is None:
            return
        end = (termination.ending, termination.grace_seconds)
        if end != self._told_end:
            self._told_end = end
            self._journal.note(self._pod, narrate_end(termination, now))

    def show(self, status: PodStatus, waits: tuple[Wait, ...], now: float) -> None:
        """The pod as it is now; only a change reaches the journal."""
        ready = any(each.type == "Ready" and each.status == "True" for each in status.conditions)
        picture = Picture(at=now, phase=status.phase, ready=ready, waits=shorten_waits(waits))
        old = self._picture
        if old is None or (old.phase, old.ready, old.waits) != (picture.phase, ready, picture.waits):
            self._picture = picture
            self._journal.show(self._pod, picture)

    def close(self, now: float) -> None:
        """The pod is gone from this node."""
        self._note("gone from this node", now)
        self._journal.close(self._pod)

    def _note(self, what: str, now: float, message: str = "") -> None:
        self._journal.note(self._pod, Entry(at=now, what=what, message=message))
