"""nftables batches: bounded attributes, sequence numbers that lead back to operations."""

from __future__ import annotations

from netrules.model import Family, Goto, Key, Protocol, SetKind
from netrules.netlink import MAX_ATTRIBUTE_BYTES, NLM_F_ACK, parse_attributes, parse_messages
from netrules.nftables.encode import encode_transaction, key_bytes, key_type
from netrules.nftables.layout import ENDPOINTS, SERVICES, TABLE
from netrules.transaction import AddElements, AddTable, DeleteElements, Transaction


def _endpoints(count: int) -> AddElements:
    def key(number: int) -> Key:
        return (number, "fd00:96::1", Protocol.TCP, 80)

    entries = tuple((key(n), (f"fd00:244::{n + 1:x}", 8080)) for n in range(count))
    return AddElements(TABLE, ENDPOINTS, entries)


def test_no_attribute_is_longer_than_netlink_can_say() -> None:
    batch = encode_transaction(Transaction(Family.IPV6, (_endpoints(5000),)))
    messages = list(parse_messages(batch.data))
    lengths = [len(value) for m in messages for _, value in parse_attributes(m.payload[4:])]
    assert len(messages) == 12  # begin, ten lists of 500, end
    assert max(lengths) <= MAX_ATTRIBUTE_BYTES


def test_only_the_last_change_asks_for_an_acknowledgement() -> None:
    transaction = Transaction(Family.IPV4, (AddTable(TABLE), _endpoints(1000)))
    batch = encode_transaction(transaction)
    acknowledged = [m.sequence for m in parse_messages(batch.data) if m.flags & NLM_F_ACK]
    assert acknowledged == [batch.last_sequence]


def test_a_sequence_number_leads_to_its_operation() -> None:
    removal = DeleteElements(TABLE, SERVICES, ((("10.96.0.1", Protocol.TCP, 80), Goto("spread-1")),))
    transaction = Transaction(Family.IPV6, (AddTable(TABLE), _endpoints(600), removal))
    batch = encode_transaction(transaction)
    assert batch.operation(1) is None
    assert batch.operation(2) == AddTable(TABLE)
    assert batch.operation(3) is batch.operation(4) is transaction.operations[1]
    assert batch.operation(5) == removal
    assert batch.operation(6) is None


def test_key_types_are_those_nft_knows() -> None:
    # ipv4_addr 7, inet_proto 12, inet_service 13, mark 19, six bits each.
    assert key_type(SERVICES, Family.IPV4) == 7 << 12 | 12 << 6 | 13
    assert key_type(ENDPOINTS, Family.IPV6) == 19 << 18 | 8 << 12 | 12 << 6 | 13
    assert key_bytes(SERVICES, Family.IPV4) == 12
    assert key_bytes(ENDPOINTS, Family.IPV6) == 28
    assert SERVICES.kind is SetKind.VERDICT_MAP
