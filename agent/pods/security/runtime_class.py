"""Which handler of the runtime a pod's RuntimeClass names.

Pure: the port, and the answer of a node that knows no classes. `runtime_class_source` answers with the API
server's objects. Follows the Runtime Class page.
"""

from __future__ import annotations

from typing import Protocol

from kubeapi.pod import Pod


class RuntimeHandlers(Protocol):
    async def find_handler(self, pod: Pod) -> str:
        """The name for RunPodSandbox, "" for the runtime's default; raises Unavailable."""

    def peek_handler(self, pod: Pod) -> str | None:
        """The same from memory; None: not known now."""


class NamedHandlers:
    """Without an API server there are no RuntimeClasses: a class is the handler of its name."""

    async def find_handler(self, pod: Pod) -> str:
        return pod.spec.runtime_class_name or ""

    def peek_handler(self, pod: Pod) -> str | None:
        return pod.spec.runtime_class_name or ""
