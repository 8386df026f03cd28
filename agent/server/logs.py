"""GET /containerLogs/NAMESPACE/POD/CONTAINER.

IO: streams what `log_reader` reads. Called by `application`. Which file a container's log is, the pod
directory knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from aiohttp import web

from agent.pods.ports import ContainerHandle, PodDirectory
from agent.server.log_options import BadLogOption, parse_log_options
from agent.server.log_reader import read_log
from kubeapi.meta import ObjectKey
from kubeapi.pod import ContainerStatus, Pod

# What is said instead of a waiting container's reason.
_WAITS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ErrImagePull": "image can't be pulled",
        "ImagePullBackOff": "trying and failing to pull image",
    }
)


class ContainerLogs:
    """`clock` answers seconds since the epoch."""

    def __init__(self, directory: PodDirectory, clock: Callable[[], float]) -> None:
        self._directory = directory
        self._clock = clock

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """The container's log as plain text; it ends with the connection, or with the container when
        following.
        """
        key = ObjectKey(request.match_info["namespace"], request.match_info["pod"])
        container = request.match_info["container"]
        try:
            options = parse_log_options(request.query, self._clock())
        except BadLogOption as error:
            return web.Response(status=422, text=str(error))
        handle = self._directory.find_container(key, "", container, options.previous)
        if handle is None or not handle.log_path.exists():
            return explain_absence(self._directory.pods(), key, container, options.previous)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        async for piece in read_log(
            handle.log_path, options, lambda: self._is_running(key, container, handle)
        ):
            await response.write(piece)
        await response.write_eof()
        return response

    def _is_running(self, key: ObjectKey, container: str, handle: ContainerHandle) -> bool:
        """Whether this very container still runs; a newer attempt has a log of its own."""
        found = self._directory.find_container(key, handle.pod.uid, container, False)
        return found is not None and found.container_id == handle.container_id and found.running


def explain_absence(pods: tuple[Pod, ...], key: ObjectKey, container: str, previous: bool) -> web.Response:
    """Why there is no log, as the kubelet says it."""
    pod = next((pod for pod in pods if pod.key == key), None)
    if pod is None:
        return web.Response(status=404, text=f'pod "{key.name}" does not exist')
    named = {
        each.name
        for each in (*pod.spec.init_containers, *pod.spec.containers, *pod.spec.ephemeral_containers)
    }
    what = f'container "{container}" in pod "{key.name}"'
    if container not in named:
        return web.Response(status=400, text=f"container {container} is not valid for pod {key.name}")
    if previous:
        return web.Response(status=400, text=f"previous terminated {what} not found")
    status = find_status(pod, container)
    waiting = status.state.waiting if status is not None else None
    reason = waiting.reason if waiting is not None and waiting.reason else "ContainerCreating"
    return web.Response(status=400, text=f"{what} is waiting to start: {_WAITS.get(reason, reason)}")


def find_status(pod: Pod, container: str) -> ContainerStatus | None:
    status = pod.status
    statuses = (
        *status.init_container_statuses,
        *status.container_statuses,
        *status.ephemeral_container_statuses,
    )
    return next((each for each in statuses if each.name == container), None)
