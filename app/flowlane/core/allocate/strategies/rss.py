"""Receive-side scaling (RSS): the Toeplitz hash of a flow's 5-tuple and the indirection table.

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

    from flowlane.core.allocate.state import Slot

KEY = bytes.fromhex("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa")
"""The secret key of Microsoft's verification suite, which many drivers use by default (40 bytes)."""

ENTRIES = 128
"""Entries of the indirection table."""


def rss_hash(flow_key: bytes) -> int:
    """Return the 32-bit hash that a NIC computes of a flow, given its packed key."""
    return toeplitz(rss_input(flow_key))


def toeplitz(data: bytes, key: bytes = KEY) -> int:
    """Return the 32-bit Toeplitz hash of at most ``len(key) - 4`` bytes."""
    result = 0
    for position, byte in enumerate(data):
        result ^= _hashes_of_byte(key, position)[byte]
    return result


def rss_input(flow_key: bytes) -> bytes:
    """Return the bytes that a NIC hashes: addresses, then ports where the protocol has them."""
    parts = unpack(flow_key)
    if parts.protocol not in PORT_PROTOCOLS:
        return parts.src + parts.dst
    return parts.src + parts.dst + parts.src_port.to_bytes(2) + parts.dst_port.to_bytes(2)


@lru_cache(maxsize=64)
def _hashes_of_byte(key: bytes, position: int) -> Sequence[int]:
    """Return what each value of the byte at a position adds to the hash: 8 shifted windows of the key, XORed."""
    bits = int.from_bytes(key)
    width = len(key) * 8
    windows = [(bits >> (width - 32 - position * 8 - bit)) & 0xFFFFFFFF for bit in range(8)]
    return tuple(
        reduce(xor, (window for bit, window in enumerate(windows) if value & (0x80 >> bit)), 0)
        for value in range(256)
    )


class IndirectionTable:
    """The table from a hash's lowest bits to a queue; ``entries`` are the queues, ``slots`` those in use.

    At first entry i is queue i mod n, the default of NICs. Later a hash keeps its queue while that exists:
    the entries of a queue that is removed are dealt out evenly to the others, and a queue that is added takes
    entries from the queues that have most of them.
    """

    __slots__ = ("entries", "slots")

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = list(slots)
        self.entries = [slots[number % len(slots)] for number in range(ENTRIES)]

    def lookup(self, hash_value: int) -> Slot:
        """Return the queue of a hash."""
        return self.entries[hash_value % ENTRIES]

    def update(self, slots: Sequence[Slot]) -> None:
        """Fit the table to the queues that are there now; changes as few entries as an even table allows."""
        self.slots = list(slots)
        counts = dict.fromkeys(self.slots, 0)
        for slot in self.entries:
            if slot in counts:
                counts[slot] += 1
        for number, slot in enumerate(self.entries):
            if slot not in counts:
                self._set(number, counts)
        while max(counts.values()) > min(counts.values()) + 1:
            fullest = max(counts, key=counts.__getitem__)
            counts[fullest] -= 1
            self._set(self.entries.index(fullest), counts)

    def _set(self, number: int, counts: dict[Slot, int]) -> None:
        """Give an entry to the queue with fewest entries."""
        fewest = min(counts, key=counts.__getitem__)
        counts[fewest] += 1
        self.entries[number] = fewest
