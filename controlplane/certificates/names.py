"""Who the control plane's certificates are for: subjects, alternative names, lifetimes.

Pure. Follows the "PKI certificates and requirements" page of the Kubernetes documentation, whose subjects the
authorizers know.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

Address = IPv4Address | IPv6Address

CA_LIFETIME: Final = timedelta(days=3650)
LEAF_LIFETIME: Final = timedelta(days=365)
NODE_LIFETIME: Final = timedelta(days=365)
BACKDATED: Final = timedelta(minutes=5)  # clocks of joining nodes may lag
MASTERS: Final = "system:masters"
NODES: Final = "system:nodes"


@dataclass(frozen=True, slots=True)
class Subject:
    """A certificate's common name (the user) and organisation (the group)."""

    common_name: str
    organization: str = ""


@dataclass(frozen=True, slots=True)
class LeafRequest:
    """What a leaf certificate says; with alternative names it serves, else it only identifies a client."""

    subject: Subject
    dns_names: tuple[str, ...] = ()
    addresses: tuple[Address, ...] = ()
    lifetime: timedelta = LEAF_LIFETIME

    @property
    def is_server(self) -> bool:
        return bool(self.dns_names or self.addresses)


@dataclass(frozen=True, slots=True)
class ServerNames:
    """How clients reach the API server."""

    dns_names: tuple[str, ...]
    addresses: tuple[Address, ...]


CA_SUBJECT: Final = Subject("berth-ca")
ADMIN: Final = LeafRequest(Subject("kubernetes-admin", MASTERS))
KUBELET_CLIENT: Final = LeafRequest(Subject("kube-apiserver-kubelet-client", MASTERS))
SCHEDULER: Final = LeafRequest(Subject("system:kube-scheduler"))
CONTROLLER_MANAGER: Final = LeafRequest(Subject("system:kube-controller-manager"))


def list_server_names(
    addresses: Iterable[str], *, cluster_domain: str, first_service_ip: str, dns_names: Iterable[str] = ()
) -> ServerNames:
    """The names a serving certificate needs: the Service's in every form, localhost, and those given.

    ValueError for an address that is none.
    """
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    names = (*service, f"kubernetes.default.svc.{cluster_domain}", "localhost", *dns_names)
    texts = ("127.0.0.1", "::1", first_service_ip, *addresses)
    return ServerNames(tuple(dict.fromkeys(names)), tuple(dict.fromkeys(ip_address(text) for text in texts)))


def build_serving_request(names: ServerNames) -> LeafRequest:
    """The API server's own certificate."""
    return LeafRequest(Subject("kube-apiserver"), names.dns_names, names.addresses)


def build_node_request(
    node_name: str, dns_names: tuple[str, ...] = (), addresses: tuple[Address, ...] = ()
) -> LeafRequest:
    """A node's certificate: a client of the API server, and with names the server of its own port."""
    return LeafRequest(Subject(f"system:node:{node_name}", NODES), dns_names, addresses, NODE_LIFETIME)
