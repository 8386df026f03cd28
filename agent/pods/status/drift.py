"""Whether the API shows another status of a pod than the one that was written last.

Pure. Called by `status.writer`. Of others' writes only those over what the agent alone decides count: its
conditions and the statuses of containers. The node lifecycle controller makes such writes while a node is
silent (Ready=False, NodeNotReady), and the kubelet, too, writes its own word again once it is back.
"""

from __future__ import annotations

import msgspec

from agent.pods.status.conditions import OWN_TYPES
from kubeapi.meta import Condition
from kubeapi.pod import ContainerStatus, PodStatus


def find_drift(written: PodStatus, shown: PodStatus) -> PodStatus | None:
    """`written`, corrected to what the API shows of the agent's own part; None where that is the same.

    What others own stays as in `written`, so that a patch against the result never touches it.
    """
    if _own_part(written) == _own_part(shown):
        return None
    others = [each for each in written.conditions if each.type not in OWN_TYPES]
    return msgspec.structs.replace(
        written,
        conditions=(*_own_conditions(shown), *others),
        container_statuses=shown.container_statuses,
        init_container_statuses=shown.init_container_statuses,
    )


def _own_part(status: PodStatus) -> tuple[object, ...]:
    """Without times and without what a server may leave out: only what people and controllers go by."""
    conditions = {each.type: (each.status, each.reason, each.message) for each in _own_conditions(status)}
    statuses = (*status.init_container_statuses, *status.container_statuses)
    return conditions, {each.name: _describe(each) for each in statuses}


def _own_conditions(status: PodStatus) -> tuple[Condition, ...]:
    return tuple(each for each in status.conditions if each.type in OWN_TYPES)


def _describe(status: ContainerStatus) -> tuple[object, ...]:
    state = status.state
    kinds = (state.waiting is not None, state.running is not None, state.terminated is not None)
    return status.container_id, status.ready, bool(status.started), status.restart_count, kinds
