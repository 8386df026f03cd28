"""The zone: one good set of Services, and one change in each test."""

from __future__ import annotations

import pytest

from agent.dns.zone import (
    Found,
    Lookup,
    NoData,
    NoName,
    NotOurs,
    Record,
    RecordType,
    Zone,
)
from kubeapi.core import Service, ServicePort, ServiceSpec
from kubeapi.discovery import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kubeapi.meta import ObjectKey, ObjectMeta

A, AAAA, SRV, PTR = RecordType.A, RecordType.AAAA, RecordType.SRV, RecordType.PTR
CNAME, TXT, OTHER = RecordType.CNAME, RecordType.TXT, RecordType.OTHER
WEB, DB = ObjectKey("default", "web"), ObjectKey("data", "db")
PORTS = (
    ServicePort(name="http", protocol="TCP", port=80),
    ServicePort(name="dns", protocol="UDP", port=53),
)


def service(key: ObjectKey, **spec: object) -> Service:
    return Service(
        metadata=ObjectMeta(name=key.name, namespace=key.namespace),
        spec=ServiceSpec(**spec),  # type: ignore[arg-type]
    )


def endpoint(address: str, hostname: str | None = None, ready: bool | None = True) -> Endpoint:
    return Endpoint(addresses=(address,), hostname=hostname, conditions=EndpointConditions(ready=ready))


def slice_of(
    key: ObjectKey, *endpoints: Endpoint, name: str = "s1", address_type: str = "IPv4"
) -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(
            name=name, namespace=key.namespace, labels={"kubernetes.io/service-name": key.name}
        ),
        address_type=address_type,
        endpoints=endpoints,
        ports=(EndpointPort(name="sql", port=5432),),
    )


@pytest.fixture
def zone() -> Zone:
    zone = Zone("cluster.local", "10.96.0.10")
    zone.change_service(
        WEB, service(WEB, cluster_ip="10.96.7.8", cluster_ips=("10.96.7.8", "fd00::78"), ports=PORTS)
    )
    zone.change_service(DB, service(DB, cluster_ip="None", ports=(ServicePort(name="sql", port=5432),)))
    zone.change_slice(None, slice_of(DB, endpoint("10.244.0.5", "db-0"), endpoint("10.244.0.6")))
    return zone


def found(*records: Record) -> Found:
    return Found(records)


WEB_NAME, DB_NAME = "web.default.svc.cluster.local", "db.data.svc.cluster.local"
DB_0, DB_6 = f"db-0.{DB_NAME}", f"10-244-0-6.{DB_NAME}"


@pytest.mark.parametrize(
    ("name", "type_", "answer"),
    [
        (WEB_NAME, A, found(Record(WEB_NAME, A, "10.96.7.8"))),
        (WEB_NAME, AAAA, found(Record(WEB_NAME, AAAA, "fd00::78"))),
        (WEB_NAME, TXT, NoData()),
        (WEB_NAME, OTHER, NoData()),
        (f"_tcp.{WEB_NAME}", SRV, NoData()),
        (f"_http._tcp.{WEB_NAME}", A, NoData()),
        (f"_none._tcp.{WEB_NAME}", SRV, NoName()),
        (f"_http._udp.{WEB_NAME}", SRV, NoName()),
        (f"x.{WEB_NAME}", A, NoName()),
        ("none.default.svc.cluster.local", A, NoName()),
        ("default.svc.cluster.local", A, NoData()),
        ("none.svc.cluster.local", A, NoName()),
        ("svc.cluster.local", A, NoData()),
        ("cluster.local", A, NoData()),
        ("none.cluster.local", A, NoName()),
        ("xcluster.local", A, NotOurs()),
        ("example.com", A, NotOurs()),
        ("", A, NotOurs()),
        (DB_NAME, A, found(Record(DB_NAME, A, "10.244.0.5"), Record(DB_NAME, A, "10.244.0.6"))),
        (DB_NAME, AAAA, NoData()),
        (DB_0, A, found(Record(DB_0, A, "10.244.0.5"))),
        (DB_6, A, found(Record(DB_6, A, "10.244.0.6"))),
        (f"db-1.{DB_NAME}", A, NoName()),
        (
            "8.7.96.10.in-addr.arpa",
            PTR,
            found(Record("8.7.96.10.in-addr.arpa", PTR, WEB_NAME)),
        ),
        ("5.0.244.10.in-addr.arpa", PTR, found(Record("5.0.244.10.in-addr.arpa", PTR, DB_0))),
        ("5.0.244.10.in-addr.arpa", A, NoData()),
        ("9.9.9.9.in-addr.arpa", PTR, NotOurs()),
        ("x.9.9.9.in-addr.arpa", PTR, NotOurs()),
        (
            "10-244-0-9.any.pod.cluster.local",
            A,
            found(Record("10-244-0-9.any.pod.cluster.local", A, "10.244.0.9")),
        ),
        (
            "fd00--9.any.pod.cluster.local",
            AAAA,
            found(Record("fd00--9.any.pod.cluster.local", AAAA, "fd00::9")),
        ),
        ("no-address.any.pod.cluster.local", A, NoName()),
        ("dns-version.cluster.local", TXT, found(Record("dns-version.cluster.local", TXT, "1.1.0"))),
        ("ns.dns.cluster.local", A, found(Record("ns.dns.cluster.local", A, "10.96.0.10"))),
        (
            "cluster.local",
            RecordType.SOA,
            found(Record("cluster.local", RecordType.SOA, "ns.dns.cluster.local")),
        ),
    ],
)
def test_names(zone: Zone, name: str, type_: RecordType, answer: Lookup) -> None:
    assert zone.look_up(name, type_) == answer


def test_ipv6_leads_back(zone: Zone) -> None:
    name = ".".join(reversed("fd00" + "0" * 26 + "78")) + ".ip6.arpa"
    assert zone.look_up(name, PTR) == found(Record(name, PTR, WEB_NAME))


def test_ports(zone: Zone) -> None:
    addresses = (Record(WEB_NAME, A, "10.96.7.8"), Record(WEB_NAME, AAAA, "fd00::78"))
    name = f"_http._tcp.{WEB_NAME}"
    assert zone.look_up(name, SRV) == Found((Record(name, SRV, WEB_NAME, 80),), addresses)
    assert zone.look_up(WEB_NAME, SRV) == Found(
        (Record(WEB_NAME, SRV, WEB_NAME, 53), Record(WEB_NAME, SRV, WEB_NAME, 80)), addresses
    )


def test_ports_of_a_headless_service(zone: Zone) -> None:
    name = f"_sql._tcp.{DB_NAME}"
    assert zone.look_up(name, SRV) == Found(
        (Record(name, SRV, DB_6, 5432), Record(name, SRV, DB_0, 5432)),
        (Record(DB_6, A, "10.244.0.6"), Record(DB_0, A, "10.244.0.5")),
    )


@pytest.mark.parametrize(("ready", "published"), [(True, True), (None, True), (False, False)])
def test_only_ready_endpoints_are_found(zone: Zone, ready: bool | None, published: bool) -> None:
    zone.change_slice(None, slice_of(DB, endpoint("10.244.0.7", "db-7", ready), name="s2"))
    assert isinstance(zone.look_up(f"db-7.{DB_NAME}", A), Found if published else NoName)


def test_endpoints_that_are_not_ready_when_the_service_wants_them(zone: Zone) -> None:
    zone.change_slice(None, slice_of(DB, endpoint("10.244.0.7", "db-7", False), name="s2"))
    zone.change_service(DB, service(DB, cluster_ip="None", publish_not_ready_addresses=True))
    assert isinstance(zone.look_up(f"db-7.{DB_NAME}", A), Found)


def test_both_families_of_a_headless_service(zone: Zone) -> None:
    zone.change_slice(None, slice_of(DB, endpoint("fd00::5", "db-0"), name="v6", address_type="IPv6"))
    assert zone.look_up(DB_0, AAAA) == found(Record(DB_0, AAAA, "fd00::5"))
    assert zone.look_up(DB_0, A) == found(Record(DB_0, A, "10.244.0.5"))


def test_endpoints_that_are_names_are_left_out(zone: Zone) -> None:
    zone.change_slice(None, slice_of(DB, endpoint("db.example.com"), name="fqdn", address_type="FQDN"))
    assert zone.look_up(DB_NAME, A) == found(
        Record(DB_NAME, A, "10.244.0.5"), Record(DB_NAME, A, "10.244.0.6")
    )


def test_a_headless_service_without_endpoints_exists(zone: Zone) -> None:
    old = slice_of(DB, endpoint("10.244.0.5", "db-0"), endpoint("10.244.0.6"))
    zone.change_slice(old, None)
    assert zone.look_up(DB_NAME, A) == NoData()
    assert zone.look_up(DB_0, A) == NoName()
    assert zone.look_up("5.0.244.10.in-addr.arpa", PTR) == NotOurs()


def test_a_deleted_service_leaves_nothing(zone: Zone) -> None:
    zone.change_service(DB, None)
    for name in (DB_NAME, DB_0, f"_sql._tcp.{DB_NAME}", "data.svc.cluster.local"):
        assert zone.look_up(name, A) == NoName()
    zone.change_service(WEB, None)
    assert zone.look_up("8.7.96.10.in-addr.arpa", PTR) == NotOurs()
    assert zone.look_up("svc.cluster.local", A) == NoData()


def test_slices_may_come_before_their_service() -> None:
    zone = Zone("cluster.local", "10.96.0.10")
    zone.change_slice(None, slice_of(DB, endpoint("10.244.0.5", "db-0")))
    assert zone.look_up(DB_0, A) == NoName()
    zone.change_service(DB, service(DB, cluster_ip="None"))
    assert zone.look_up(DB_0, A) == found(Record(DB_0, A, "10.244.0.5"))


def test_a_slice_may_change_its_service(zone: Zone) -> None:
    other = ObjectKey("data", "other")
    zone.change_service(other, service(other, cluster_ip="None"))
    old = slice_of(DB, endpoint("10.244.0.5", "db-0"), endpoint("10.244.0.6"))
    zone.change_slice(old, slice_of(other, endpoint("10.244.0.5", "db-0")))
    assert zone.look_up(DB_NAME, A) == NoData()
    name = "db-0.other.data.svc.cluster.local"
    assert zone.look_up(name, A) == found(Record(name, A, "10.244.0.5"))


def test_a_pod_behind_two_services_leads_back_to_both(zone: Zone) -> None:
    other = ObjectKey("data", "other")
    zone.change_service(other, service(other, cluster_ip="None"))
    zone.change_slice(None, slice_of(other, endpoint("10.244.0.5", "x"), name="o"))
    name = "5.0.244.10.in-addr.arpa"
    both = found(Record(name, PTR, DB_0), Record(name, PTR, "x.other.data.svc.cluster.local"))
    assert zone.look_up(name, PTR) == both
    zone.change_service(other, None)
    assert zone.look_up(name, PTR) == found(Record(name, PTR, DB_0))


def test_aliases(zone: Zone) -> None:
    for name, target in (("out", "www.Example.com."), ("in", WEB_NAME), ("void", "no.x.svc.cluster.local")):
        key = ObjectKey("default", name)
        zone.change_service(key, service(key, type="ExternalName", external_name=target))
    out, within, void = (f"{name}.default.svc.cluster.local" for name in ("out", "in", "void"))
    alias = Record(out, CNAME, "www.Example.com")
    assert zone.look_up(out, A) == Found((alias,), unresolved="www.Example.com")
    assert zone.look_up(out, CNAME) == Found((alias,))
    assert zone.look_up(within, A) == found(Record(within, CNAME, WEB_NAME), Record(WEB_NAME, A, "10.96.7.8"))
    assert zone.look_up(within, TXT) == NoData((Record(within, CNAME, WEB_NAME),))
    assert zone.look_up(void, A) == NoName((Record(void, CNAME, "no.x.svc.cluster.local"),))


def test_aliases_in_a_ring_end(zone: Zone) -> None:
    for name, target in (("a", "b"), ("b", "a")):
        key = ObjectKey("x", name)
        zone.change_service(
            key, service(key, type="ExternalName", external_name=f"{target}.x.svc.cluster.local")
        )
    answer = zone.look_up("a.x.svc.cluster.local", A)
    assert isinstance(answer, NoData)
    assert len(answer.records) == 8


def test_only_a_change_of_names_is_a_new_generation(zone: Zone) -> None:
    before = zone.generation
    zone.change_service(
        WEB, service(WEB, cluster_ip="10.96.7.8", cluster_ips=("10.96.7.8", "fd00::78"), ports=PORTS)
    )
    zone.change_slice(None, slice_of(WEB, endpoint("10.244.0.1")))
    assert zone.generation == before
    zone.change_service(WEB, service(WEB, cluster_ip="10.96.7.9"))
    assert zone.generation == before + 1


def test_a_service_without_an_address_yet(zone: Zone) -> None:
    zone.change_service(WEB, service(WEB))
    assert zone.look_up(WEB_NAME, A) == NoName()
