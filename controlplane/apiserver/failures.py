"""Refusals as the Kubernetes API words them: each is a Status document that travels as an exception.

Pure. Raised anywhere below the HTTP layer, which writes the Status as the answer. Wording and reasons follow
upstream's API errors, because scripts and kubectl match on them.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.apiserver.kinds import Kind
from kubeapi.status import Reason, Status, StatusCause, StatusDetails, build_details, build_failure


class ApiFailure(Exception):
    """The request ends with this Status; `headers` go with it."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.message)
        self.status = status

    @property
    def code(self) -> int:
        return self.status.code


def _about(kind: Kind, name: str, causes: Iterable[StatusCause] = ()) -> StatusDetails:
    return build_details(group=kind.group, kind=kind.plural, name=name, causes=causes)


def not_found(kind: Kind, name: str) -> ApiFailure:
    message = f'{kind.qualified_plural} "{name}" not found'
    return ApiFailure(build_failure(Reason.NOT_FOUND, message, details=_about(kind, name)))


def path_not_found() -> ApiFailure:
    return ApiFailure(
        build_failure(
            Reason.NOT_FOUND, "the server could not find the requested resource", details=StatusDetails()
        )
    )


def already_exists(kind: Kind, name: str) -> ApiFailure:
    message = f'{kind.qualified_plural} "{name}" already exists'
    return ApiFailure(build_failure(Reason.ALREADY_EXISTS, message, details=_about(kind, name)))


def conflict(kind: Kind, name: str, why: str) -> ApiFailure:
    message = f'Operation cannot be fulfilled on {kind.qualified_plural} "{name}": {why}'
    return ApiFailure(build_failure(Reason.CONFLICT, message, details=_about(kind, name)))


def modified(kind: Kind, name: str) -> ApiFailure:
    """The resource version that the client saw is no longer the current one."""
    return conflict(
        kind,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )


def invalid(kind: Kind, name: str, causes: Iterable[StatusCause]) -> ApiFailure:
    told = tuple(causes)
    lines = [f"{cause.field}: {cause.message}" if cause.field else cause.message for cause in told]
    listed = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    details = build_details(group=kind.group, kind=kind.kind, name=name, causes=told)
    message = f'{kind.qualified_kind} "{name}" is invalid: {listed}'
    return ApiFailure(build_failure(Reason.INVALID, message, details=details))


def bad_request(message: str) -> ApiFailure:
    return ApiFailure(build_failure(Reason.BAD_REQUEST, message))


def forbidden(kind: Kind, name: str, why: str) -> ApiFailure:
    subject = f'{kind.qualified_plural} "{name}"' if name else kind.qualified_plural
    message = f"{subject} is forbidden: {why}"
    return ApiFailure(build_failure(Reason.FORBIDDEN, message, details=_about(kind, name)))


def forbidden_path(user: str, verb: str, path: str) -> ApiFailure:
    message = f'forbidden: User "{user}" cannot {verb} path "{path}"'
    return ApiFailure(build_failure(Reason.FORBIDDEN, message, details=StatusDetails()))


def unauthorized() -> ApiFailure:
    return ApiFailure(build_failure(Reason.UNAUTHORIZED, "Unauthorized"))


def method_not_allowed() -> ApiFailure:
    message = "the server does not allow this method on the requested resource"
    return ApiFailure(build_failure(Reason.METHOD_NOT_ALLOWED, message, details=StatusDetails()))


def not_acceptable(media_types: Iterable[str]) -> ApiFailure:
    message = f"only the following media types are accepted: {', '.join(media_types)}"
    return ApiFailure(build_failure(Reason.NOT_ACCEPTABLE, message))


def unsupported_media_type(media_types: Iterable[str]) -> ApiFailure:
    listed = ", ".join(media_types)
    message = f"the body of the request was in an unknown format - accepted media types include: {listed}"
    return ApiFailure(build_failure(Reason.UNSUPPORTED_MEDIA_TYPE, message))


def body_too_large(limit_bytes: int) -> ApiFailure:
    message = f"Request entity too large: limit is {limit_bytes}"
    return ApiFailure(build_failure(Reason.REQUEST_ENTITY_TOO_LARGE, message))


def too_many_requests(message: str) -> ApiFailure:
    details = StatusDetails(retry_after_seconds=1)
    return ApiFailure(build_failure(Reason.TOO_MANY_REQUESTS, message, details=details))


def expired(message: str) -> ApiFailure:
    """History that the client asked for is gone: it has to list again."""
    return ApiFailure(build_failure(Reason.EXPIRED, message))


def too_old_version(revision: int, oldest: int) -> ApiFailure:
    return expired(f"too old resource version: {revision} ({oldest})")


def too_large_version(revision: int, current: int) -> ApiFailure:
    """The client has seen a revision that this server has not (yet): it may try again."""
    cause = StatusCause(reason="ResourceVersionTooLarge", message="Too large resource version")
    details = StatusDetails(causes=(cause,), retry_after_seconds=1)
    message = f"Timeout: Too large resource version: {revision}, current: {current}"
    return ApiFailure(build_failure(Reason.TIMEOUT, message, details=details))


def unavailable(message: str) -> ApiFailure:
    return ApiFailure(build_failure(Reason.SERVICE_UNAVAILABLE, message))


def internal_error(message: str) -> ApiFailure:
    return ApiFailure(build_failure(Reason.INTERNAL_ERROR, f"Internal error occurred: {message}"))


def node_refused(code: int, said: str) -> ApiFailure:
    """What a node's own server answered instead of a log; its words are all that there is to tell."""
    match code:
        case 400:
            return bad_request(said)
        case 404:
            return ApiFailure(build_failure(Reason.NOT_FOUND, said))
        case 500:
            return internal_error(said)
        case _:
            return ApiFailure(build_failure(Reason.UNKNOWN, said, code=code))
