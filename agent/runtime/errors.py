"""What can go wrong when talking CRI, and which gRPC status means what.

Pure. Raised by `agent.runtime.client` and by the fake runtime; read by everything that acts on a sandbox, a
container or an image. Follows the gRPC status codes, and the texts of containerd and CRI-O where a code says
too little.
"""

from __future__ import annotations

from typing import Final

import grpc

from agent.errors import AgentError


class RuntimeServiceError(AgentError):
    """The container runtime refused, failed or didn't answer; the text is one sentence for a person."""

    outcome_unknown = False
    """True when the runtime may have done (or may still be doing) what it was asked to."""


class RuntimeUnavailable(RuntimeServiceError):
    """Nobody answers on the socket, or the connection broke in the middle of the call."""

    outcome_unknown = True


class RuntimeDeadlineExceeded(RuntimeServiceError):
    """No answer in time: look for the object by its name before trying again."""

    outcome_unknown = True


class RuntimeNotFound(RuntimeServiceError):
    """No such sandbox, container or image."""


class RuntimeNameReserved(RuntimeServiceError):
    """Another attempt holds the name, finished or not."""


class RuntimeReadyOnRetry(RuntimeNameReserved):
    """What an earlier call was asked for is made: the next one with the same name is given it (CRI-O)."""


class RuntimeUnimplemented(RuntimeServiceError):
    """This runtime doesn't have the RPC."""


_NAMING: Final = frozenset({"RunPodSandbox", "CreateContainer"})


def build_error(rpc: str, endpoint: str, code: grpc.StatusCode, details: str) -> RuntimeServiceError:
    """The error that a gRPC status means; the caller chains the cause."""
    if rpc in _NAMING and "is reserved" in details:
        # Whatever the code: CRI-O wraps its refusal in the deadline of the call that holds the name.
        return (RuntimeReadyOnRetry if "on next retry" in details else RuntimeNameReserved)(
            f"{rpc}: {details}"
        )
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return RuntimeUnavailable(
                f"the container runtime at {endpoint} doesn't answer ({details}); check that it is running"
            )
        case grpc.StatusCode.DEADLINE_EXCEEDED | grpc.StatusCode.CANCELLED:
            return RuntimeDeadlineExceeded(
                f"{rpc} got no answer from the container runtime in time: {details}"
            )
        case grpc.StatusCode.NOT_FOUND:
            return RuntimeNotFound(f"{rpc}: {details}")
        case grpc.StatusCode.ALREADY_EXISTS:
            return RuntimeNameReserved(f"{rpc}: {details}")
        case grpc.StatusCode.UNIMPLEMENTED:
            return RuntimeUnimplemented(f"the container runtime at {endpoint} has no {rpc}: {details}")
        case _:
            return _build_error_from_text(rpc, details)


def _build_error_from_text(rpc: str, details: str) -> RuntimeServiceError:
    # containerd 1.6 answers UNKNOWN for some missing objects.
    if "deadline exceeded" in details:
        return RuntimeDeadlineExceeded(f"{rpc} ran out of time inside the container runtime: {details}")
    if details.endswith("not found") and rpc.startswith(("Stop", "Remove")):
        return RuntimeNotFound(f"{rpc}: {details}")
    return RuntimeServiceError(f"{rpc}: {details}")
