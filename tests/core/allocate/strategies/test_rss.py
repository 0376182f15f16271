"""The RSS hash, compared with the values that Microsoft publishes for that, and the indirection table.

Source: "Verifying the RSS Hash Calculation", Windows driver documentation (NDIS), tables for IPv4 and IPv6.
"""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlane.core.allocate.state import Region, Slot
from flowlane.core.allocate.strategies.rss import ENTRIES, IndirectionTable, rss_hash, rss_input, toeplitz
from flowlane.core.flowkey import ICMP, IPV4, IPV6, TCP, FlowParts, pack
from flowlane.core.model import Queue

VECTORS = [
    ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x323E8FC2, 0x51CCC178),
    ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xD718262A, 0xC626B0EA),
    ("24.19.198.95", 12898, "12.22.207.184", 38024, 0xD2D0A5DE, 0x5C2B394A),
    ("38.27.205.30", 48228, "209.142.163.6", 2217, 0x82989176, 0xAFC7327F),
    ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x5D1809C5, 0x10E828A2),
    ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2CC18CD5, 0x40207D3D),
    ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0F0C461C, 0xDDE51BBF),
    ("3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, "fe80::200:f8ff:fe21:67cf", 38024, 0x4B61E985, 0x02D1FEEF),
]
"""Source, destination, hash of the addresses alone, hash with the TCP ports."""


def key(source: str, source_port: int, target: str, target_port: int, protocol: int = TCP) -> bytes:
    src, dst = ip_address(source), ip_address(target)
    kind = IPV4 if src.version == 4 else IPV6
    return pack(FlowParts(7, None, kind, protocol, source_port, target_port, src.packed, dst.packed))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector[0])
def test_the_published_hashes_come_out(vector: tuple[str, int, str, int, int, int]) -> None:
    source, source_port, target, target_port, of_addresses, of_ports = vector
    assert toeplitz(rss_input(key(source, source_port, target, target_port))) == of_ports
    assert rss_hash(key(source, source_port, target, target_port)) == of_ports
    assert toeplitz(rss_input(key(source, 0, target, 0, ICMP))) == of_addresses


def test_the_vm_is_not_hashed() -> None:
    of_one_vm = key("10.0.0.1", 1, "10.0.0.2", 2)
    of_another = b"\x00\x00\x00\x08" + of_one_vm[4:]
    assert rss_hash(of_one_vm) == rss_hash(of_another)


def slots_of(count: int) -> list[Slot]:
    region = Region(0)
    return [Slot(Queue(number), number, region) for number in range(count)]


def test_the_table_has_128_entries_dealt_out_in_turn() -> None:
    assert ENTRIES == 128
    for count in (1, 3, 128, 200):
        slots = slots_of(count)
        table = IndirectionTable(slots)
        assert [table.lookup(number) for number in range(ENTRIES)] == [
            slots[number % count] for number in range(ENTRIES)
        ]
    assert table.lookup(0xFFFFFF80 + 5) is slots[5], "the lowest 7 bits count"


@given(
    st.integers(1, 140),
    st.lists(st.sets(st.integers(0, 139), min_size=1, max_size=140), min_size=1, max_size=4),
)
def test_the_table_stays_even_and_changes_no_entry_without_need(first: int, steps: list[set[int]]) -> None:
    slots = slots_of(140)
    table = IndirectionTable(slots[:first])
    present = set(range(first))
    for numbers in steps:
        before, removed, added = list(table.entries), present - numbers, numbers - present
        present = numbers
        table.update([slots[number] for number in sorted(numbers)])
        counts = [table.entries.count(slots[number]) for number in numbers]
        assert sum(counts) == ENTRIES and max(counts) <= min(counts) + 1
        changed = [old for old, new in zip(before, table.entries, strict=True) if old is not new]
        if not added:
            assert {slot.index for slot in changed} <= removed, "entries of queues that are left stay"
        if not removed:
            assert len(changed) == sum(table.entries.count(slots[number]) for number in added)
