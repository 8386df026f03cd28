"""Reads ConfigMaps, Secrets and tokens through the Kubernetes API.

IO: the ports of `config_objects` and `tokens` on `kubeapi.client` and `kubeapi.informer`. Joined in
`agent.app`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from agent.volumes.config_objects import ConfigMapName, ConfigName, ObjectWatch
from agent.volumes.files import TokenRef
from agent.volumes.tokens import IssuedToken
from kubeapi.client import Client
from kubeapi.core import ConfigMap, Secret
from kubeapi.errors import ApiStatusError, MalformedAnswer
from kubeapi.informer import Informer
from kubeapi.meta import ObjectKey, View, parse_time
from kubeapi.pod import Pod
from kubeapi.resources import CONFIG_MAPS, SECRETS, SERVICE_ACCOUNTS


class InformedObject:
    """`ObjectWatch` on an informer that selects one name."""

    def __init__(
        self, informer: Informer[ConfigMap] | Informer[Secret], key: ObjectKey, on_change: Callable[[], None]
    ) -> None:
        self._informer = informer
        self._key = key
        informer.subscribe(lambda _: on_change())

    async def run(self) -> None:
        await self._informer.run()

    def is_synced(self) -> bool:
        return self._informer.has_synced

    def current(self) -> Mapping[str, bytes] | None:
        found = self._informer.get(self._key)
        return None if found is None else read_data(found)


class KubeConfigApi:
    """`ConfigApi` on the API server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def watch_object(self, name: ConfigName, on_change: Callable[[], None]) -> ObjectWatch:
        namespace, selector = name.key.namespace, f"metadata.name={name.key.name}"
        informer: Informer[ConfigMap] | Informer[Secret]
        if isinstance(name, ConfigMapName):
            informer = Informer(self._client, CONFIG_MAPS, namespace=namespace, field_selector=selector)
        else:
            informer = Informer(self._client, SECRETS, namespace=namespace, field_selector=selector)
        return InformedObject(informer, name.key, on_change)

    async def read_object(self, name: ConfigName) -> Mapping[str, bytes] | None:
        found: ConfigMap | Secret
        try:
            if isinstance(name, ConfigMapName):
                found = await self._client.get(CONFIG_MAPS, name.key.name, name.key.namespace)
            else:
                found = await self._client.get(SECRETS, name.key.name, name.key.namespace)
        except ApiStatusError as error:
            if error.is_not_found:
                return None
            raise
        return read_data(found)


def read_data(found: ConfigMap | Secret) -> Mapping[str, bytes]:
    """The object's keys with their contents; a ConfigMap's text as UTF-8."""
    if isinstance(found, Secret):
        return found.data
    return {**{key: text.encode() for key, text in found.data.items()}, **found.binary_data}


class _TokenStatus(View, frozen=True, kw_only=True):
    token: str = ""
    expiration_timestamp: str = ""


class _TokenRequest(View, frozen=True, kw_only=True):
    status: _TokenStatus = _TokenStatus()


_decode_token: Final = msgspec.json.Decoder(_TokenRequest).decode


class KubeTokens:
    """`TokenSource` on the TokenRequest subresource of service accounts."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def request_token(self, pod: Pod, reference: TokenRef) -> IssuedToken | None:
        account = pod.spec.service_account_name or "default"
        path = SERVICE_ACCOUNTS.path(pod.metadata.namespace, account, "token")
        body = msgspec.json.encode(build_token_request(pod, reference))
        try:
            response = await self._client.request("POST", path, body=body, content_type="application/json")
        except ApiStatusError as error:
            if error.is_not_found:
                return None
            raise
        return parse_token(response.body)


def parse_token(body: bytes) -> IssuedToken:
    """The token in a TokenRequest's answer; raises MalformedAnswer."""
    try:
        status = _decode_token(body).status
        return IssuedToken(status.token, parse_time(status.expiration_timestamp).timestamp())
    except (msgspec.MsgspecError, ValueError) as error:
        raise MalformedAnswer(
            "the API server's answer to a TokenRequest holds no token with a time"
        ) from error


def build_token_request(pod: Pod, reference: TokenRef) -> Mapping[str, object]:
    """The TokenRequest document: bound to the pod, so that the token is void once the pod is gone."""
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": [reference.audience] if reference.audience else [],
            "expirationSeconds": reference.expiration_seconds,
            "boundObjectRef": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": pod.metadata.name,
                "uid": pod.metadata.uid,
            },
        },
    }
