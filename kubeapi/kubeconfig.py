"""Reads a kubeconfig file into what a client needs: server, trust, identity.

Does file IO, once, when called. Used by the agent, the command line and the lab. Relative paths are relative
to the file, as kubectl has it; credential plugins and passwords are refused with a sentence. Follows
"Organizing Cluster Access Using kubeconfig Files" in the Kubernetes documentation.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
import yaml

from kubeapi.errors import KubeAPIError


class KubeconfigError(KubeAPIError):
    """The kubeconfig can't be used; one sentence that names the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """Where the API server is, what to trust, and who one is; keys and tokens never show in a `repr`.

    Certificates and the key are PEM. With `token_file` set the token is read from there, again and again.
    """

    server: str
    ca_data: bytes | None = None  # None: the system's trust store
    client_certificate_data: bytes | None = None
    client_key_data: bytes | None = field(default=None, repr=False)
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    tls_server_name: str = ""
    insecure_skip_tls_verify: bool = False
    namespace: str = ""


class _Section(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """What all sections share: unknown keys are left aside."""


class _Cluster(_Section, frozen=True, kw_only=True):
    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""


class _User(_Section, frozen=True, kw_only=True):
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    username: str = ""
    exec: dict[str, object] | None = None
    auth_provider: dict[str, object] | None = None


class _Context(_Section, frozen=True, kw_only=True):
    cluster: str = ""
    user: str = ""
    namespace: str = ""


class _NamedCluster(_Section, frozen=True, kw_only=True):
    name: str = ""
    cluster: _Cluster | None = None


class _NamedUser(_Section, frozen=True, kw_only=True):
    name: str = ""
    user: _User | None = None


class _NamedContext(_Section, frozen=True, kw_only=True):
    name: str = ""
    context: _Context | None = None


class _Kubeconfig(_Section, frozen=True, kw_only=True):
    kind: str = "Config"
    current_context: str = ""
    clusters: tuple[_NamedCluster, ...] | None = None
    users: tuple[_NamedUser, ...] | None = None
    contexts: tuple[_NamedContext, ...] | None = None


def read_kubeconfig(path: Path, context: str = "") -> ClientConfig:
    """The client configuration of a context, by default the file's current one; raises KubeconfigError."""
    return _Reader(path, _parse(path, _read_text(path))).read(context)


class _Reader:
    """One file being read: resolves names and paths, and says in which file something is wrong."""

    def __init__(self, path: Path, document: _Kubeconfig) -> None:
        self._path = path
        self._document = document

    def read(self, context_name: str) -> ClientConfig:
        context = self._choose_context(context_name or self._document.current_context)
        clusters = {each.name: each.cluster for each in self._document.clusters or ()}
        users = {each.name: each.user for each in self._document.users or ()}
        cluster = clusters.get(context.cluster)
        if cluster is None:
            raise self._error(f"has no cluster named {context.cluster!r}, which its context names")
        if context.user and context.user not in users:
            raise self._error(f"has no user named {context.user!r}, which its context names")
        user = users.get(context.user) or _User()
        self._check_cluster(context.cluster, cluster)
        self._refuse_unsupported(context.user, user)
        return self._build(cluster, user, context)

    def _build(self, cluster: _Cluster, user: _User, context: _Context) -> ClientConfig:
        certificate = self._pem(user.client_certificate_data, user.client_certificate, "client-certificate")
        key = self._pem(user.client_key_data, user.client_key, "client-key")
        if (certificate is None) != (key is None):
            missing = "client-key" if key is None else "client-certificate"
            raise self._error(f"gives user {context.user!r} no {missing}; certificate and key come together")
        return ClientConfig(
            server=cluster.server.rstrip("/"),
            ca_data=self._pem(
                cluster.certificate_authority_data, cluster.certificate_authority, "certificate-authority"
            ),
            client_certificate_data=certificate,
            client_key_data=key,
            token=user.token,
            token_file=self._beside(user.token_file) if user.token_file and not user.token else None,
            tls_server_name=cluster.tls_server_name,
            insecure_skip_tls_verify=cluster.insecure_skip_tls_verify,
            namespace=context.namespace,
        )

    def _choose_context(self, name: str) -> _Context:
        contexts = {each.name: each.context for each in self._document.contexts or ()}
        if not name:
            raise self._error("has no current-context; set one, or name a context")
        context = contexts.get(name)
        if context is None:
            known = ", ".join(sorted(contexts)) or "none"
            raise self._error(f"has no context named {name!r}; it has: {known}")
        return context

    def _check_cluster(self, name: str, cluster: _Cluster) -> None:
        parts = urlsplit(cluster.server)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise self._error(f"gives cluster {name!r} the server {cluster.server!r}, which is no URL")
        if cluster.proxy_url:
            raise self._error(f"asks for a proxy, which is not supported; remove proxy-url of {name!r}")

    def _refuse_unsupported(self, name: str, user: _User) -> None:
        for present, what in (
            (user.exec, "a credential plugin (exec)"),
            (user.auth_provider, "an auth-provider"),
            (user.username, "a user name and password"),
        ):
            if present:
                raise self._error(
                    f"gives user {name!r} {what}, which is not supported; "
                    "use a client certificate, a token or a tokenFile"
                )

    def _pem(self, embedded: str, file_name: str, what: str) -> bytes | None:
        """The embedded data wins over the file, as in kubectl."""
        if embedded:
            try:
                return base64.b64decode(embedded, validate=True)
            except binascii.Error as error:
                raise self._error(f"has a {what}-data that is not base64") from error
        if not file_name:
            return None
        try:
            return self._beside(file_name).read_bytes()
        except OSError as error:
            why = f"names the {what} {file_name!r}, which cannot be read: {error.strerror}"
            raise self._error(why) from error

    def _beside(self, file_name: str) -> Path:
        return self._path.absolute().parent / file_name

    def _error(self, what: str) -> KubeconfigError:
        return KubeconfigError(f"kubeconfig {self._path} {what}")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise KubeconfigError(f"kubeconfig {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise KubeconfigError(f"kubeconfig {path} is not text in UTF-8") from error


def _parse(path: Path, text: str) -> _Kubeconfig:
    # Neither parser's own message is passed on: both may quote the text, which holds keys.
    try:
        document = yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        where = _line_of(error)
        raise KubeconfigError(f"kubeconfig {path} is not valid YAML{where}") from error
    if not isinstance(document, Mapping):
        raise KubeconfigError(f"kubeconfig {path} holds no document of kind Config")
    try:
        kubeconfig = msgspec.convert(document, _Kubeconfig)
    except msgspec.ValidationError as error:
        raise KubeconfigError(f"kubeconfig {path} has a wrong value: {error}") from None
    if kubeconfig.kind != "Config":
        raise KubeconfigError(f"kubeconfig {path} is of kind {kubeconfig.kind!r}, not Config")
    return kubeconfig


def _line_of(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f" (line {mark.line + 1})" if mark is not None else ""


_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
