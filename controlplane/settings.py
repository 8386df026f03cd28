"""Every setting of the server, as one frozen value.

Pure. Built by the command line from flags; read by `controlplane.app`. Defaults are those of `berth server
--help`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Component(StrEnum):
    APISERVER = "apiserver"
    SCHEDULER = "scheduler"
    CONTROLLERS = "controllers"


ALL_COMPONENTS = (Component.APISERVER, Component.SCHEDULER, Component.CONTROLLERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    data_dir: Path
    bind_address: str = "0.0.0.0"  # empty: only the sockets that were handed over (LISTEN_FDS)
    secure_port: int = 6443
    advertise_address: str = ""  # empty: the bind address, or the address the default route leaves from
    service_cidr: str = "10.96.0.0/16"
    cluster_cidr: str = "10.244.0.0/16"
    cluster_dns: str = "10.96.0.10"
    cluster_domain: str = "cluster.local"
    components: tuple[Component, ...] = ALL_COMPONENTS
