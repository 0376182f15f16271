"""Reads what ``ovs-ofctl dump-flows`` prints, so that tests judge the switch's tables without our own decoder.

One entry: `` cookie=0xf10a3..., duration=1.2s, table=2, n_packets=3, ..., priority=9,udp,... actions=...``
"""

from __future__ import annotations

import re
import subprocess
from typing import NamedTuple

VERSIONS = {"OpenFlow13", "OpenFlow14", "OpenFlow15"}
_TABLE = re.compile(r"\btable=(\d+),")
_PACKETS = re.compile(r"\bn_packets=(\d+),")
_COOKIE = re.compile(r"\bcookie=(0x[0-9a-f]+|0),")


_REGISTER = re.compile(r"\b(?:load:(\w+)->NXM_NX_REG1\[\]|set_field:(\w+)->reg1\b)")
_METER_REGISTER = re.compile(r"\b(?:load:(\w+)->NXM_NX_REG4\[\]|set_field:(\w+)->reg4\b)")


class Entry(NamedTuple):
    """A flow entry. ``match`` holds words without a value with the value ""."""

    table: int
    cookie: int
    packets: int
    match: dict[str, str]
    actions: str

    @property
    def queue(self) -> int | None:
        found = re.search(r"\bset_queue:(\d+)", self.actions)
        return int(found[1]) if found else None

    @property
    def learned_queue(self) -> int | None:
        """The queue that a learned entry holds: its id + 1 is in register 1, 0 there is no queue."""
        found = _REGISTER.search(self.actions)
        register = int(found[1] or found[2], 0) if found else 0
        return register - 1 if register else None

    @property
    def learned_meter(self) -> int | None:
        """The number in register 4 of a learned entry: the meter that its class shares."""
        found = _METER_REGISTER.search(self.actions)
        return (int(found[1] or found[2], 0) or None) if found else None

    @property
    def meter(self) -> int | None:
        found = re.search(r"\bmeter:(\d+)", self.actions)
        return int(found[1]) if found else None


def read_entry(line: str) -> Entry:
    head, _, actions = line.partition(" actions=")
    # The match is the last word before the actions: counters before it are parted by ", ".
    words = (word.partition("=") for word in head.rpartition(" ")[2].split(","))
    match = {name: value for name, _, value in words if name}
    found = {
        name: pattern.search(head)
        for name, pattern in (("table", _TABLE), ("packets", _PACKETS), ("cookie", _COOKIE))
    }
    numbers = {name: int(hit[1], 0) if hit else 0 for name, hit in found.items()}
    return Entry(numbers["table"], numbers["cookie"], numbers["packets"], match, actions)


def dump(bridge: str, version: str = "OpenFlow13") -> list[Entry]:
    """Every entry of every table of a bridge of the default Open vSwitch."""
    command = ["ovs-ofctl", "-O", version, "--no-names", "dump-flows", bridge]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout
    return [read_entry(line.strip()) for line in shown.splitlines() if " actions=" in line]


def groups(bridge: str, version: str = "OpenFlow13") -> str:
    """The groups of a bridge, as text."""
    command = ["ovs-ofctl", "-O", version, "dump-groups", bridge]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout


def queues_named(bridge: str, version: str = "OpenFlow13") -> set[int]:
    """Every queue id that any entry or group bucket of a bridge sets, or puts (+ 1) into register 1."""
    texts = [entry.actions for entry in dump(bridge, version)] + [groups(bridge, version)]
    found = {int(number) for text in texts for number in re.findall(r"\bset_queue:(\d+)", text)}
    registers = {int(one or other, 0) for text in texts for one, other in _REGISTER.findall(text)}
    return found | {number - 1 for number in registers if number}
