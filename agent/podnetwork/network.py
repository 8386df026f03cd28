"""Keeps this node's pod network: the CNI configuration, and the routes to the other nodes' pods.

The loop observes the Node objects and our routes, and applies the difference; changes of nodes, links and
routes are hints to look again. Joined up by `agent.app`. Rules (masquerade, host ports) are left to the
proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from agent.errors import AgentError
from agent.object_source import ObjectSource
from agent.podnetwork.cni_config import BRIDGE, FILE_NAME, render_cni_config
from agent.podnetwork.hints import watch_kernel
from agent.podnetwork.kernel import KernelNetwork, ensure_forwarding
from agent.podnetwork.routes import compute_routes, diff_routes, read_pod_cidrs
from agent.settings import AgentSettings
from kubeapi.core import Node
from kubeapi.meta import ObjectKey
from kubeapi.object_store import Change

RESYNC_SECONDS: Final = 30.0
_RETRY_SECONDS: Final = 2.0
_SETTLE_SECONDS: Final = 0.05

_log = logging.getLogger(__name__)


class PodNetwork:
    """Makes pods of this node reachable from everywhere; `remove` undoes exactly that."""

    def __init__(self, nodes: ObjectSource[Node], settings: AgentSettings) -> None:
        self._nodes = nodes
        self._settings = settings
        self._look = asyncio.Event()
        self._configured = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        self._nodes.subscribe(self._notice)
        await self._nodes.wait_until_synced()
        async with asyncio.TaskGroup() as group, KernelNetwork() as kernel:
            group.create_task(self._watch_kernel())
            while True:
                self._look.clear()
                delay = await self._sync(kernel)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._look.wait(), delay)
                # Changes come in swarms; one look serves them all.
                await asyncio.sleep(_SETTLE_SECONDS)

    async def _watch_kernel(self) -> None:
        while True:
            try:
                await watch_kernel(self._look.set)
            except AgentError as error:
                _log.warning("kernel changes are not seen; trying again", extra={"error": str(error)})
            await asyncio.sleep(_RETRY_SECONDS)

    async def wait_until_configured(self) -> None:
        """Until the runtime has had its CNI configuration from us."""
        await self._configured.wait()

    async def remove(self) -> None:
        """Removes our routes, the bridge and the CNI configuration; what is gone already is success."""
        async with KernelNetwork() as kernel:
            await kernel.apply_routes(diff_routes(frozenset(), await kernel.read_routes()))
            await kernel.remove_link(BRIDGE)
        self._config_path.unlink(missing_ok=True)

    async def _sync(self, kernel: KernelNetwork) -> float:
        try:
            self._write_config()
            wanted = compute_routes(self._nodes.objects().values(), self._settings.node_name)
            change = diff_routes(wanted, await kernel.read_routes())
            await kernel.apply_routes(change)
        except AgentError as error:
            _log.warning("pod network is not as it should be", extra={"error": str(error)})
            return _RETRY_SECONDS
        if change.replace or change.remove:
            _log.info(
                "pod routes changed",
                extra={"replaced": len(change.replace), "removed": len(change.remove)},
            )
        return RESYNC_SECONDS

    def _write_config(self) -> None:
        """Writes the CNI file when it differs; until the node has a pod CIDR there is nothing to write."""
        node = self._nodes.get(ObjectKey("", self._settings.node_name))
        pod_cidrs = read_pod_cidrs(node) if node is not None else ()
        if not pod_cidrs:
            return
        for cidr in pod_cidrs:
            ensure_forwarding(ip_network(cidr).version)
        self._replace_config(render_cni_config(pod_cidrs, self._settings.cni_state_dir))
        self._configured.set()

    def _replace_config(self, text: str) -> None:
        path = self._config_path
        try:
            if path.exists() and path.read_text() == text:
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            # A name the runtime doesn't take for configuration, so that it never reads half a file.
            partial = path.with_suffix(".partial")
            partial.write_text(text)
            os.replace(partial, path)
        except OSError as error:
            raise AgentError(
                f"cannot write the CNI configuration {path}: {error.strerror}; "
                "name another directory with --cni-conf-dir"
            ) from error
        _log.info("CNI configuration written", extra={"path": path})

    @property
    def _config_path(self) -> Path:
        return self._settings.cni_conf_dir / FILE_NAME

    def _notice(self, _change: Change[Node]) -> None:
        self._look.set()
