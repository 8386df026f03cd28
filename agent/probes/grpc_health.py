"""A gRPC health check.

IO: one call on a channel of its own. No deadline beyond the one given. Follows the gRPC health checking
protocol (grpc.health.v1): its two messages are one field each, written and read here by hand.
"""

from __future__ import annotations

import asyncio
from typing import Final

import grpc
import grpc.aio

from agent.probes.http_get import PROBE_AGENT

_METHOD = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"
_CHANNEL_OPTIONS: Final = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # else the back-off of an earlier try answers for this one
    ("grpc.primary_user_agent", PROBE_AGENT),
)
_NAMES = {b"\x08\x02": "NOT_SERVING", b"\x08\x03": "SERVICE_UNKNOWN"}


class GRPCUnhealthy(Exception):
    """The service says that it isn't serving, or doesn't answer as a health service."""


async def check_grpc_health(host: str, port: int, service: str, *, deadline_seconds: float) -> None:
    """Returns when the service is SERVING; raises GRPCUnhealthy, and TimeoutError at the deadline."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS) as channel:
        check = channel.unary_unary(
            _METHOD, request_serializer=encode_request, response_deserializer=lambda data: data
        )
        try:
            answer: bytes = await check(service, timeout=deadline_seconds)
        except grpc.aio.AioRpcError as error:
            late = loop.time() - begun >= deadline_seconds
            if late and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError from error
            raise GRPCUnhealthy(describe_failure(target, error.code(), error.details() or "")) from error
    if answer != _SERVING:
        raise GRPCUnhealthy(f'service unhealthy (responded with "{_NAMES.get(answer, "UNKNOWN")}")')


def describe_failure(target: str, code: grpc.StatusCode, details: str) -> str:
    """What a status means for a health check. Pure."""
    match code:
        case grpc.StatusCode.UNIMPLEMENTED:
            return (
                "error: this server does not implement the grpc health protocol "
                f"(grpc.health.v1.Health): {details}"
            )
        case grpc.StatusCode.UNAVAILABLE:
            return f'error: failed to connect service at "{target}": {details}'
        case _:
            return f"error: health rpc probe failed: {code.name}: {details}"


def encode_request(service: str) -> bytes:
    """HealthCheckRequest with its one field, a name of less than 16 KiB. Pure."""
    name = service.encode()
    if not name:
        return b""
    size = len(name)
    prefix = bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])
    return b"\x0a" + prefix + name
