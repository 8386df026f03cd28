"""The columns of every kind's table, and what fills them.

Pure data. Read by `build_table`; a new kind is a row here and a function that lists its cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from controlplane.apiserver.printing import kinds, storage
from controlplane.apiserver.printing.pods import list_pod_cells

Cells = Callable[[Mapping[str, Any], datetime], list[Any]]


@dataclass(frozen=True, slots=True)
class Column:
    """One column; with priority 1 it shows only in wide output."""

    name: str
    description: str
    type: str = "string"
    format: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Printer:
    columns: tuple[Column, ...]
    list_cells: Cells


_NAME: Final = Column(
    "Name", "Name of the object, unique among those of its kind in its namespace", format="name"
)
_AGE: Final = Column("Age", "Time since the object was created")


def _wide(name: str, description: str) -> Column:
    return Column(name, description, priority=1)


def _integer(name: str, description: str) -> Column:
    return Column(name, description, type="integer")


_TEMPLATE: Final = (
    _wide("Containers", "Names of each container in the template"),
    _wide("Images", "Images referenced by each container in the template"),
    _wide("Selector", "Label selector of the pods"),
)

PLAIN: Final = Printer((_NAME, _AGE), kinds.list_plain_cells)
"""For kinds that have no row."""

PRINTERS: Final[Mapping[str, Printer]] = MappingProxyType(
    {
        "Pod": Printer(
            (
                _NAME,
                Column("Ready", "Ready containers and all containers"),
                Column("Status", "What the pod's containers are doing, in a word"),
                Column("Restarts", "Restarts of the containers, and when the last one was"),
                _AGE,
                _wide("IP", "Address of the pod"),
                _wide("Node", "Node that the pod is bound to"),
                _wide("Nominated Node", "Node that is being cleared for the pod"),
                _wide("Readiness Gates", "Passed readiness gates and all readiness gates"),
            ),
            list_pod_cells,
        ),
        "Node": Printer(
            (
                _NAME,
                Column("Status", "Whether the node is ready and takes new pods"),
                Column("Roles", "Roles that the node's labels give it"),
                _AGE,
                Column("Version", "Version of the node agent"),
                _wide("Internal-IP", "Address within the cluster"),
                _wide("External-IP", "Address from outside"),
                _wide("OS-Image", "Operating system"),
                _wide("Kernel-Version", "Kernel"),
                _wide("Container-Runtime", "Container runtime and its version"),
            ),
            kinds.list_node_cells,
        ),
        "Service": Printer(
            (
                _NAME,
                Column("Type", "How the Service is exposed"),
                Column("Cluster-IP", "Address within the cluster"),
                Column("External-IP", "Addresses from outside"),
                Column("Port(s)", "Ports, node ports and protocols"),
                _AGE,
                _wide("Selector", "Labels of the pods behind the Service"),
            ),
            kinds.list_service_cells,
        ),
        "Deployment": Printer(
            (
                _NAME,
                Column("Ready", "Ready replicas and desired replicas"),
                Column("Up-to-date", "Replicas made from the current template"),
                Column("Available", "Replicas that have been ready for long enough"),
                _AGE,
                *_TEMPLATE,
            ),
            kinds.list_deployment_cells,
        ),
        "ReplicaSet": Printer(
            (
                _NAME,
                _integer("Desired", "Desired replicas"),
                _integer("Current", "Existing replicas"),
                _integer("Ready", "Ready replicas"),
                _AGE,
                *_TEMPLATE,
            ),
            kinds.list_replica_set_cells,
        ),
        "Namespace": Printer(
            (_NAME, Column("Status", "Whether the namespace is active"), _AGE), kinds.list_namespace_cells
        ),
        "ConfigMap": Printer(
            (_NAME, Column("Data", "Number of keys"), _AGE),
            kinds.list_config_map_cells,
        ),
        "Secret": Printer(
            (_NAME, Column("Type", "What the Secret is for"), Column("Data", "Number of keys"), _AGE),
            kinds.list_secret_cells,
        ),
        "ServiceAccount": Printer(
            (_NAME, Column("Secrets", "Number of Secrets"), _AGE),
            kinds.list_service_account_cells,
        ),
        "EndpointSlice": Printer(
            (
                _NAME,
                Column("AddressType", "Type of the addresses"),
                Column("Ports", "Ports of the endpoints"),
                Column("Endpoints", "Addresses of the endpoints"),
                _AGE,
            ),
            kinds.list_endpoint_slice_cells,
        ),
        "Endpoints": Printer(
            (_NAME, Column("Endpoints", "Addresses and ports of the endpoints"), _AGE),
            kinds.list_endpoints_cells,
        ),
        "Lease": Printer((_NAME, Column("Holder", "Who holds the lease"), _AGE), kinds.list_lease_cells),
        "PersistentVolume": Printer(
            (
                _NAME,
                Column("Capacity", "How much the volume holds"),
                Column("Access Modes", "How nodes and pods may share the volume"),
                Column("Reclaim Policy", "What becomes of the volume when its claim is gone"),
                Column("Status", "Whether the volume is bound to a claim"),
                Column("Claim", "The claim that the volume is bound to"),
                Column("StorageClass", "Class of the volume"),
                Column("VolumeAttributesClass", "Class of the volume's attributes"),
                Column("Reason", "Why the volume is in its state, in a word"),
                _AGE,
                _wide("VolumeMode", "Whether the volume is a file system or a device"),
            ),
            storage.list_persistent_volume_cells,
        ),
        "PersistentVolumeClaim": Printer(
            (
                _NAME,
                Column("Status", "Whether the claim is bound to a volume"),
                Column("Volume", "The volume that the claim is bound to"),
                Column("Capacity", "How much the volume holds"),
                Column("Access Modes", "How nodes and pods may share the volume"),
                Column("StorageClass", "Class that the claim asks for"),
                Column("VolumeAttributesClass", "Class of the volume's attributes"),
                _AGE,
                _wide("VolumeMode", "Whether the claim is for a file system or a device"),
            ),
            storage.list_claim_cells,
        ),
        "StorageClass": Printer(
            (
                _NAME,
                Column("Provisioner", "Who makes volumes of the class"),
                Column("ReclaimPolicy", "What becomes of the volumes when their claims are gone"),
                Column("VolumeBindingMode", "When claims are bound"),
                Column("AllowVolumeExpansion", "Whether volumes may grow", type="boolean"),
                _AGE,
            ),
            storage.list_storage_class_cells,
        ),
        "RuntimeClass": Printer(
            (_NAME, Column("Handler", "Name of the runtime's configuration"), _AGE),
            kinds.list_runtime_class_cells,
        ),
        "PriorityClass": Printer(
            (
                _NAME,
                _integer("Value", "Priority of the class's pods"),
                Column("Global-Default", "Whether pods without a class get this one", type="boolean"),
                _AGE,
                Column("PreemptionPolicy", "Whether pods of the class push others away"),
            ),
            kinds.list_priority_class_cells,
        ),
        "Event": Printer(
            (
                Column("Last Seen", "Time since it happened last"),
                Column("Type", "Normal or Warning"),
                Column("Reason", "Why, in a word"),
                Column("Object", "What it happened to"),
                _wide("Subobject", "Which part of the object it happened to"),
                _wide("Source", "Who reports it"),
                Column("Message", "Why, for people"),
                _wide("First Seen", "Time since it happened first"),
                _wide("Count", "How often it happened"),
                Column("Name", "Name of the event", format="name", priority=1),
            ),
            kinds.list_event_cells,
        ),
    }
)
