"""The hash with which NICs spread flows over receive queues (RSS), and its indirection table.

Source: Microsoft, "RSS hashing functions" and "Verifying the RSS hash calculation" (Windows driver
documentation, NDIS): the Toeplitz hash over source address, destination address, source port, destination
port, in network byte order; its lowest bits index a table of up to 128 entries.
"""

from __future__ import annotations

from functools import lru_cache, reduce
from operator import xor
from typing import TYPE_CHECKING

from flowlane.core.flowkey import PORT_PROTOCOLS, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
"""The secret key of Microsoft's verification suite, which many drivers use by default (40 bytes)."""

ENTRIES = 128
"""Entries of the indirection table."""


def toeplitz(data: bytes, key: bytes = KEY) -> int:
    """The 32-bit Toeplitz hash of at most ``len(key) - 4`` bytes."""
    result = 0
    for position, byte in enumerate(data):
        result ^= _table(key, position)[byte]
    return result


def rss_input(flow_key: bytes) -> bytes:
    """What a NIC hashes of a flow: addresses, then ports where the protocol has them."""
    parts = unpack(flow_key)
    if parts.protocol not in PORT_PROTOCOLS:
        return parts.src + parts.dst
    return parts.src + parts.dst + parts.src_port.to_bytes(2) + parts.dst_port.to_bytes(2)


def bucket(flow_key: bytes, queues: int) -> int:
    """The position among ``queues`` that the default indirection table (entry i: i mod queues) gives a flow."""
    return (toeplitz(rss_input(flow_key)) % ENTRIES) % queues


@lru_cache(maxsize=64)
def _table(key: bytes, position: int) -> Sequence[int]:
    """The hash's part of each value of the byte at a position: 8 shifted windows of the key, XORed."""
    bits = int.from_bytes(key)
    width = len(key) * 8
    windows = [(bits >> (width - 32 - position * 8 - bit)) & 0xFFFFFFFF for bit in range(8)]
    return tuple(
        reduce(xor, (window for bit, window in enumerate(windows) if value & (0x80 >> bit)), 0)
        for value in range(256)
    )
