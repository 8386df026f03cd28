"""Who may use the node's HTTPS server.

Pure but for the TLS context, which reads the serving certificate. Called by `application`. A client shows a
certificate that the cluster's CA signed; its common name is the user, its organizations are the groups, as
the "Authenticating" page of the Kubernetes documentation has it.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

ADMIN_GROUP: Final = "system:masters"
API_SERVER_USERS: Final = frozenset({"kube-apiserver-kubelet-client", "system:kube-apiserver"})


@dataclass(frozen=True, slots=True)
class Identity:
    user: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Access:
    """What is asked for, as `nodes/<subresource>` in the words of an authorisation rule."""

    verb: str
    subresource: str


class Authorizer(Protocol):
    async def is_allowed(self, identity: Identity, access: Access) -> bool: ...


class AdminsOnly:
    """Lets in the cluster's administrators and the API server, for everything."""

    def __init__(self, users: frozenset[str] = API_SERVER_USERS) -> None:
        self._users = users

    async def is_allowed(self, identity: Identity, access: Access) -> bool:  # noqa: ARG002 - all or nothing
        return ADMIN_GROUP in identity.groups or identity.user in self._users


def parse_identity(certificate: Mapping[str, object] | None) -> Identity | None:
    """The identity in a verified peer certificate as `ssl` shows it, or None without one."""
    subject = certificate.get("subject") if certificate else None
    if not isinstance(subject, tuple):
        return None
    names = [pair for relative in subject for pair in relative]
    user = next((value for name, value in names if name == "commonName"), "")
    groups = tuple(value for name, value in names if name == "organizationName")
    return Identity(user, groups) if user else None


def compute_access(method: str, path: str) -> Access:
    """The verb and subresource that a request needs, as upstream's kubelet maps them."""
    verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(method, "get")
    top = path.strip("/").partition("/")[0]
    subresource = {"containerLogs": "log", "logs": "log", "stats": "stats", "metrics": "metrics"}.get(
        top, "proxy"
    )
    return Access(verb, subresource)


def build_server_tls(certificate: Path, key: Path, client_ca: bytes | None) -> ssl.SSLContext:
    """TLS that asks for a client certificate: a wrong one ends the handshake, none is up to the routes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.load_verify_locations(cadata=client_ca.decode("ascii"))
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
