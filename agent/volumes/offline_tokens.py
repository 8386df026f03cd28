"""Tokens of pods that start again after a reboot while the API server gives no answer.

No IO but through the `TokenSource` that it wraps. Tokens live in tmpfs and can't outlive a reboot; without
the API server they open nothing either. So a pod from before the reboot starts with an empty token, which is
replaced as soon as the server answers. Any other waits, or goes on with the token in its volume.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from agent.volumes.files import TokenRef
from agent.volumes.tokens import IssuedToken, TokenSource
from kubeapi.errors import ApiStatusError, KubeAPIError
from kubeapi.pod import Pod, PodUID

_logger = logging.getLogger(__name__)

_ASK_AGAIN_SECONDS: Final = 10.0


class OfflineTokens:
    """`remember` before anything is asked."""

    def __init__(self, source: TokenSource, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._clock = clock
        self._remembered: frozenset[PodUID] = frozenset()

    def remember(self, pods: Iterable[Pod]) -> None:
        """These pods ran before the machine was started anew, and have lost their tokens."""
        self._remembered = frozenset(pod.uid for pod in pods)

    async def request_token(self, pod: Pod, reference: TokenRef) -> IssuedToken | None:
        try:
            return await self._source.request_token(pod, reference)
        except KubeAPIError as error:
            if isinstance(error, ApiStatusError) or pod.uid not in self._remembered:
                raise
            _logger.warning(
                "a pod has an empty token until the API server answers",
                extra={"pod": str(pod.key), "error": str(error)},
            )
            return IssuedToken("", self._clock() + _ASK_AGAIN_SECONDS)
