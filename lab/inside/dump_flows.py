"""The output of ``ovs-ofctl dump-flows``, so that tests read the switch's tables without Flowlane's decoder.

One entry: `` cookie=0xf10a3..., duration=1.2s, table=2, n_packets=3, ..., priority=9,udp,... actions=...``
"""

from __future__ import annotations

import re
import subprocess

from flowlane.hosttools.bridge_tables import DumpedFlow, read_flow

VERSIONS = {"OpenFlow13", "OpenFlow14", "OpenFlow15"}
_REGISTER = re.compile(r"\b(?:load:(\w+)->NXM_NX_REG1\[\]|set_field:(\w+)->reg1\b)")
_METER_REGISTER = re.compile(r"\b(?:load:(\w+)->NXM_NX_REG4\[\]|set_field:(\w+)->reg4\b)")


class Entry(DumpedFlow):
    """A flow entry, and what tests look for in its actions."""

    @property
    def queue(self) -> int | None:
        found = re.search(r"\bset_queue:(\d+)", self.actions)
        return int(found[1]) if found else None

    @property
    def learned_queue(self) -> int | None:
        """The queue of a learned entry: register 1 has its id + 1, or 0 for none."""
        found = _REGISTER.search(self.actions)
        register = int(found[1] or found[2], 0) if found else 0
        return register - 1 if register else None

    @property
    def learned_meter(self) -> int | None:
        """The meter that the class of a learned entry shares, from register 4."""
        found = _METER_REGISTER.search(self.actions)
        return (int(found[1] or found[2], 0) or None) if found else None

    @property
    def meter(self) -> int | None:
        found = re.search(r"\bmeter:(\d+)", self.actions)
        return int(found[1]) if found else None


def read_entry(line: str) -> Entry:
    return Entry(*read_flow(line))


def dump(bridge: str, version: str = "OpenFlow13") -> list[Entry]:
    """Return all entries of a bridge of the host's Open vSwitch."""
    command = ["ovs-ofctl", "-O", version, "--no-names", "dump-flows", bridge]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout
    return [read_entry(line.strip()) for line in output.splitlines() if " actions=" in line]


def groups(bridge: str, version: str = "OpenFlow13") -> str:
    """Return the groups of a bridge, as text."""
    command = ["ovs-ofctl", "-O", version, "dump-groups", bridge]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout


def queues_named(bridge: str, version: str = "OpenFlow13") -> set[int]:
    """Return the ids of the queues that the entries and group buckets of a bridge set, or load into register 1."""
    texts = [entry.actions for entry in dump(bridge, version)] + [groups(bridge, version)]
    queue_ids = {int(number) for text in texts for number in re.findall(r"\bset_queue:(\d+)", text)}
    registers = {int(load or set_field, 0) for text in texts for load, set_field in _REGISTER.findall(text)}
    return queue_ids | {number - 1 for number in registers if number}
