"""Reads what the volumes of a pod are filled from: ConfigMaps, Secrets, tokens, claims.

IO through ports. Called by `source`. Each object is read once for all volumes of a pod, so that one volume
never shows two versions of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from agent.pods.ports import ConfigSource
from agent.volumes.claim_api import ClaimApi
from agent.volumes.claims import BoundSource, choose_bound_source, choose_volume_name
from agent.volumes.files import (
    TOKEN_KEY,
    ConfigMapRef,
    SecretRef,
    SourceRef,
    TokenRef,
    VolumeRefused,
    list_sources,
)
from agent.volumes.tokens import ServiceAccountTokens
from kubeapi.core import Node
from kubeapi.errors import KubeAPIError
from kubeapi.meta import ObjectKey
from kubeapi.pod import Pod
from kubeapi.volume import PersistentVolumeClaimVolumeSource, Volume

_READ_SECONDS: Final = 10.0


class SourceUnread(Exception):
    """The API server didn't say what a volume holds; one sentence."""


@dataclass(frozen=True, slots=True)
class PodSources:
    """What was read for a pod's volumes, and what couldn't be."""

    found: Mapping[SourceRef, Mapping[str, bytes] | None]
    unread: Mapping[SourceRef, Exception]

    def choose(self, volume: Volume) -> Mapping[SourceRef, Mapping[str, bytes] | None]:
        """What that volume needs; raises SourceUnread."""
        references = list_sources(volume)
        for reference in references:
            if (error := self.unread.get(reference)) is not None:
                raise SourceUnread(f"its sources can't be read from the API server: {error}") from error
        return {reference: self.found[reference] for reference in references}


class VolumeSources:
    """`read_node` answers this node as last seen, for the node affinity of persistent volumes."""

    def __init__(
        self,
        config: ConfigSource,
        tokens: ServiceAccountTokens,
        claims: ClaimApi | None,
        read_node: Callable[[], Node | None],
    ) -> None:
        self._config = config
        self._tokens = tokens
        self._claims = claims
        self._read_node = read_node

    async def read_sources(self, pod: Pod, volumes: Iterable[Volume]) -> PodSources:
        """Everything that these volumes name, optional or not."""
        references = [reference for volume in volumes for reference in list_sources(volume)]
        objects = tuple(dict.fromkeys(map(_name_object, references)))
        answers = await asyncio.gather(*(self._read(pod, each) for each in objects), return_exceptions=True)
        found: dict[SourceRef, Mapping[str, bytes] | None] = {}
        unread: dict[SourceRef, Exception] = {}
        for each, answer in zip(objects, answers, strict=True):
            match answer:
                case KubeAPIError() | TimeoutError():
                    unread[each] = answer
                case BaseException():
                    raise answer
                case _:
                    found[each] = answer
        return PodSources(
            {reference: found[key] for reference in references if (key := _name_object(reference)) in found},
            {
                reference: unread[key]
                for reference in references
                if (key := _name_object(reference)) in unread
            },
        )

    async def read_bound(
        self, pod: Pod, source: PersistentVolumeClaimVolumeSource
    ) -> BoundSource | VolumeRefused:
        """What the claim leads to on this node; raises SourceUnread."""
        if self._claims is None:
            return VolumeRefused("a persistentVolumeClaim needs an API server, and this node has none")
        key = ObjectKey(pod.metadata.namespace, source.claim_name)
        try:
            async with asyncio.timeout(_READ_SECONDS):
                claim = await self._claims.read_claim(key)
                name = choose_volume_name(key, claim)
                if isinstance(name, VolumeRefused) or claim is None:
                    return name if isinstance(name, VolumeRefused) else VolumeRefused("PVC is not bound")
                return choose_bound_source(claim, await self._claims.read_volume(name), self._read_node())
        except (KubeAPIError, TimeoutError) as error:
            raise SourceUnread(
                f"error processing PVC {key}: it can't be read: {error or 'timed out'}"
            ) from error

    async def _read(self, pod: Pod, reference: SourceRef) -> Mapping[str, bytes] | None:
        namespace = pod.metadata.namespace
        async with asyncio.timeout(_READ_SECONDS):
            match reference:
                case ConfigMapRef():
                    return await self._config.read_config_map(ObjectKey(namespace, reference.name))
                case SecretRef():
                    return await self._config.read_secret(ObjectKey(namespace, reference.name))
                case TokenRef():
                    token = await self._tokens.read_token(pod, reference)
                    return {TOKEN_KEY: token.encode()} if token is not None else None
                case _:
                    assert_never(reference)


def _name_object(reference: SourceRef) -> SourceRef:
    """The same reference for all who name the object."""
    match reference:
        case ConfigMapRef():
            return ConfigMapRef(reference.name)
        case SecretRef():
            return SecretRef(reference.name)
        case TokenRef():
            return reference
        case _:
            assert_never(reference)
