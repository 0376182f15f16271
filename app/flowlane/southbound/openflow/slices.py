"""Asking for learned entries a part at a time: a switch that also forwards stands still while it answers.

Open vSwitch makes a whole answer in one go, some 3 µs for each entry, in the thread that forwards on its userspace
datapath: 10,000 entries hold packets up for 30 ms or more. VM by VM (by bits of the VM's number in the metadata) and
spread over the time between two readings that is a ms or two at a time. Ports would divide as well, but finding
entries by them takes the switch longer than what is saved (measured: 6 ms to find 1/64 of 10,000).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from flowlane.southbound.openflow import questions
from flowlane.southbound.openflow.readings import learned_counters

if TYPE_CHECKING:
    from flowlane.core.events import KeyCounters, LearnedFlow
    from flowlane.southbound.openflow.inquiries import Answer

SMALL = 256
"""Entries in a part that need no further dividing: less than 1 ms of the switch's time."""

MOST_BITS = 5
SPREAD_OVER = 1.6
"""Seconds over which the parts are asked for; readings are two seconds apart at least."""

Ask = Callable[[str, Any, Callable[["Answer"], None], Callable[[Any], None]], None]
"""Send a question by its name: what to do at the end of the answer, and with each message of it."""

Later = Callable[[float, Callable[[], None]], object]
"""Have something done so many seconds later."""


class Slices:
    """The readings of one device's learned entries. ``tell`` takes what was read."""

    def __init__(self, datapath: Any, ask: Ask, later: Later, tell: Callable[[KeyCounters], None]) -> None:
        self._datapath, self._ask, self._later, self._tell = datapath, ask, later, tell
        self._bits = 0
        self._left = 0
        self._found: Counter[int] = Counter()

    def begin(self) -> None:
        """Read all entries once, unless the last reading is not at its end."""
        if self._left:
            return
        parts = 1 << self._bits
        self._left = parts
        self._found.clear()
        self._part(0)
        for number in range(1, parts):
            self._later(number * SPREAD_OVER / parts, lambda number=number: self._part(number))  # type: ignore[misc]

    def _part(self, number: int) -> None:
        question = questions.learned_request(self._datapath, number, self._bits)
        self._ask("learned flows", question, self._end, lambda message: self._read((message,)))

    def _read(self, messages: Iterable[Any]) -> None:
        read = learned_counters(self._datapath.id, messages)
        self._found.update(map(_vm_number, read.flows))
        self._tell(read)

    def _end(self, _answer: Answer) -> None:
        self._left -= 1
        if not self._left:
            self._bits = bits_for(self._found)


def _vm_number(flow: LearnedFlow) -> int:
    return int.from_bytes(flow.key[:4])


def bits_for(found: Counter[int]) -> int:
    """By how many bits of their VMs' numbers entries are best divided: few, and the largest part small.

    Args:
        found: VM number -> entries.
    """
    if found.total() <= SMALL:
        return 0
    return min(range(MOST_BITS + 1), key=lambda bits: (max(_largest(found, bits), SMALL), bits))


def _largest(found: Counter[int], bits: int) -> int:
    parts: Counter[int] = Counter()
    for number, count in found.items():
        parts[number & (1 << bits) - 1] += count
    return max(parts.values())
