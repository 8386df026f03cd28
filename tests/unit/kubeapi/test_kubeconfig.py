from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeapi.kubeconfig import ClientConfig, KubeconfigError, read_kubeconfig

CA, CERTIFICATE, KEY = b"ca-pem", b"certificate-pem", b"key-pem"


def document(cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "main",
        "clusters": [{"name": "c", "cluster": {"server": "https://10.0.0.1:6443/"} | (cluster or {})}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [
            {"name": "main", "context": {"cluster": "c", "user": "u"}},
            {"name": "team", "context": {"cluster": "c", "user": "u", "namespace": "web"}},
        ],
    }


def write(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_embedded_certificates(tmp_path: Path) -> None:
    cluster = {"certificate-authority-data": encoded(CA), "tls-server-name": "kubernetes"}
    user = {"client-certificate-data": encoded(CERTIFICATE), "client-key-data": encoded(KEY)}
    assert read_kubeconfig(write(tmp_path, document(cluster, user))) == ClientConfig(
        server="https://10.0.0.1:6443",
        ca_data=CA,
        client_certificate_data=CERTIFICATE,
        client_key_data=KEY,
        tls_server_name="kubernetes",
    )


def test_separate_files_are_beside_the_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca.crt").write_bytes(CA)
    (tmp_path / "node.crt").write_bytes(CERTIFICATE)
    (tmp_path / "node.key").write_bytes(KEY)
    write(
        tmp_path,
        document(
            {"certificate-authority": "pki/ca.crt"},
            {"client-certificate": "node.crt", "client-key": str(tmp_path / "node.key")},
        ),
    )
    monkeypatch.chdir(tmp_path.parent)
    config = read_kubeconfig(Path(tmp_path.name) / "config.yaml")
    assert (config.ca_data, config.client_certificate_data, config.client_key_data) == (CA, CERTIFICATE, KEY)


def test_tokens(tmp_path: Path) -> None:
    assert read_kubeconfig(write(tmp_path, document(user={"token": "abc"}))).token == "abc"
    from_file = read_kubeconfig(write(tmp_path, document(user={"tokenFile": "run/token"})))
    assert from_file.token_file == tmp_path / "run" / "token"
    both = read_kubeconfig(write(tmp_path, document(user={"token": "abc", "tokenFile": "run/token"})))
    assert (both.token, both.token_file) == ("abc", None)


def test_contexts(tmp_path: Path) -> None:
    path = write(tmp_path, document({"insecure-skip-tls-verify": True}))
    assert read_kubeconfig(path).namespace == ""
    assert read_kubeconfig(path, "team").namespace == "web"
    assert read_kubeconfig(path).insecure_skip_tls_verify


def test_secrets_do_not_show() -> None:
    config = ClientConfig(server="https://x", client_key_data=b"hidden-key", token="hidden-token")
    assert "hidden" not in repr(config)


@pytest.mark.parametrize(
    ("cluster", "user", "why"),
    [
        ({"server": "10.0.0.1:6443"}, {}, "which is no URL"),
        ({"server": "ftp://10.0.0.1"}, {}, "which is no URL"),
        ({"proxy-url": "http://proxy"}, {}, "remove proxy-url"),
        ({"certificate-authority": "none.crt"}, {}, "certificate-authority 'none.crt'.*No such file"),
        ({"certificate-authority-data": "no base64!"}, {}, "certificate-authority-data that is not base64"),
        ({}, {"exec": {"command": "aws"}}, r"credential plugin \(exec\), which is not supported; use a"),
        ({}, {"auth-provider": {"name": "gcp"}}, "auth-provider, which is not supported"),
        ({}, {"username": "admin", "password": "x"}, "user name and password, which is not supported"),
        ({}, {"client-certificate-data": encoded(CERTIFICATE)}, "no client-key; certificate and key"),
        ({}, {"client-key-data": encoded(KEY)}, "no client-certificate; certificate and key"),
        ({"server": 7}, {}, "has a wrong value"),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], why: str) -> None:
    path = write(tmp_path, document(cluster, user))
    with pytest.raises(KubeconfigError, match=f"kubeconfig {path} .*{why}"):
        read_kubeconfig(path)


def test_names_that_lead_nowhere(tmp_path: Path) -> None:
    path = write(tmp_path, document())
    with pytest.raises(KubeconfigError, match="no context named 'other'; it has: main, team"):
        read_kubeconfig(path, "other")
    for section, kind in (("clusters", "cluster"), ("users", "user")):
        path = write(tmp_path, document() | {section: []})
        with pytest.raises(KubeconfigError, match=f"has no {kind} named"):
            read_kubeconfig(path)
    path = write(tmp_path, document() | {"current-context": ""})
    with pytest.raises(KubeconfigError, match="has no current-context"):
        read_kubeconfig(path)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "holds no document of kind Config"),
        ("- 1", "holds no document of kind Config"),
        ("kind: Pod", "is of kind 'Pod', not Config"),
        ("a: b\n\ttoken: 'secret", r"is not valid YAML \(line 2\)"),
        ("clusters: 7", "has a wrong value"),
    ],
)
def test_what_is_no_kubeconfig(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(KubeconfigError, match=why) as raised:
        read_kubeconfig(path)
    assert "secret" not in str(raised.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="cannot be read: No such file"):
        read_kubeconfig(tmp_path / "absent")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(KubeconfigError, match="not text in UTF-8"):
        read_kubeconfig(tmp_path / "binary")
