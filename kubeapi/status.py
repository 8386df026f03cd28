"""The `Status` document: how a Kubernetes API says that something failed, or succeeded without an object.

Pure. The API server builds them, the client reads them; both use the reason names here. Follows the "Status"
page of the Kubernetes API reference (meta/v1) and the "response status" section of the API conventions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from kubeapi.meta import ListMeta, View


class Reason(StrEnum):
    """Machine-readable reasons of a failure; each belongs to one HTTP code (`HTTP_CODES`)."""

    BAD_REQUEST = "BadRequest"
    UNAUTHORIZED = "Unauthorized"
    FORBIDDEN = "Forbidden"
    NOT_FOUND = "NotFound"
    METHOD_NOT_ALLOWED = "MethodNotAllowed"
    NOT_ACCEPTABLE = "NotAcceptable"
    ALREADY_EXISTS = "AlreadyExists"
    CONFLICT = "Conflict"
    GONE = "Gone"
    EXPIRED = "Expired"
    REQUEST_ENTITY_TOO_LARGE = "RequestEntityTooLarge"
    UNSUPPORTED_MEDIA_TYPE = "UnsupportedMediaType"
    INVALID = "Invalid"
    TOO_MANY_REQUESTS = "TooManyRequests"
    INTERNAL_ERROR = "InternalError"
    SERVER_TIMEOUT = "ServerTimeout"
    SERVICE_UNAVAILABLE = "ServiceUnavailable"
    TIMEOUT = "Timeout"
    UNKNOWN = ""


HTTP_CODES: Final[Mapping[Reason, int]] = MappingProxyType(
    {
        Reason.BAD_REQUEST: 400,
        Reason.UNAUTHORIZED: 401,
        Reason.FORBIDDEN: 403,
        Reason.NOT_FOUND: 404,
        Reason.METHOD_NOT_ALLOWED: 405,
        Reason.NOT_ACCEPTABLE: 406,
        Reason.ALREADY_EXISTS: 409,
        Reason.CONFLICT: 409,
        Reason.GONE: 410,
        Reason.EXPIRED: 410,
        Reason.REQUEST_ENTITY_TOO_LARGE: 413,
        Reason.UNSUPPORTED_MEDIA_TYPE: 415,
        Reason.INVALID: 422,
        Reason.TOO_MANY_REQUESTS: 429,
        Reason.INTERNAL_ERROR: 500,
        Reason.SERVER_TIMEOUT: 500,
        Reason.SERVICE_UNAVAILABLE: 503,
        Reason.TIMEOUT: 504,
    }
)

# Two codes have several reasons; a bare code says the more general one.
_REASON_OF_CODE: Final[Mapping[int, Reason]] = MappingProxyType(
    {code: reason for reason, code in HTTP_CODES.items()} | {500: Reason.INTERNAL_ERROR}
)


class StatusCause(View, frozen=True, kw_only=True):
    reason: str = ""
    message: str = ""
    field: str = ""


class StatusDetails(View, frozen=True, kw_only=True):
    name: str = ""
    group: str = ""
    kind: str = ""
    uid: str = ""
    causes: tuple[StatusCause, ...] = ()
    retry_after_seconds: int = 0


class Status(View, frozen=True, kw_only=True):
    kind: str = ""
    api_version: str = ""
    metadata: ListMeta = ListMeta()
    status: str = ""
    message: str = ""
    reason: str = ""
    details: StatusDetails | None = None
    code: int = 0


def build_failure(
    reason: Reason, message: str, *, details: StatusDetails | None = None, code: int = 0
) -> Status:
    """A failure; its code follows from the reason unless given."""
    return Status(
        kind="Status",
        api_version="v1",
        status="Failure",
        message=message,
        reason=reason.value,
        details=details,
        code=code or HTTP_CODES.get(reason, 500),
    )


def build_success(details: StatusDetails | None = None, *, code: int = 200) -> Status:
    """A success that returns no object, such as a deletion that is complete."""
    return Status(kind="Status", api_version="v1", status="Success", details=details, code=code)


def build_details(
    *, group: str, kind: str, name: str, uid: str = "", causes: Iterable[StatusCause] = ()
) -> StatusDetails:
    return StatusDetails(name=name, group=group, kind=kind, uid=uid, causes=tuple(causes))


def encode_status(status: Status) -> bytes:
    """As JSON, with the empty `metadata` object that clients expect to be there."""
    document = msgspec.to_builtins(status)
    return msgspec.json.encode({"kind": "Status", "apiVersion": "v1", "metadata": {}, **document})


def parse_status(body: bytes, http_code: int) -> Status:
    """The Status in an error answer; a body that holds none becomes one that says what the HTTP code says."""
    try:
        status = msgspec.json.decode(body, type=Status)
    except msgspec.DecodeError:
        return _status_of_bare_code(body, http_code)
    if status.kind != "Status":
        return _status_of_bare_code(body, http_code)
    return status if status.code else msgspec.structs.replace(status, code=http_code)


_QUOTED_BYTES: Final = 300


def _status_of_bare_code(body: bytes, http_code: int) -> Status:
    reason = _REASON_OF_CODE.get(http_code, Reason.UNKNOWN)
    said = " ".join(body[:_QUOTED_BYTES].decode("utf-8", "replace").split())
    message = f"the server answered {http_code}" + (f": {said}" if said else " without a message")
    return build_failure(reason, message, code=http_code)
