"""Stand-ins for what the volumes read through the API, for tests of what they do on the machine."""

from __future__ import annotations

from collections.abc import Mapping

from agent.volumes.files import TokenRef
from agent.volumes.tokens import IssuedToken
from kubeapi.meta import ObjectKey
from kubeapi.pod import Pod


class NoConfig:
    """A ConfigSource without ConfigMaps and Secrets."""

    async def read_config_map(self, key: ObjectKey) -> Mapping[str, bytes] | None:
        return None

    async def read_secret(self, key: ObjectKey) -> Mapping[str, bytes] | None:
        return None


class NoTokens:
    async def request_token(self, pod: Pod, reference: TokenRef) -> IssuedToken | None:
        return None
