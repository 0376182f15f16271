"""What a flow takes of memory in the engine: its row, its key, what the allocator stores of it.

``python -m bench.controller.flow_memory [--devices N] [--flows N]``

Rows are added on all devices in turn, some at a time, as in a controller. Resident memory is what the kernel counts
(proc_pid_status(5)), so rows in reserve and what the allocator of memory loses are in it.
"""

from __future__ import annotations

import argparse
import os

from bench.controller.scale import resident_bytes

from flowlane.core.allocate.state import Columns
from flowlane.core.flowkey import IPV4, TCP, FlowParts, pack
from flowlane.core.state.flows import FlowTable

TOGETHER = 20
"""Flows that begin on a device before others begin on the next one."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--flows", type=int, default=1000, help="on each device")
    arguments = parser.parse_args()
    before = resident_bytes(os.getpid())
    tables = [(FlowTable(), Columns()) for _ in range(arguments.devices)]
    empty = resident_bytes(os.getpid())
    for first in range(0, arguments.flows, TOGETHER):
        for number, (flows, columns) in enumerate(tables):
            for flow in range(first, min(first + TOGETHER, arguments.flows)):
                src, dst = number.to_bytes(4), flow.to_bytes(4)
                row = flows.add(
                    pack(FlowParts(number, None, IPV4, TCP, 40000 + flow % 20000, 80, src, dst)), 1.0
                )
                if row >= len(columns.cell):
                    columns.grow(row)
    flows_total = arguments.devices * arguments.flows
    print(f"{(empty - before) / arguments.devices:,.0f} bytes a device without flows")
    print(f"{(resident_bytes(os.getpid()) - empty) / flows_total:.0f} bytes a flow, of {flows_total:,}")


if __name__ == "__main__":
    main()
