"""The tables of every kind but pods: headers and cells."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from controlplane.apiserver.printing import build_table

NOW = datetime(2026, 1, 1, 1, 0, 0, tzinfo=UTC)
META = {"name": "x", "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"}
TEMPLATE = {
    "selector": {"matchLabels": {"app": "web"}},
    "template": {"spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "j:2"}]}},
}
TEMPLATE_CELLS = ["a,b", "i:1,j:2", "app=web"]


def service(**spec: Any) -> dict[str, Any]:
    return {"spec": {"type": "ClusterIP", "clusterIPs": ["10.96.0.7"], **spec}}


def node(ready: str | None = "True", **more: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready}] if ready else []
    return {"status": {"conditions": conditions, **more.pop("status", {})}, **more}


NODE_TAIL = ["", "<none>", "<none>", "<unknown>", "<unknown>", "<unknown>"]

CASES: list[tuple[str, dict[str, Any], list[Any]]] = [
    ("PersistentVolume", {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"],
                                   "persistentVolumeReclaimPolicy": "Retain", "storageClassName": "fast",
                                   "claimRef": {"namespace": "a", "name": "b"}, "volumeMode": "Block"},
                          "status": {"phase": "Bound"}},
     ["x", "1Gi", "RWX", "Retain", "Bound", "a/b", "fast", "<unset>", "", "60m", "Block"]),
    ("PersistentVolume", {"metadata": {**META, "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {}},
     ["x", "", "", "", "Terminating", "", "", "<unset>", "", "60m", "<unset>"]),
    ("PersistentVolumeClaim", {"spec": {"volumeName": "v", "storageClassName": "fast",
                                        "volumeMode": "Filesystem"},
                               "status": {"phase": "Bound", "capacity": {"storage": "2Gi"},
                                          "accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}},
     ["x", "Bound", "v", "2Gi", "RWO,ROX", "fast", "<unset>", "60m", "Filesystem"]),
    ("PersistentVolumeClaim", {"spec": {}, "status": {"phase": "Pending", "capacity": {"storage": "2Gi"}}},
     ["x", "Pending", "", "", "", "", "<unset>", "60m", "<unset>"]),
    ("StorageClass", {"provisioner": "p", "reclaimPolicy": "Retain", "volumeBindingMode": "Immediate",
                      "allowVolumeExpansion": True,
                      "metadata": {**META, "annotations": {
                          "storageclass.kubernetes.io/is-default-class": "true"}}},
     ["x (default)", "p", "Retain", "Immediate", True, "60m"]),
    ("RuntimeClass", {"handler": "kata"}, ["x", "kata", "60m"]),
    ("PriorityClass", {"value": 7, "preemptionPolicy": "Never"}, ["x", 7, False, "60m", "Never"]),
    ("Node", node(), ["x", "Ready", "<none>", "60m", *NODE_TAIL]),
    ("Node", node("False"), ["x", "NotReady", "<none>", "60m", *NODE_TAIL]),
    ("Node", node("Unknown"), ["x", "NotReady", "<none>", "60m", *NODE_TAIL]),
    ("Node", node(None), ["x", "Unknown", "<none>", "60m", *NODE_TAIL]),
    ("Node", node(spec={"unschedulable": True}),
     ["x", "Ready,SchedulingDisabled", "<none>", "60m", *NODE_TAIL]),
    ("Node", node(
        metadata={**META, "labels": {"node-role.kubernetes.io/worker": "",
        "node-role.kubernetes.io/control-plane": "",
                                     "kubernetes.io/role": "edge"}},
        status={"addresses": [{"type": "Hostname", "address": "x"}, {"type": "InternalIP",
        "address": "10.0.0.1"},
                              {"type": "ExternalIP", "address": "192.0.2.1"}],
                "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian", "kernelVersion": "6.1",
                             "containerRuntimeVersion": "containerd://1.6"}}),
     ["x", "Ready", "control-plane,edge,worker", "60m", "v1.36.0", "10.0.0.1", "192.0.2.1", "Debian", "6.1",
      "containerd://1.6"]),
    ("Service", service(ports=[{"port": 80, "protocol": "TCP"}], selector={"a": "b"}),
     ["x", "ClusterIP", "10.96.0.7", "<none>", "80/TCP", "60m", "a=b"]),
    ("Service", service(type="NodePort", ports=[{"port": 80, "nodePort": 30080, "protocol": "TCP"},
                                                {"port": 53, "nodePort": 30053, "protocol": "UDP"}]),
     ["x", "NodePort", "10.96.0.7", "<none>", "80:30080/TCP,53:30053/UDP", "60m", "<none>"]),
    ("Service", service(clusterIPs=["None"]), ["x", "ClusterIP", "None", "<none>", "<none>", "60m",
     "<none>"]),
    ("Service", service(type="LoadBalancer"), ["x", "LoadBalancer", "10.96.0.7", "<pending>", "<none>",
     "60m", "<none>"]),
    ("Service", {**service(type="LoadBalancer"),
     "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}},
     ["x", "LoadBalancer", "10.96.0.7", "192.0.2.9", "<none>", "60m", "<none>"]),
    ("Service", {"spec": {"type": "ExternalName", "externalName": "example.com"}},
     ["x", "ExternalName", "<none>", "example.com", "<none>", "60m", "<none>"]),
    ("Service", service(externalIPs=["192.0.2.1", "192.0.2.2"]),
     ["x", "ClusterIP", "10.96.0.7", "192.0.2.1,192.0.2.2", "<none>", "60m", "<none>"]),
    ("Deployment", {"spec": {"replicas": 3, **TEMPLATE},
                    "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}},
     ["x", "2/3", 3, 1, "60m", *TEMPLATE_CELLS]),
    ("Deployment", {"spec": {"replicas": 3, **TEMPLATE}}, ["x", "0/3", 0, 0, "60m", *TEMPLATE_CELLS]),
    ("ReplicaSet", {"spec": {"replicas": 3, **TEMPLATE}, "status": {"replicas": 3, "readyReplicas": 2}},
     ["x", 3, 3, 2, "60m", *TEMPLATE_CELLS]),
    ("Namespace", {"status": {"phase": "Active"}}, ["x", "Active", "60m"]),
    ("ConfigMap", {"data": {"a": "", "b": ""}, "binaryData": {"c": ""}}, ["x", 3, "60m"]),
    ("Secret", {"type": "Opaque", "data": {"a": ""}}, ["x", "Opaque", 1, "60m"]),
    ("ServiceAccount", {}, ["x", 0, "60m"]),
    ("Lease", {"spec": {"holderIdentity": "n1"}}, ["x", "n1", "60m"]),
    ("EndpointSlice", {"addressType": "IPv4", "ports": [{"port": 80}, {"name": "b"}, {}],
                       "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]},
                                     {"addresses": ["10.0.0.3"]}, {"addresses": ["10.0.0.4"]}]},
     ["x", "IPv4", "80,b,*", "10.0.0.1,10.0.0.2,10.0.0.3 + 1 more...", "60m"]),
    ("Endpoints", {"subsets": [{"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}],
                                "ports": [{"port": 80}, {"port": 81}]}]},
     ["x", "10.0.0.1:80,10.0.0.2:80,10.0.0.1:81 + 1 more...", "60m"]),
    ("Endpoints", {}, ["x", "<none>", "60m"]),
    ("EndpointSlice", {"addressType": "IPv6"}, ["x", "IPv6", "<unset>", "<unset>", "60m"]),
    ("Event", {"involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"},
               "type": "Warning", "reason": "BackOff", "message": " restarting \n", "count": 4,
               "source": {"component": "kubelet", "host": "n1"},
               "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:59:30Z"},
     ["30s", "Warning", "BackOff", "pod/p", "spec.containers{c}", "kubelet, n1", "restarting", "60m", 4,
     "x"]),
    ("Event", {"involvedObject": {"kind": "Node"}, "eventTime": "2026-01-01T00:00:00.000000Z",
               "reportingComponent": "scheduler",
               "series": {"count": 7, "lastObservedTime": "2026-01-01T00:59:00.000000Z"}},
     ["60s", "", "", "node", "", "scheduler", "", "60m", 7, "x"]),
    ("Widget", {}, ["x", "60m"]),
]  # fmt: skip

HEADERS: dict[str, list[str]] = {
    "Pod": ["Name", "Ready", "Status", "Restarts", "Age", "IP*", "Node*", "Nominated Node*",
    "Readiness Gates*"],
    "Node": ["Name", "Status", "Roles", "Age", "Version", "Internal-IP*", "External-IP*", "OS-Image*",
             "Kernel-Version*", "Container-Runtime*"],
    "Service": ["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector*"],
    "Deployment": ["Name", "Ready", "Up-to-date", "Available", "Age", "Containers*", "Images*", "Selector*"],
    "ReplicaSet": ["Name", "Desired", "Current", "Ready", "Age", "Containers*", "Images*", "Selector*"],
    "Namespace": ["Name", "Status", "Age"],
    "ConfigMap": ["Name", "Data", "Age"],
    "Secret": ["Name", "Type", "Data", "Age"],
    "ServiceAccount": ["Name", "Secrets", "Age"],
    "EndpointSlice": ["Name", "AddressType", "Ports", "Endpoints", "Age"],
    "Endpoints": ["Name", "Endpoints", "Age"],
    "Lease": ["Name", "Holder", "Age"],
    "Event": ["Last Seen", "Type", "Reason", "Object", "Subobject*", "Source*", "Message", "First Seen*",
    "Count*",
              "Name*"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "document", "cells"), CASES, ids=[f"{row[0]} {number}" for number, row in enumerate(CASES)]
)
def test_cells(kind: str, document: dict[str, Any], cells: list[Any]) -> None:
    table = build_table(kind, [{"metadata": META, **document}], NOW, "None")
    assert table["rows"] == [{"cells": cells}]
    assert len(table["columnDefinitions"]) == len(cells)


@pytest.mark.parametrize(("kind", "wanted"), HEADERS.items())
def test_headers(kind: str, wanted: list[str]) -> None:
    columns = build_table(kind, [], NOW)["columnDefinitions"]
    assert [column["name"] + "*" * column["priority"] for column in columns] == wanted
    assert all(column["description"] for column in columns)


@pytest.mark.parametrize("kind", HEADERS)
def test_an_empty_object_can_be_shown(kind: str) -> None:
    table = build_table(kind, [{"metadata": {}}], NOW)
    assert len(table["rows"][0]["cells"]) == len(table["columnDefinitions"])


def test_what_a_row_carries() -> None:
    document = {"metadata": META, "data": {"a": "b"}}
    partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": META}
    wanted = {"None": None, "Metadata": partial, "Object": document}
    for include, carried in wanted.items():
        (row,) = build_table("ConfigMap", [document], NOW, include)["rows"]
        assert row.get("object") == carried


def test_a_table_names_itself() -> None:
    table = build_table("ConfigMap", [], NOW)
    assert (table["kind"], table["apiVersion"], table["rows"]) == ("Table", "meta.k8s.io/v1", [])
