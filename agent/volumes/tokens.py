"""Service-account tokens for projected volumes: asked from the API server, kept while they are fresh.

IO: one TokenRequest for each token, at first and after 80% of its life. Called by `source`. Follows the
TokenRequest page of the API reference; the token is bound to its pod and is void once that pod is deleted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from agent.volumes.files import TokenRef
from kubeapi.errors import KubeAPIError
from kubeapi.pod import Pod, PodUID

_log = logging.getLogger(__name__)

_RENEW_AFTER: Final = 0.8
_MAX_AGE_SECONDS: Final = 24 * 3600.0
_REQUEST_SECONDS: Final = 8.0


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """`expires_at` in seconds since the epoch; the token never shows in a `repr`."""

    token: str = field(repr=False)
    expires_at: float


class TokenSource(Protocol):
    async def request_token(self, pod: Pod, reference: TokenRef) -> IssuedToken | None:
        """A new token bound to the pod; None when its service account doesn't exist. Raises KubeAPIError."""


@dataclass(frozen=True, slots=True)
class _Kept:
    issued: IssuedToken
    renew_at: float


class ServiceAccountTokens:
    def __init__(self, source: TokenSource, clock: Callable[[], float]) -> None:
        self._source = source
        self._clock = clock
        self._kept: dict[tuple[PodUID, TokenRef], _Kept] = {}

    async def read_token(self, pod: Pod, reference: TokenRef) -> str | None:
        """The pod's token, new where the kept one has little life left; None without the service account.

        Raises KubeAPIError or TimeoutError when there is none that is still good.
        """
        key = (pod.uid, reference)
        kept = self._kept.get(key)
        asked_at = self._clock()
        if kept is not None and asked_at < kept.renew_at:
            return kept.issued.token
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                issued = await self._source.request_token(pod, reference)
        except (KubeAPIError, TimeoutError) as error:
            if kept is None or asked_at >= kept.issued.expires_at:
                raise
            # Renewed early enough to try again: until it expires the old one serves on.
            _log.warning("a token can't be renewed yet", extra={"pod": str(pod.key)}, exc_info=error)
            return kept.issued.token
        if issued is None:
            self._kept.pop(key, None)
            return None
        self._kept[key] = _Kept(issued, compute_renewal(asked_at, issued.expires_at))
        return issued.token

    def next_renewal(self, uid: PodUID) -> float | None:
        """When the first of the pod's tokens is due, in seconds since the epoch."""
        return min((kept.renew_at for (owner, _), kept in self._kept.items() if owner == uid), default=None)

    def forget(self, uid: PodUID) -> None:
        """Drops the tokens of a pod that is gone."""
        for key in [key for key in self._kept if key[0] == uid]:
            del self._kept[key]


def compute_renewal(asked_at: float, expires_at: float) -> float:
    """When to ask again: after 80% of the token's life, and at least once a day."""
    return asked_at + min((expires_at - asked_at) * _RENEW_AFTER, _MAX_AGE_SECONDS)
