"""A gRPC health check.

IO: one call on a channel of its own. No deadline beyond the one given. Follows the gRPC health checking
protocol (grpc.health.v1): its two messages are one field each, written and read here by hand.
"""

from __future__ import annotations

import grpc
import grpc.aio

_METHOD = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"
_NAMES = {b"\x08\x02": "NOT_SERVING", b"\x08\x03": "SERVICE_UNKNOWN"}


class GRPCUnhealthy(Exception):
    """The service says that it isn't serving, or doesn't answer as a health service."""


async def check_grpc_health(host: str, port: int, service: str, *, deadline_seconds: float) -> None:
    """Returns when the service is SERVING; raises GRPCUnhealthy."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    async with grpc.aio.insecure_channel(target, options=(("grpc.enable_http_proxy", 0),)) as channel:
        check = channel.unary_unary(
            _METHOD, request_serializer=encode_request, response_deserializer=lambda data: data
        )
        try:
            answer: bytes = await check(service, timeout=deadline_seconds)
        except grpc.aio.AioRpcError as error:
            raise GRPCUnhealthy(f"{error.code().name}: {error.details()}") from error
    if answer != _SERVING:
        raise GRPCUnhealthy(f"service unhealthy (responded with {_NAMES.get(answer, 'UNKNOWN')!r})")


def encode_request(service: str) -> bytes:
    """HealthCheckRequest with its one field, a name of less than 16 KiB. Pure."""
    name = service.encode()
    if not name:
        return b""
    size = len(name)
    prefix = bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])
    return b"\x0a" + prefix + name
