"""The bearer token of a client: fixed, or read again from a file that somebody else renews.

Reads one small file now and then. Called by `kubeapi.client` for each request; the token never shows in a
`repr`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from kubeapi.errors import KubeAPIError
from kubeapi.kubeconfig import ClientConfig

_REREAD_SECONDS: Final = 60.0


class TokenError(KubeAPIError):
    """The token file can't be read."""


class BearerToken:
    """Gives the Authorization header; a token file is read at most once a minute."""

    def __init__(self, config: ClientConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._token = config.token
        self._read_at = float("-inf")

    def headers(self) -> dict[str, str]:
        """A fresh mapping: the Authorization header, or nothing; raises TokenError."""
        if self._config.token_file is not None and self._clock() - self._read_at >= _REREAD_SECONDS:
            self._reread()
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _reread(self) -> None:
        path = self._config.token_file
        assert path is not None
        try:
            token = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            if self._token:
                return  # Being replaced just now, perhaps: the old token serves until the next look.
            raise TokenError(f"token file {path} cannot be read: {error}") from error
        if not token and not self._token:
            raise TokenError(f"token file {path} is empty")
        self._token = token or self._token
        self._read_at = self._clock()
