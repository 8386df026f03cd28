"""What goes wrong when one speaks to a Kubernetes API, as exceptions.

Pure. Raised by the modules of this package, caught by everybody who uses them: `KubeAPIError` is the root.
Errors of the HTTP and TLS libraries are mapped in `kubeapi.client` with their cause chained. Messages never
hold a secret.
"""

from __future__ import annotations

from kubeapi.status import Reason


class KubeAPIError(Exception):
    """The root of every error that this package raises on purpose."""


class Unreachable(KubeAPIError):
    """No usable answer: connection refused or cut, TLS refused, or the deadline passed.

    Whether a write took effect is unknown; look for the object before trying again.
    """


class MalformedAnswer(KubeAPIError):
    """The server answered with something that isn't the document that was asked for."""


class ApiStatusError(KubeAPIError):
    """The server refused the request, with a Status document or a bare HTTP status.

    `reason` is one of `kubeapi.status.Reason`, or whatever else the server said; `retry_after_seconds` is set
    when the server named a delay.
    """

    def __init__(
        self, code: int, reason: str, message: str, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after_seconds = retry_after_seconds

    @property
    def is_not_found(self) -> bool:
        return self.code == 404

    @property
    def is_already_exists(self) -> bool:
        return self.code == 409 and self.reason == Reason.ALREADY_EXISTS

    @property
    def is_conflict(self) -> bool:
        """A resource version or a precondition no longer holds: read again, then decide again."""
        return self.code == 409 and self.reason != Reason.ALREADY_EXISTS

    @property
    def is_gone(self) -> bool:
        """The resource version or the continue token is too old: list again."""
        return self.code == 410

    @property
    def is_unauthorized(self) -> bool:
        return self.code == 401

    @property
    def is_forbidden(self) -> bool:
        return self.code == 403
