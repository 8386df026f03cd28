"""A zone that was kept up change by change answers as one that was built at once from what is left."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.dns.zone import RecordType, Zone
from kubeapi.core import Service, ServicePort, ServiceSpec
from kubeapi.discovery import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kubeapi.meta import ObjectKey, ObjectMeta

NAMES = ("a", "b")
ADDRESSES = ("10.0.0.1", "10.0.0.2", "fd00::1")
HOSTS = ("h0", "h1", None)

services = st.builds(
    lambda name, address, ports, not_ready: Service(
        metadata=ObjectMeta(name=name, namespace="x"),
        spec=ServiceSpec(
            type="ExternalName" if address == "alias" else "ClusterIP",
            cluster_ip="" if address == "alias" else address,
            external_name="b.x.svc.cluster.local" if address == "alias" else "",
            ports=tuple(ServicePort(name=each, port=80) for each in ports),
            publish_not_ready_addresses=not_ready,
        ),
    ),
    st.sampled_from(NAMES),
    st.sampled_from(("None", "10.96.0.1", "10.96.0.2", "", "alias")),
    st.lists(st.sampled_from(("p", "q", "")), max_size=2, unique=True),
    st.booleans(),
)
slices = st.builds(
    lambda name, service, hosts, ready: EndpointSlice(
        metadata=ObjectMeta(name=name, namespace="x", labels={"kubernetes.io/service-name": service}),
        endpoints=tuple(
            Endpoint(addresses=(address,), hostname=host, conditions=EndpointConditions(ready=ready))
            for address, host in hosts
        ),
        ports=(EndpointPort(name="p", port=8080),),
    ),
    st.sampled_from(("s1", "s2")),
    st.sampled_from(NAMES),
    st.lists(st.tuples(st.sampled_from(ADDRESSES), st.sampled_from(HOSTS)), max_size=3),
    st.sampled_from((True, False, None)),
)
removals = st.sampled_from([("service", name) for name in NAMES] + [("slice", name) for name in ("s1", "s2")])

QUESTIONS = [
    (f"{prefix}{name}.x.svc.cluster.local", type_)
    for name in NAMES
    for prefix in ("", "_p._tcp.", "_q._tcp.", "_tcp.", "h0.", "h1.", "10-0-0-1.", "fd00--1.")
    for type_ in (RecordType.A, RecordType.AAAA, RecordType.SRV)
] + [
    ("x.svc.cluster.local", RecordType.A),
    ("1.0.0.10.in-addr.arpa", RecordType.PTR),
    ("1.0.96.10.in-addr.arpa", RecordType.PTR),
]


@settings(deadline=None)
@given(st.lists(services | slices | removals, max_size=12))
def test_changes_add_up(changes: list[Service | EndpointSlice | tuple[str, str]]) -> None:
    grown = Zone("cluster.local", "10.96.0.10")
    known_services: dict[ObjectKey, Service] = {}
    known_slices: dict[ObjectKey, EndpointSlice] = {}
    for change in changes:
        match change:
            case Service():
                known_services[change.key] = change
                grown.change_service(change.key, change)
            case EndpointSlice():
                grown.change_slice(known_slices.get(change.key), change)
                known_slices[change.key] = change
            case ("service", name):
                known_services.pop(ObjectKey("x", name), None)
                grown.change_service(ObjectKey("x", name), None)
            case (_, name):
                grown.change_slice(known_slices.pop(ObjectKey("x", name), None), None)
    built = Zone("cluster.local", "10.96.0.10")
    for service in known_services.values():
        built.change_service(service.key, service)
    for slice_ in known_slices.values():
        built.change_slice(None, slice_)
    answers = [(name, type_, grown.look_up(name, type_)) for name, type_ in QUESTIONS]
    assert answers == [(name, type_, built.look_up(name, type_)) for name, type_ in QUESTIONS]
