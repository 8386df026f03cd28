"""Pod events as the API's Event objects.

A thin shell on `kubeapi.events`. Called by the lanes; never waits, never fails.
"""

from __future__ import annotations

from agent.pods.pod_events import PodEvent, build_field_path
from kubeapi.event_records import EventType, build_reference
from kubeapi.events import EventRecorder
from kubeapi.pod import Pod
from kubeapi.resources import PODS


class RecordedPodEvents:
    """`PodEvents` on the API server."""

    def __init__(self, recorder: EventRecorder) -> None:
        self._recorder = recorder

    def record(self, pod: Pod, event: PodEvent) -> None:
        field_path = build_field_path(pod, event.container)
        kind = EventType.WARNING if event.warning else EventType.NORMAL
        self._recorder.record(build_reference(PODS, pod, field_path), kind, event.reason, event.message)
