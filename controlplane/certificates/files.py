"""Keeps certificates on disk: reads what is there, makes what is missing or due, writes it atomically.

IO: files below one directory, mode 0700 for it and 0600 for keys. Called when the server starts; what to make
is decided by `names` and `issue`.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.x509 import Certificate

from controlplane.certificates.errors import CertificatesError
from controlplane.certificates.issue import (
    Pair,
    create_authority,
    is_issued_by,
    issue_leaf,
    parse_certificate,
    parse_key,
    should_renew,
)
from controlplane.certificates.names import (
    ADMIN,
    CONTROLLER_MANAGER,
    KUBELET_CLIENT,
    SCHEDULER,
    Address,
    LeafRequest,
    ServerNames,
    build_node_request,
    build_serving_request,
)

_LOG: Final = logging.getLogger(__name__)
_DIRECTORY_MODE: Final = 0o700
KEY_MODE: Final = 0o600
_CERTIFICATE_MODE: Final = 0o644
PartT = TypeVar("PartT")


@dataclass(frozen=True, slots=True)
class PairPaths:
    """Where a certificate and its key lie."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class CertificatePaths:
    """Where everything lies that the control plane needs."""

    authority: PairPaths
    serving: PairPaths
    kubelet_client: PairPaths
    admin: PairPaths
    scheduler: PairPaths
    controller_manager: PairPaths


def ensure_certificates(
    data_dir: Path, names: ServerNames, *, now: datetime | None = None
) -> CertificatePaths:
    """The authority and all leaves below `data_dir`, each one made or renewed if need be.

    The authority is made once and never replaced, as all nodes trust it: a broken one is a CertificatesError.
    """
    instant = now or datetime.now(UTC)
    directory = data_dir / "pki"
    for parent in (data_dir, directory):
        _make_directory(parent)
    directory.chmod(_DIRECTORY_MODE)
    paths = locate_certificates(data_dir)
    authority = _ensure_authority(paths.authority, instant)
    leaves: Mapping[PairPaths, LeafRequest] = {
        paths.serving: build_serving_request(names),
        paths.kubelet_client: KUBELET_CLIENT,
        paths.admin: ADMIN,
        paths.scheduler: SCHEDULER,
        paths.controller_manager: CONTROLLER_MANAGER,
    }
    for place, request in leaves.items():
        _ensure_leaf(place, request, authority, instant)
    return paths


def issue_node_certificate(
    data_dir: Path,
    node_name: str,
    *,
    dns_names: tuple[str, ...] = (),
    addresses: tuple[Address, ...] = (),
    now: datetime | None = None,
) -> Pair:
    """A new key and certificate for a node, signed by the authority below `data_dir`; nothing is written."""
    authority = read_pair(locate_certificates(data_dir).authority)
    request = build_node_request(node_name, dns_names, addresses)
    return issue_leaf(authority, request, now or datetime.now(UTC))


def read_pair(place: PairPaths) -> Pair:
    """A certificate and its key that must be there; CertificatesError."""
    pair = _read_stored(place).as_pair()
    if pair is None:
        raise CertificatesError(
            f"{place.certificate} and {place.key} are not both there; start the server once first"
        )
    return pair


def locate_certificates(data_dir: Path) -> CertificatePaths:
    """Where `ensure_certificates` keeps everything; reads nothing."""
    directory = data_dir / "pki"

    def pair(name: str) -> PairPaths:
        return PairPaths(directory / f"{name}.crt", directory / f"{name}.key")

    return CertificatePaths(
        authority=pair("ca"),
        serving=pair("apiserver"),
        kubelet_client=pair("apiserver-kubelet-client"),
        admin=pair("admin"),
        scheduler=pair("scheduler"),
        controller_manager=pair("controller-manager"),
    )


@dataclass(frozen=True, slots=True)
class _Stored:
    """What lies on disk; either half may be missing."""

    certificate: Certificate | None
    key: EllipticCurvePrivateKey | None = field(repr=False)

    def as_pair(self) -> Pair | None:
        if self.certificate is None or self.key is None:
            return None
        return Pair(self.certificate, self.key)


def _ensure_authority(place: PairPaths, now: datetime) -> Pair:
    stored = _read_stored(place)
    authority = stored.as_pair()
    if authority is None:
        if stored.certificate is not None:
            raise CertificatesError(
                f"{place.key} is missing beside {place.certificate}; restore it from a backup, "
                f"or remove {place.certificate} to start a new cluster identity"
            )
        # A key alone is what an interrupted first start leaves: its certificate was never used.
        authority = create_authority(now, stored.key)
        _write_pair(place, authority)
    if not authority.is_matching():
        raise CertificatesError(
            f"{place.key} is not the key of {place.certificate}; restore both from one backup"
        )
    if authority.certificate.not_valid_after_utc <= now:
        raise CertificatesError(
            f"the certificate authority {place.certificate} has expired; remove it and its key "
            "to start a new cluster identity"
        )
    return authority


def _ensure_leaf(place: PairPaths, request: LeafRequest, authority: Pair, now: datetime) -> None:
    """A leaf that is half there, or whose halves don't match, is what an interrupted renewal leaves."""
    pair = _read_stored(place).as_pair()
    is_good = (
        pair is not None
        and pair.is_matching()
        and is_issued_by(pair.certificate, authority)
        and not should_renew(pair.certificate, request, now)
    )
    if not is_good:
        _write_pair(place, issue_leaf(authority, request, now))
        _LOG.info("certificate issued", extra={"path": str(place.certificate)})


def _read_stored(place: PairPaths) -> _Stored:
    return _Stored(_read_part(place.certificate, parse_certificate), _read_part(place.key, parse_key))


def _read_part(path: Path, parse: Callable[[bytes], PartT]) -> PartT | None:
    """A parsed file, or None when there is none."""
    content = _read_file(path)
    if content is None:
        return None
    try:
        return parse(content)
    except CertificatesError as error:
        raise CertificatesError(
            f"can't use {path}: {error}; restore it, or remove it and its pair"
        ) from error


def _read_file(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CertificatesError(f"can't read {path}: {error.strerror}") from error


def _make_directory(directory: Path) -> None:
    try:
        directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise CertificatesError(f"can't make the directory {directory}: {error.strerror}") from error


def _write_pair(place: PairPaths, pair: Pair) -> None:
    """The key first, as a key alone can be given a certificate again."""
    write_file(place.key, pair.key_pem(), KEY_MODE)
    write_file(place.certificate, pair.certificate_pem(), _CERTIFICATE_MODE)


def write_file(path: Path, content: bytes, mode: int) -> None:
    """Replaces a file as a whole, on disk before it shows under its name; CertificatesError."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            os.fchmod(descriptor, mode)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
        _sync_directory(path.parent)
    except OSError as error:
        raise CertificatesError(f"can't write {path}: {error.strerror}") from error


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
