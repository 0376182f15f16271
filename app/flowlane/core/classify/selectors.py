"""Index of VM selectors: which rules select a VM, without a look at every rule.

Rules with equal selectors are one group. A group is found by a text that a VM must have for it: a whole name or
external id, or how one begins or ends. What is found so is checked. So a VM that is seen for the first time costs a few
look-ups, where 15,000 rules with a selector of their own each had 15,000 patterns compiled in one piece.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.classify.matching import selects
from flowlane.core.pacing import no_pause, paced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flowlane.core.model import Vm
    from flowlane.core.policy import VmSelector

_SPECIAL = re.compile(r"[*?\[]")
"""What a glob has beside literal text (fnmatch of Python's library); behind a bracket it may be no literal text."""


class _Group(NamedTuple):
    """The rules of one selector, by their places in the policy."""

    selector: VmSelector
    rules: list[int]


@dataclass(slots=True)
class _Texts:
    """Numbers of groups by what one text of a VM must be, begin with or end with; by length and text."""

    whole: dict[str, list[int]] = field(default_factory=dict)
    begins: dict[int, dict[str, list[int]]] = field(default_factory=dict)
    ends: dict[int, dict[str, list[int]]] = field(default_factory=dict)

    def add(self, glob: str, number: int) -> None:
        """Have a group found by the texts that may fit a glob."""
        head = _SPECIAL.split(glob, maxsplit=1)[0]
        tail = "" if head or "[" in glob else _SPECIAL.split(glob)[-1]
        if head == glob:
            place, text = self.whole, glob
        elif tail:
            place, text = self.ends.setdefault(len(tail), {}), tail
        else:
            place, text = self.begins.setdefault(len(head), {}), head
        place.setdefault(text, []).append(number)

    def at(self, text: str) -> Iterator[int]:
        """Yield the groups that a text may be of."""
        yield from self.whole.get(text, ())
        for length, of_length in self.begins.items():
            yield from of_length.get(text[:length], ())
        for length, of_length in self.ends.items():
            yield from of_length.get(text[-length:], ())


@dataclass(slots=True)
class SelectorIndex:
    """The rules of a policy by the VMs that they select; see :func:`index_selectors`."""

    count: int = 0
    of_all: list[int] = field(default_factory=list)
    """Rules that select every VM, and what no known VM has sent."""
    groups: list[_Group] = field(default_factory=list)
    names: _Texts = field(default_factory=_Texts)
    external_ids: dict[str, _Texts] = field(default_factory=dict)

    def rules_of(self, vm: Vm | None) -> int:
        """Return the rules that select a VM as a bitmap; None: those for traffic of no known VM."""
        bits = bytearray(self.count // 8 + 1)
        _set(bits, self.of_all)
        if vm is not None:
            for number in self._found(vm):
                group = self.groups[number]
                if selects(group.selector, vm):
                    _set(bits, group.rules)
        return int.from_bytes(bits, "little")

    def _found(self, vm: Vm) -> set[int]:
        found: set[int] = set()
        for name in {vm.id, vm.name, vm.uuid}:
            found.update(self.names.at(name))
        for key, texts in self.external_ids.items():
            if key in vm.external_ids:
                found.update(texts.at(vm.external_ids[key]))
        return found


def index_selectors(
    selectors: Sequence[VmSelector | None], pace: Callable[[], None] = no_pause
) -> SelectorIndex:
    """Index the selectors of rules.

    Args:
        selectors: that of each rule, in their order.
        pace: called now and then (see :mod:`flowlane.core.pacing`).
    """
    index = SelectorIndex(len(selectors))
    numbers: dict[VmSelector, int] = {}
    for rule, selector in paced(enumerate(selectors), pace):
        if selector is None or not (selector.names or selector.external_ids):
            index.of_all.append(rule)
            continue
        number = numbers.setdefault(selector, len(numbers))
        if number < len(index.groups):
            index.groups[number].rules.append(rule)
            continue
        index.groups.append(_Group(selector, [rule]))
        for name in selector.names:
            index.names.add(name, number)
        if not selector.names:
            key, glob = selector.external_ids[0]
            index.external_ids.setdefault(key, _Texts()).add(glob, number)
    return index


def _set(bits: bytearray, rules: list[int]) -> None:
    for rule in rules:
        bits[rule >> 3] |= 1 << (rule & 7)
