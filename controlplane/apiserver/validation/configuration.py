"""Validation of ConfigMaps and Secrets.

Pure. No message holds a Secret's value.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from controlplane.apiserver.validation.causes import Cause, forbidden, invalid, required, too_long
from controlplane.apiserver.validation.metadata import IMMUTABLE
from controlplane.apiserver.validation.names import check_config_key

_LIMIT_BYTES: Final = 1024 * 1024
_FROZEN: Final = "field is immutable when `immutable` is set"
_SERVICE_ACCOUNT_NAME: Final = "kubernetes.io/service-account.name"
_REQUIRED_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
}
_JSON_KEYS: Final = (".dockercfg", ".dockerconfigjson")


def check_config_map(config_map: Mapping[str, Any]) -> Iterator[Cause]:
    """Broken rules of a ConfigMap."""
    data, binary = config_map.get("data", {}), config_map.get("binaryData", {})
    for key in data:
        for problem in check_config_key(key):
            yield invalid(f"data[{key}]", key, problem)
        if key in binary:
            yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")
    for key in binary:
        for problem in check_config_key(key):
            yield invalid(f"binaryData[{key}]", key, problem)
    size = sum(len(text.encode("utf-8", "replace")) for text in data.values())
    size += sum(len(base64.b64decode(text)) for text in binary.values())
    if size > _LIMIT_BYTES:
        yield too_long("", _LIMIT_BYTES)


def check_secret(secret: Mapping[str, Any]) -> Iterator[Cause]:
    """Broken rules of a Secret."""
    data, kind = secret.get("data", {}), secret.get("type", "Opaque")
    for key in data:
        for problem in check_config_key(key):
            yield invalid(f"data[{key}]", key, problem)
    if sum(len(base64.b64decode(text)) for text in data.values()) > _LIMIT_BYTES:
        yield too_long("data", _LIMIT_BYTES)
    for key in _REQUIRED_KEYS.get(kind, ()):
        if key not in data:
            yield required(f"data[{key}]")
        elif key in _JSON_KEYS and not _is_json(base64.b64decode(data[key])):
            yield invalid(f"data[{key}]", "<secret contents redacted>", "must be valid JSON")
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        yield required("data[username]")
        yield required("data[password]")
    annotations = secret.get("metadata", {}).get("annotations", {})
    if kind == "kubernetes.io/service-account-token" and not annotations.get(_SERVICE_ACCOUNT_NAME):
        yield required(f"metadata.annotations[{_SERVICE_ACCOUNT_NAME}]")


def check_config_map_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """Changes of a ConfigMap that may not happen."""
    yield from _check_frozen(new, old, ("data", "binaryData"))


def check_secret_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    """Changes of a Secret that may not happen."""
    if new.get("type", "Opaque") != old.get("type", "Opaque"):
        yield invalid("type", new.get("type", "Opaque"), IMMUTABLE)
    yield from _check_frozen(new, old, ("data",))


def _check_frozen(new: Mapping[str, Any], old: Mapping[str, Any], fields: tuple[str, ...]) -> Iterator[Cause]:
    if not old.get("immutable"):
        return
    if not new.get("immutable"):
        yield forbidden("immutable", _FROZEN)
    for name in fields:
        if new.get(name, {}) != old.get(name, {}):
            yield forbidden(name, _FROZEN)


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
