"""The cluster's DNS zone in memory: kept up with Services and EndpointSlices, and asked for names.

Pure. Fed and asked by `agent.dns.server`. A change costs as much as the one Service it concerns. What lies
outside the zone isn't answered here. Follows the "Kubernetes DNS-Based Service Discovery" specification 1.1
and RFC 2308.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final

from agent.dns.records import Records, ServiceNames, ServiceTarget, compute_names
from kubeapi.core import Service
from kubeapi.discovery import SERVICE_NAME_LABEL, EndpointSlice
from kubeapi.meta import ObjectKey

SPECIFICATION_VERSION: Final = "1.1.0"
_LONGEST_ALIAS_CHAIN: Final = 8
_NO_NAMES: Final = ServiceNames(MappingProxyType({}), MappingProxyType({}))


class RecordType(Enum):
    """The types this zone holds; any other is asked for in vain."""

    A = "A"
    AAAA = "AAAA"
    SRV = "SRV"
    PTR = "PTR"
    CNAME = "CNAME"
    TXT = "TXT"
    NS = "NS"
    SOA = "SOA"
    OTHER = ""


@dataclass(frozen=True, slots=True)
class Record:
    """One record; `value` is an address, an absolute name or a text, and `port` belongs to SRV."""

    name: str
    type: RecordType
    value: str
    port: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """The answer. With `unresolved` set, the records end in an alias to that name, which lies outside the
    zone.
    """

    records: tuple[Record, ...]
    additional: tuple[Record, ...] = ()
    unresolved: str = ""


@dataclass(frozen=True, slots=True)
class NoData:
    """The name exists, but holds nothing of this type; `records` are the aliases that led to it."""

    records: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class NoName:
    """There is no such name; `records` are the aliases that led to it."""

    records: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class NotOurs:
    """The name lies outside the zone."""


Lookup = Found | NoData | NoName | NotOurs


class Zone:
    """The names below one domain, and the addresses that lead back to them."""

    def __init__(self, domain: str, server_address: str) -> None:
        self.domain: Final = domain.strip(".").lower()
        self.generation = 0
        self._services: dict[ObjectKey, Service] = {}
        self._slices: defaultdict[ObjectKey, dict[ObjectKey, EndpointSlice]] = defaultdict(dict)
        self._names: dict[ObjectKey, ServiceNames] = {}
        self._records: dict[str, Records] = {"ns.dns": Records((server_address,))}
        self._pointers: defaultdict[str, dict[ObjectKey, str]] = defaultdict(dict)
        self._existing: Counter[str] = Counter(("", "svc", "pod", "dns", "ns.dns", "dns-version"))

    # --- keeping up -----------------------------------------------------------------------------------------

    def change_service(self, key: ObjectKey, service: Service | None) -> None:
        """A Service is as given now; None when it is gone."""
        if service is None:
            self._services.pop(key, None)
        else:
            self._services[key] = service
        self._recompute(key)

    def change_slice(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        """An EndpointSlice changed from `old` to `new`; it may have changed its Service too."""
        for slice_ in (old, new):
            if slice_ is None or (service_key := _service_of(slice_)) is None:
                continue
            if slice_ is new:
                self._slices[service_key][slice_.key] = slice_
            else:
                self._slices[service_key].pop(slice_.key, None)
                if not self._slices[service_key]:
                    del self._slices[service_key]
        for service_key in {_service_of(slice_) for slice_ in (old, new) if slice_ is not None}:
            if service_key is not None:
                self._recompute(service_key)

    def _recompute(self, key: ObjectKey) -> None:
        service = self._services.get(key)
        slices = self._slices.get(key, {}).values()
        new = compute_names(service, slices) if service is not None else _NO_NAMES
        old = self._names.get(key, _NO_NAMES)
        if new == old:
            return
        self.generation += 1
        self._forget(key, old)
        self._remember(key, new)

    def _forget(self, key: ObjectKey, names: ServiceNames) -> None:
        self._names.pop(key, None)
        for name in names.records:
            del self._records[name]
            for each in _with_ancestors(name):
                self._existing[each] -= 1
                if not self._existing[each]:
                    del self._existing[each]
        for address in names.pointers:
            del self._pointers[address][key]
            if not self._pointers[address]:
                del self._pointers[address]

    def _remember(self, key: ObjectKey, names: ServiceNames) -> None:
        if names.records:
            self._names[key] = names
        self._records.update(names.records)
        for name in names.records:
            self._existing.update(_with_ancestors(name))
        for address, name in names.pointers.items():
            self._pointers[address][key] = name

    # --- being asked ----------------------------------------------------------------------------------------

    def look_up(self, name: str, type_: RecordType) -> Lookup:
        """What the zone says of an absolute name, given in lower case without its last dot."""
        if name.endswith((".in-addr.arpa", ".ip6.arpa")):
            return self._look_up_address(name, type_)
        relative = self._relative(name)
        return NotOurs() if relative is None else self._look_up_name(relative, type_)

    def _look_up_name(self, relative: str, type_: RecordType) -> Lookup:
        aliases: list[Record] = []
        for _ in range(_LONGEST_ALIAS_CHAIN):
            records = self._find(relative)
            if records is None or not records.alias:
                break
            aliases.append(Record(self._absolute(relative), RecordType.CNAME, records.alias))
            if type_ is RecordType.CNAME:
                return Found(tuple(aliases))
            target = self._relative(records.alias.lower())
            if target is None:
                return Found(tuple(aliases), unresolved=records.alias)
            relative = target
        else:
            return NoData(tuple(aliases))
        if records is None and relative not in self._existing:
            return NoName(tuple(aliases))
        found = tuple(self._records_of(relative, records or Records(), type_))
        if not found:
            return NoData(tuple(aliases))
        return Found((*aliases, *found), self._addresses_of(found))

    def _records_of(self, relative: str, records: Records, type_: RecordType) -> Iterator[Record]:
        name = self._absolute(relative)
        match type_:
            case RecordType.A | RecordType.AAAA:
                for address in records.addresses:
                    if _type_of(address) is type_:
                        yield Record(name, type_, address)
            case RecordType.SRV:
                for target in records.targets:
                    yield self._srv(name, target)
            case RecordType.TXT if relative == "dns-version":
                yield Record(name, type_, SPECIFICATION_VERSION)
            case RecordType.NS if not relative:
                yield Record(name, type_, self._absolute("ns.dns"))
            case RecordType.SOA if not relative:
                yield Record(name, type_, self._absolute("ns.dns"))
            case _:
                return

    def _addresses_of(self, found: tuple[Record, ...]) -> tuple[Record, ...]:
        """The addresses of SRV targets, so that the client needn't ask again."""
        hosts = dict.fromkeys(record.value for record in found if record.type is RecordType.SRV)
        return tuple(
            Record(host, _type_of(address), address)
            for host in hosts
            for address in (self._find(self._relative(host) or "") or Records()).addresses
        )

    def _look_up_address(self, name: str, type_: RecordType) -> Lookup:
        """Addresses that aren't ours are somebody else's to name."""
        address = _read_reverse_name(name)
        names = self._pointers.get(address) if address else None
        if not names:
            return NotOurs()
        if type_ is not RecordType.PTR:
            return NoData()
        hosts = sorted(set(names.values()))
        return Found(tuple(Record(name, RecordType.PTR, self._absolute(host)) for host in hosts))

    def _find(self, relative: str) -> Records | None:
        return self._records.get(relative) or _pod_records(relative)

    def _srv(self, name: str, target: ServiceTarget) -> Record:
        return Record(name, RecordType.SRV, self._absolute(target.host), target.port)

    def _relative(self, name: str) -> str | None:
        if name == self.domain:
            return ""
        suffix = f".{self.domain}"
        return name.removesuffix(suffix) if name.endswith(suffix) else None

    def _absolute(self, relative: str) -> str:
        return f"{relative}.{self.domain}" if relative else self.domain


def _service_of(slice_: EndpointSlice) -> ObjectKey | None:
    name = slice_.metadata.labels.get(SERVICE_NAME_LABEL)
    return ObjectKey(slice_.metadata.namespace, name) if name else None


def _with_ancestors(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.partition(".")[2]


def _type_of(address: str) -> RecordType:
    return RecordType.AAAA if ":" in address else RecordType.A


def _pod_records(relative: str) -> Records | None:
    """A pod's name is its address with dashes, so it needs no record: `10-244-0-5.default.pod`."""
    match relative.split("."):
        case [dashed, _namespace, "pod"]:
            for text in (dashed.replace("-", "."), dashed.replace("-", ":")):
                try:
                    return Records((str(ip_address(text)),))
                except ValueError:
                    continue
    return None


def _read_reverse_name(name: str) -> str:
    """The address that a name under in-addr.arpa or ip6.arpa stands for; empty when it stands for none."""
    labels = name.split(".")
    match labels[-2:]:
        case ["in-addr", "arpa"] if len(labels) == 6:
            text = ".".join(reversed(labels[:4]))
        case ["ip6", "arpa"] if len(labels) == 34:
            digits = "".join(reversed(labels[:32]))
            text = ":".join(digits[at : at + 4] for at in range(0, 32, 4))
        case _:
            return ""
    try:
        return str(ip_address(text))
    except ValueError:
        return ""
