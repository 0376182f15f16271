"""The RSS hash against the values that Microsoft publishes to verify implementations by.

Source: "Verifying the RSS Hash Calculation", Windows driver documentation (NDIS), tables for IPv4 and IPv6.
"""

from ipaddress import ip_address

import pytest

from flowlane.core.allocate.strategies.rss import ENTRIES, bucket, rss_input, toeplitz
from flowlane.core.flowkey import ICMP, IPV4, IPV6, TCP, FlowParts, pack

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
def test_the_published_hashes_come_out(vector) -> None:
    source, source_port, target, target_port, of_addresses, of_ports = vector
    assert toeplitz(rss_input(key(source, source_port, target, target_port))) == of_ports
    assert toeplitz(rss_input(key(source, 0, target, 0, ICMP))) == of_addresses


def test_the_vm_is_not_hashed() -> None:
    one = key("10.0.0.1", 1, "10.0.0.2", 2)
    assert bucket(one, 5) == bucket(b"\x00\x00\x00\x08" + one[4:], 5)


def test_the_table_has_128_entries_dealt_out_in_turn() -> None:
    flow = key(*VECTORS[0][:4])
    assert ENTRIES == 128
    assert [bucket(flow, queues) for queues in (1, 3, 128)] == [0, (0x78 % 128) % 3, 0x78]
