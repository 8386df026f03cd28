"""OCI images as plain bytes: layers, configurations, manifests, and one archive with them all.

Pure. Called by `lab.images`, which reads the machine's binaries; importing the archive is
`lab.runtime_node`'s work. The same entries always give the same bytes: times and owners are zero, and entries
are sorted. Layers stay uncompressed, because they are imported on this machine and unpacking time is what
counts. Follows the OCI image specification 1.0 (image layout, manifest, configuration).
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True, slots=True)
class File:
    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Directory:
    path: str
    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class Symlink:
    path: str
    target: str


Entry = File | Directory | Symlink


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """One image of one layer; `name` is a full reference such as "berth.local/pause:1"."""

    name: str
    entries: tuple[Entry, ...] = field(repr=False)
    entrypoint: tuple[str, ...]
    command: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = (("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),)
    exposed_ports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Blob:
    media_type: str
    content: bytes = field(repr=False)

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.content).hexdigest()

    def descriptor(self) -> dict[str, object]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.content)}


def build_archive(images: Iterable[ImageSpec], architecture: str) -> bytes:
    """An OCI archive (a tar of an image layout) that holds all `images`; `architecture` as Go names it."""
    blobs: dict[str, bytes] = {}
    manifests: list[dict[str, object]] = []
    for image in images:
        layer = _Blob(LAYER_TYPE, build_layer(image.entries))
        config = _Blob(CONFIG_TYPE, _json(_build_config(image, layer.digest, architecture)))
        manifest = _Blob(MANIFEST_TYPE, _json(_build_manifest(config, layer)))
        blobs.update((blob.digest, blob.content) for blob in (layer, config, manifest))
        manifests.append(manifest.descriptor() | {"annotations": _build_annotations(image.name)})
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": manifests}
    return _build_tar(
        [
            File("oci-layout", _json({"imageLayoutVersion": "1.0.0"})),
            File("index.json", _json(index)),
            *(
                File("blobs/" + digest.replace(":", "/"), content)
                for digest, content in sorted(blobs.items())
            ),
        ]
    )


def build_layer(entries: Iterable[Entry]) -> bytes:
    """The layer's tar, with the parent directories that no entry names."""
    named = {entry.path: entry for entry in entries}
    for path in list(named):
        parts = path.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            parent = "/".join(parts[:depth])
            named.setdefault(parent, Directory(parent))
    return _build_tar([named[path] for path in sorted(named)])


def _build_config(image: ImageSpec, layer_digest: str, architecture: str) -> Mapping[str, object]:
    process: dict[str, object] = {
        "Env": [f"{name}={value}" for name, value in image.environment],
        "Entrypoint": list(image.entrypoint),
        "WorkingDir": "/",
    }
    if image.command:
        process["Cmd"] = list(image.command)
    if image.exposed_ports:
        process["ExposedPorts"] = {port: {} for port in image.exposed_ports}
    return {
        "architecture": architecture,
        "os": "linux",
        "config": process,
        "rootfs": {"type": "layers", "diff_ids": [layer_digest]},  # uncompressed: the diff id is the digest
    }


def _build_manifest(config: _Blob, layer: _Blob) -> Mapping[str, object]:
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": config.descriptor(),
        "layers": [layer.descriptor()],
    }


def _build_annotations(name: str) -> Mapping[str, str]:
    return {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}


def _build_tar(entries: Iterable[Entry]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            member = tarfile.TarInfo(entry.path)  # owner root, time 0: nothing of this machine or moment
            match entry:
                case File(content=content, mode=mode):
                    member.size, member.mode = len(content), mode
                    archive.addfile(member, io.BytesIO(content))
                case Directory(mode=mode):
                    member.type, member.mode = tarfile.DIRTYPE, mode
                    archive.addfile(member)
                case Symlink(target=target):
                    member.type, member.linkname, member.mode = tarfile.SYMTYPE, target, 0o777
                    archive.addfile(member)
    return buffer.getvalue()


def _json(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
