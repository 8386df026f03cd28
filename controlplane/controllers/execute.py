"""Carries out the controllers' actions: one action, one write, and what it answered recorded in the cache.

Does IO through `kubeapi.client`. Called by `controlplane.controllers.loop`. A write without an answer
leaves its key unsure; `settle` looks it up before the next plan. Decides nothing about Kubernetes' policy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final, assert_never

import msgspec

from controlplane.controllers.actions import (
    Action,
    Adopt,
    Announce,
    AnyResource,
    Create,
    Delete,
    FinalizeNamespace,
    MergePatch,
    StrategicPatch,
    group_independent,
)
from controlplane.controllers.cache import Cache
from controlplane.notes import Note, Recorder
from kubeapi.client import Client, PatchType
from kubeapi.errors import ApiStatusError, KubeAPIError, Unreachable
from kubeapi.event_records import EventType
from kubeapi.meta import ObjectKey
from kubeapi.resources import NAMESPACES

MOST_WRITES_AT_ONCE: Final = 16


class Executor:
    """Applies plans and keeps the caches of the written kinds honest."""

    def __init__(self, client: Client, caches: Iterable[Cache[Any]], recorder: Recorder) -> None:
        self._client = client
        self._caches: dict[str, Cache[Any]] = {cache.resource.path(): cache for cache in caches}
        self._recorder = recorder

    async def settle(self) -> None:
        """Looks up every write of unknown outcome; raises KubeAPIError when that isn't possible now."""
        for cache in self._caches.values():
            for key in cache.unsure_keys:
                await self._look_up(cache.resource, key)

    async def apply(self, actions: tuple[Action, ...]) -> None:
        """In order, neighbouring creations or deletions at once; stops at the first failure and raises it."""
        for group in group_independent(actions, MOST_WRITES_AT_ONCE):
            if len(group) == 1:
                await self._execute(group[0])
                continue
            outcomes = await asyncio.gather(*map(self._execute, group), return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome

    async def _execute(self, action: Action) -> None:
        match action:
            case Create():
                await self._create(action)
            case MergePatch() | StrategicPatch():
                await self._patch(action)
            case Delete():
                await self._delete(action)
            case Adopt():
                await self._adopt(action)
            case FinalizeNamespace():
                await self._finalize(action)
            case Announce(note):
                self._say(note)
            case _:
                assert_never(action)

    async def _create(self, action: Create) -> None:
        request = self._client.create(action.resource, action.body, action.key.namespace)
        try:
            await self._send(action.resource, action.key, request)
        except ApiStatusError as error:
            if error.is_already_exists:
                # Perhaps an earlier attempt of ours: the next plan must see it.
                await self._look_up(action.resource, action.key)
            elif action.note is not None and action.failure_reason:
                message = f"Error creating: {error.message}"
                self._say(Note(action.note.regarding, action.failure_reason, message, EventType.WARNING))
            raise
        self._say(action.note)

    async def _patch(self, action: MergePatch | StrategicPatch) -> None:
        patch_type = PatchType.MERGE if isinstance(action, MergePatch) else PatchType.STRATEGIC
        request = self._client.patch(
            action.resource,
            msgspec.json.encode(action.body),
            action.key.name,
            action.key.namespace,
            patch_type=patch_type,
            subresource=action.subresource,
        )
        try:
            await self._send(action.resource, action.key, request)
        except ApiStatusError as error:
            if not error.is_not_found:
                raise
            # Gone meanwhile: the watch will say so.
            return
        self._say(action.note)

    async def _delete(self, action: Delete) -> None:
        key = action.key
        try:
            await self._client.delete(
                action.resource,
                key.name,
                key.namespace,
                uid=action.uid,
                resource_version=action.resource_version,
                propagation_policy=action.propagation_policy,
            )
        except ApiStatusError as error:
            # With the UID alone, a conflict says that another object has the name: the one meant is gone.
            replaced = error.is_conflict and not action.resource_version
            if not (error.is_not_found or replaced):
                raise
        except Unreachable:
            self._mark_unsure(action.resource, key)
            raise
        cache = self._caches.get(action.resource.path())
        if cache is not None:
            cache.record_deletion(key, action.uid)
        self._say(action.note)

    async def _adopt(self, action: Adopt) -> None:
        try:
            owner = await self._client.get(
                action.owner_resource, action.owner_key.name, action.owner_key.namespace
            )
        except ApiStatusError as error:
            if error.is_not_found:
                return
            raise
        if owner.metadata.uid == action.owner_uid and owner.metadata.deletion_timestamp is None:
            await self._patch(MergePatch(action.resource, action.key, action.body))

    async def _finalize(self, action: FinalizeNamespace) -> None:
        """The subresource takes whole documents, so the live one is changed in one place and sent back."""
        path = NAMESPACES.path(name=action.name)
        try:
            answer = await self._client.request("GET", path)
            document = msgspec.json.decode(answer.body)
            if document["metadata"].get("uid") != action.uid:
                return
            spec = document.setdefault("spec", {})
            spec["finalizers"] = [each for each in spec.get("finalizers", []) if each != "kubernetes"]
            await self._client.request(
                "PUT",
                NAMESPACES.path(name=action.name, subresource="finalize"),
                body=msgspec.json.encode(document),
                content_type="application/json",
            )
        except ApiStatusError as error:
            if not error.is_not_found:
                raise

    async def _send(self, resource: AnyResource, key: ObjectKey, request: Coroutine[Any, Any, Any]) -> None:
        """Waits for a write's answer and records the object in it."""
        try:
            written = await request
        except ApiStatusError:
            raise
        except KubeAPIError:
            self._mark_unsure(resource, key)
            raise
        cache = self._caches.get(resource.path())
        if cache is not None and written.metadata.name:
            cache.record(written)

    async def _look_up(self, resource: AnyResource, key: ObjectKey) -> None:
        cache = self._caches.get(resource.path())
        if cache is None:
            return
        try:
            cache.record(await self._client.get(cache.resource, key.name, key.namespace))
        except ApiStatusError as error:
            if not error.is_not_found:
                raise
            cache.record_absence(key)

    def _mark_unsure(self, resource: AnyResource, key: ObjectKey) -> None:
        cache = self._caches.get(resource.path())
        if cache is not None:
            cache.mark_unsure(key)

    def _say(self, note: Note | None) -> None:
        if note is not None:
            self._recorder.record(note.regarding, note.type, note.reason, note.message)
