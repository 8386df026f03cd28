"""Validation of a pod's volumes.

Pure. Called by the pod's validation; mounts are checked with their containers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from controlplane.apiserver.validation.causes import (
    Cause,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
)
from controlplane.apiserver.validation.environment import check_field_reference
from controlplane.apiserver.validation.names import check_label
from kubeapi.quantity import parse_quantity

_MODE_RULE: Final = "must be a number between 0 and 0777 (octal), both inclusive"
_PULL_POLICIES: Final = ("Always", "IfNotPresent", "Never")
_HOST_PATH_TYPES: Final = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)


def check_volumes(volumes: Sequence[Mapping[str, Any]], path: str) -> Iterator[Cause]:
    """Broken rules of all volumes of a pod."""
    seen: set[str] = set()
    for index, volume in enumerate(volumes):
        place, name = f"{path}[{index}]", volume.get("name", "")
        if not name:
            yield required(f"{place}.name")
        for problem in check_label(name) if name else ():
            yield invalid(f"{place}.name", name, problem)
        if name in seen:
            yield duplicate(f"{place}.name", name)
        seen.add(name)
        yield from _check_source(volume, place)


def _check_source(volume: Mapping[str, Any], path: str) -> Iterator[Cause]:
    sources = [name for name in volume if name != "name"]
    if not sources:
        yield required(path, "must specify a volume type")
    for extra in sources[1:]:
        yield forbidden(f"{path}.{extra}", "may not specify more than 1 volume type")
    for name in sources[:1]:
        check = _SOURCES.get(name)
        if check is not None:
            yield from check(volume[name], f"{path}.{name}")


def _check_empty_dir(source: Mapping[str, Any], path: str) -> Iterator[Cause]:
    if "sizeLimit" in source and parse_quantity(source["sizeLimit"]).nanos < 0:
        yield forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")


def check_host_path(source: Mapping[str, Any], path: str) -> Iterator[Cause]:
    """Broken rules of a path on the node, in a pod's volume or a persistent one."""
    if not source.get("path"):
        yield required(f"{path}.path")
    yield from check_backsteps(source.get("path", ""), f"{path}.path")
    if source.get("type", "") not in _HOST_PATH_TYPES:
        yield not_supported(f"{path}.type", source["type"], _HOST_PATH_TYPES)


def _check_config_map(source: Mapping[str, Any], path: str) -> Iterator[Cause]:
    if not source.get("name"):
        yield required(f"{path}.name")
    yield from _check_files(source, path)


def _check_secret(source: Mapping[str, Any], path: str) -> Iterator[Cause]:
    if not source.get("secretName"):
        yield required(f"{path}.secretName")
    yield from _check_files(source, path)


def _check_files(source: Mapping[str, Any], path: str) -> Iterator[Cause]:
    """The mode and the chosen items of a ConfigMap or Secret volume."""
    yield from _check_mode(source, "defaultMode", path)
    for index, item in enumerate(source.get("items", ())):
        place = f"{path}.items[{index}]"
        if not item.get("key"):
            yield required(f"{place}.key")
        yield from _check_item_path(item, place)


def _check_item_path(item: Mapping[str, Any], path: str) -> Iterator[Cause]:
    if not item.get("path"):
        yield required(f"{path}.path")
    else:
        yield from check_descending_path(item["path"], f"{path}.path")
    yield from _check_mode(item, "mode", path)


def _check_mode(holder: Mapping[str, Any], name: str, path: str) -> Iterator[Cause]:
    if name in holder and not 0 <= holder[name] <= 0o777:
        yield invalid(f"{path}.{name}", holder[name], _MODE_RULE)


def check_descending_path(text: str, path: str) -> Iterator[Cause]:
    """Broken rules of a path that must stay below its root."""
    if text.startswith("/"):
        yield invalid(path, text, "must be a relative path")
    yield from check_backsteps(text, path)


def check_backsteps(text: str, path: str) -> Iterator[Cause]:
    """A path must not climb."""
    if ".." in text.split("/"):
        yield invalid(path, text, "must not contain '..'")


def _check_downward_api(source: Mapping[str, Any], path: str) -> Iterator[Cause]:
    yield from _check_mode(source, "defaultMode", path)
    for index, item in enumerate(source.get("items", ())):
        place = f"{path}.items[{index}]"
        yield from _check_item_path(item, place)
        yield from check_field_reference(item, place, is_volume=True)


def _check_projected(source: Mapping[str, Any], path: str) -> Iterator[Cause]:
    yield from _check_mode(source, "defaultMode", path)
    for index, projection in enumerate(source.get("sources", ())):
        place = f"{path}.sources[{index}]"
        if len(projection) > 1:
            yield forbidden(place, "may not specify more than 1 volume type")
        for name, part in projection.items():
            yield from _check_projection(name, part, f"{place}.{name}")


def _check_projection(name: str, part: Mapping[str, Any], path: str) -> Iterator[Cause]:
    match name:
        case "configMap" | "secret":
            if not part.get("name"):
                yield required(f"{path}.name")
            yield from _check_files(part, path)
        case "downwardAPI":
            yield from _check_downward_api(part, path)
        case "serviceAccountToken":
            if not part.get("path"):
                yield required(f"{path}.path")
            if part.get("expirationSeconds", 3600) < 600:
                yield invalid(
                    f"{path}.expirationSeconds",
                    part["expirationSeconds"],
                    "may not specify a duration less than 10 minutes",
                )
        case _:
            return


def _check_claim(source: Mapping[str, Any], path: str) -> Iterator[Cause]:
    if not source.get("claimName"):
        yield required(f"{path}.claimName")


def _check_nfs(source: Mapping[str, Any], path: str) -> Iterator[Cause]:
    if not source.get("server"):
        yield required(f"{path}.server")
    if not source.get("path"):
        yield required(f"{path}.path")
    elif not source["path"].startswith("/"):
        yield invalid(f"{path}.path", source["path"], "must be an absolute path")


def _check_image(source: Mapping[str, Any], path: str) -> Iterator[Cause]:
    if not source.get("reference"):
        yield required(f"{path}.reference", "must not be empty")
    if source.get("pullPolicy", "Always") not in _PULL_POLICIES:
        yield not_supported(f"{path}.pullPolicy", source["pullPolicy"], _PULL_POLICIES)


_SOURCES: Final[Mapping[str, Callable[[Mapping[str, Any], str], Iterator[Cause]]]] = {
    "emptyDir": _check_empty_dir,
    "hostPath": check_host_path,
    "configMap": _check_config_map,
    "secret": _check_secret,
    "downwardAPI": _check_downward_api,
    "projected": _check_projected,
    "persistentVolumeClaim": _check_claim,
    "nfs": _check_nfs,
    "image": _check_image,
}
