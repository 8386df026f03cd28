"""Certificates on disk: made once, renewed when due, healed after an interruption, refused when broken."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane.certificates import (
    CertificatePaths,
    CertificatesError,
    PairPaths,
    ServerNames,
    build_kubeconfig,
    ensure_certificates,
    issue_node_certificate,
    list_server_names,
    write_kubeconfig,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = list_server_names(["192.0.2.1"], cluster_domain="cluster.local", first_service_ip="10.96.0.1")


def ensure(directory: Path, names: ServerNames = NAMES, now: datetime = NOW) -> CertificatePaths:
    return ensure_certificates(directory, names, now=now)


def read(place: PairPaths) -> x509.Certificate:
    return x509.load_pem_x509_certificate(place.certificate.read_bytes())


def subject(certificate: x509.Certificate) -> tuple[str, str]:
    def value(oid: x509.ObjectIdentifier) -> str:
        return "".join(str(item.value) for item in certificate.subject.get_attributes_for_oid(oid))

    return value(NameOID.COMMON_NAME), value(NameOID.ORGANIZATION_NAME)


def usages(certificate: x509.Certificate) -> set[Any]:
    return set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (directory / "pki").iterdir()}


def test_everything_is_made_and_signed_by_the_authority(tmp_path: Path) -> None:
    paths = ensure(tmp_path)
    authority = read(paths.authority)
    wanted = {
        paths.serving: ("kube-apiserver", ""),
        paths.kubelet_client: ("kube-apiserver-kubelet-client", "system:masters"),
        paths.admin: ("kubernetes-admin", "system:masters"),
        paths.scheduler: ("system:kube-scheduler", ""),
        paths.controller_manager: ("system:kube-controller-manager", ""),
    }
    for place, names in wanted.items():
        certificate = read(place)
        certificate.verify_directly_issued_by(authority)
        assert subject(certificate) == names
    assert usages(read(paths.serving)) == {ExtendedKeyUsageOID.SERVER_AUTH}
    assert usages(read(paths.admin)) == {ExtendedKeyUsageOID.CLIENT_AUTH}
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_the_serving_certificate_names_the_service_and_the_addresses(tmp_path: Path) -> None:
    names = (
        read(ensure(tmp_path).serving).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    )
    assert names.get_values_for_type(x509.DNSName) == [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
    ]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == [
        "127.0.0.1",
        "::1",
        "10.96.0.1",
        "192.0.2.1",
    ]


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    ensure(tmp_path / "new")
    directory = tmp_path / "new" / "pki"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert directory.parent.stat().st_mode & 0o777 == 0o700
    keys = list(directory.glob("*.key"))
    assert len(keys) == 6
    assert {path.stat().st_mode & 0o777 for path in keys} == {0o600}
    assert not list(directory.glob(".*"))


def test_a_second_start_changes_nothing(tmp_path: Path) -> None:
    ensure(tmp_path)
    before = contents(tmp_path)
    ensure(tmp_path, now=NOW + timedelta(days=100))
    assert contents(tmp_path) == before


def test_new_names_renew_the_serving_certificate_only(tmp_path: Path) -> None:
    ensure(tmp_path)
    before = contents(tmp_path)
    names = list_server_names(["192.0.2.2"], cluster_domain="cluster.local", first_service_ip="10.96.0.1")
    ensure(tmp_path, names)
    after = contents(tmp_path)
    assert {name for name in after if after[name] != before[name]} == {"apiserver.crt", "apiserver.key"}


@pytest.mark.parametrize("days", [250, 400])
def test_leaves_are_renewed_in_the_last_third_of_their_life_and_after(tmp_path: Path, days: int) -> None:
    paths = ensure(tmp_path)
    before = contents(tmp_path)
    ensure(tmp_path, now=NOW + timedelta(days=days))
    after = contents(tmp_path)
    assert {name for name in after if after[name] == before[name]} == {"ca.crt", "ca.key"}
    assert read(paths.admin).not_valid_after_utc == NOW + timedelta(days=days + 365)


def test_a_leaf_never_outlives_the_authority(tmp_path: Path) -> None:
    ensure(tmp_path)
    paths = ensure(tmp_path, now=NOW + timedelta(days=3600))
    assert read(paths.admin).not_valid_after_utc == read(paths.authority).not_valid_after_utc


def test_a_leaf_of_another_authority_is_replaced(tmp_path: Path) -> None:
    paths, other = ensure(tmp_path / "a"), ensure(tmp_path / "b")
    paths.admin.certificate.write_bytes(other.admin.certificate.read_bytes())
    paths.admin.key.write_bytes(other.admin.key.read_bytes())
    ensure(tmp_path / "a")
    read(paths.admin).verify_directly_issued_by(read(paths.authority))


@pytest.mark.parametrize("missing", ["certificate", "key"])
def test_half_a_leaf_is_made_whole(tmp_path: Path, missing: str) -> None:
    paths = ensure(tmp_path)
    getattr(paths.admin, missing).unlink()
    ensure(tmp_path)
    assert paths.admin.certificate.exists()
    assert paths.admin.key.exists()


def test_an_interrupted_renewal_is_finished(tmp_path: Path) -> None:
    paths = ensure(tmp_path)
    paths.admin.key.write_bytes(paths.scheduler.key.read_bytes())
    ensure(tmp_path)
    key = paths.admin.key.read_bytes()
    assert key != paths.scheduler.key.read_bytes()


def test_an_interrupted_first_start_is_finished_with_the_same_key(tmp_path: Path) -> None:
    paths = ensure(tmp_path)
    key = paths.authority.key.read_bytes()
    paths.authority.certificate.unlink()
    ensure(tmp_path)
    assert paths.authority.key.read_bytes() == key
    read(paths.admin).verify_directly_issued_by(read(paths.authority))


def test_an_authority_without_its_key_is_refused(tmp_path: Path) -> None:
    paths = ensure(tmp_path)
    paths.authority.key.unlink()
    with pytest.raises(CertificatesError, match=r"ca\.key is missing beside .*ca\.crt; restore it"):
        ensure(tmp_path)


def test_an_authority_with_another_key_is_refused(tmp_path: Path) -> None:
    paths = ensure(tmp_path)
    paths.authority.key.write_bytes(paths.admin.key.read_bytes())
    with pytest.raises(CertificatesError, match=r"ca\.key is not the key of .*ca\.crt"):
        ensure(tmp_path)


def test_an_expired_authority_is_refused(tmp_path: Path) -> None:
    ensure(tmp_path)
    with pytest.raises(CertificatesError, match="has expired"):
        ensure(tmp_path, now=NOW + timedelta(days=4000))


@pytest.mark.parametrize("part", ["certificate", "key"])
@pytest.mark.parametrize("content", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nrubbish\n"])
def test_a_corrupt_file_is_named_and_not_quoted(tmp_path: Path, part: str, content: bytes) -> None:
    path: Path = getattr(ensure(tmp_path).admin, part)
    path.write_bytes(content)
    with pytest.raises(CertificatesError, match=f"can't use {path}: it is not") as raised:
        ensure(tmp_path)
    assert "rubbish" not in str(raised.value)


def test_a_data_directory_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CertificatesError, match="can't make the directory"):
        ensure(tmp_path / "file")


def test_a_nodes_certificate(tmp_path: Path) -> None:
    paths = ensure(tmp_path)
    pair = issue_node_certificate(tmp_path, "n1", now=NOW)
    pair.certificate.verify_directly_issued_by(read(paths.authority))
    assert subject(pair.certificate) == ("system:node:n1", "system:nodes")
    assert usages(pair.certificate) == {ExtendedKeyUsageOID.CLIENT_AUTH}
    assert pair.is_matching()


def test_a_nodes_certificate_for_its_own_port_too(tmp_path: Path) -> None:
    ensure(tmp_path)
    pair = issue_node_certificate(tmp_path, "n1", dns_names=("n1",), now=NOW)
    assert usages(pair.certificate) == {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}


def test_a_nodes_certificate_needs_an_authority(tmp_path: Path) -> None:
    with pytest.raises(CertificatesError, match="start the server once first"):
        issue_node_certificate(tmp_path, "n1")


def test_no_key_shows_in_a_repr(tmp_path: Path) -> None:
    ensure(tmp_path)
    pair = issue_node_certificate(tmp_path, "n1", now=NOW)
    assert "key" not in repr(pair)
    assert "PRIVATE" not in repr(pair)


def test_kubeconfig() -> None:
    document = yaml.safe_load(build_kubeconfig("https://192.0.2.1:6443", b"CA", b"CERT", b"KEY", "admin"))
    assert document == {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "berth",
                "cluster": {
                    "server": "https://192.0.2.1:6443",
                    "certificate-authority-data": base64.b64encode(b"CA").decode(),
                },
            }
        ],
        "users": [
            {
                "name": "admin",
                "user": {
                    "client-certificate-data": base64.b64encode(b"CERT").decode(),
                    "client-key-data": base64.b64encode(b"KEY").decode(),
                },
            }
        ],
        "contexts": [{"name": "admin@berth", "context": {"cluster": "berth", "user": "admin"}}],
        "current-context": "admin@berth",
    }


def test_kubeconfig_file_is_private_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig" / "admin.yaml"
    write_kubeconfig(path, "one")
    write_kubeconfig(path, "two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["admin.yaml"]


def test_an_address_that_is_none() -> None:
    with pytest.raises(ValueError, match="not-an-address"):
        list_server_names(["not-an-address"], cluster_domain="x", first_service_ip="10.96.0.1")
