"""Memory of a flow: prints the bytes per flow of the flow table and of the allocator, in a process of its own."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

from flowlane.core.allocate import Demand, arrive, measure, new_port
from flowlane.core.allocate.state import Columns
from flowlane.core.flowkey import IPV4, TCP, FlowParts, pack
from flowlane.core.model import Queue
from flowlane.core.policy import Balance
from flowlane.core.state.flows import FlowTable


def resident() -> int:
    """Return the bytes of memory that the process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(count: int) -> None:
    table = FlowTable()
    state = new_port(Columns(), [Queue(number) for number in range(64)], Balance())
    gc.collect()
    start = resident()
    for number in range(count):
        source, target = (0x0A000000 + number // 1000).to_bytes(4), b"\x0a\xff\x00\x01"
        key = pack(FlowParts(number % 64 + 1, None, IPV4, TCP, 1024 + number % 1000, 443, source, target))
        table.add(key, 0.0)
    gc.collect()
    middle = resident()
    demands = [Demand(vm_number=number + 1) for number in range(64)]
    for row in table:
        arrive(state, row, demands[row % 64])
        measure(state, row, 1000 + row)
    gc.collect()
    print((middle - start) / count, (resident() - middle) / count)


if __name__ == "__main__":
    main(int(sys.argv[1]))
