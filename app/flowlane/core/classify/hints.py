"""Whose suggestions count [0055, 0057, 0064]: a VM's hints weighed against the policy's trust.

A hint apart from the flow (REST, OVSDB) goes before the marks that the flow itself carries, DSCP before
PCP: it was given on purpose and for this flow. The first one that is believed counts. DSCP 0 and PCP 0 mean
"not marked" and are no hint.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.classify.matching import Facts, holds, selects
from flowlane.core.model import HintSource

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flowlane.core.flowkey import FlowParts
    from flowlane.core.model import Hint, Vm
    from flowlane.core.policy import Policy, Trust


class HintVerdict(IntEnum):
    """What became of a hint; :data:`HINT_TEXTS` has the words."""

    NONE_GIVEN = 0
    BELIEVED = 1
    VM_NOT_TRUSTED = 2
    SOURCE_NOT_TRUSTED = 3
    CLASS_NOT_ALLOWED = 4
    UNKNOWN_CLASS = 5
    RATE_TOO_HIGH = 6


HINT_TEXTS: dict[HintVerdict, str] = {
    HintVerdict.NONE_GIVEN: "the VM gave no hint for this flow",
    HintVerdict.BELIEVED: "the hint is believed",
    HintVerdict.VM_NOT_TRUSTED: "no trust entry of the policy covers the VM",
    HintVerdict.SOURCE_NOT_TRUSTED: "the policy does not believe the VM's hints from this source",
    HintVerdict.CLASS_NOT_ALLOWED: "the policy does not let the VM ask for this class",
    HintVerdict.UNKNOWN_CLASS: "the policy has no class of this name",
    HintVerdict.RATE_TOO_HIGH: "the flow's measured rate is higher than the policy allows for this hint",
}


class HintResult(NamedTuple):
    """The outcome: the class index that counts (None: no hint counts), its source, and why or why not."""

    class_index: int | None
    source: HintSource
    verdict: HintVerdict


_NO_HINT = HintResult(None, HintSource.NONE, HintVerdict.NONE_GIVEN)


def find_hint(hints: Iterable[Hint], parts: FlowParts, dscp: int, pcp: int) -> Hint | None:
    """Find the first hint whose match holds for a flow."""
    facts = Facts(None, parts, dscp, pcp)
    return next((hint for hint in hints if holds(hint.match, facts)), None)


class VmTrust(NamedTuple):
    """What is believed of one VM. Marks map to (class index, gate that ends the belief or None)."""

    trust: tuple[Trust, ...]
    dscp: Mapping[int, tuple[int, int | None]]
    pcp: Mapping[int, tuple[int, int | None]]
    classes: Mapping[str, int]


def trust_of(policy: Policy, vm: Vm | None) -> VmTrust:
    """Collect the trust entries that cover a VM; of two entries for one mark the first counts."""
    trust = tuple(entry for entry in policy.trust if vm is not None and selects(entry.vms, vm))
    return VmTrust(
        trust,
        _marks((entry.dscp, entry.gate) for entry in trust if HintSource.DSCP in entry.sources),
        _marks((entry.pcp, entry.gate) for entry in trust if HintSource.PCP in entry.sources),
        {item.name: item.index for item in policy.classes},
    )


def _marks(
    maps: Iterable[tuple[tuple[tuple[int, int], ...], int | None]],
) -> dict[int, tuple[int, int | None]]:
    found: dict[int, tuple[int, int | None]] = {}
    for marks, gate in maps:
        for value, class_index in marks:
            found.setdefault(value, (class_index, gate))
    return found


def weigh(beliefs: VmTrust, dscp: int, pcp: int, hint: Hint | None, opened: int) -> HintResult:
    """Find the hint that counts; ``opened`` are the open gates of the flow.

    When none counts, the verdict is about the first hint that was given.
    """
    refused = _NO_HINT
    if hint is None and not dscp and not pcp:
        return refused
    if hint is not None:
        belief = _weigh_apart(beliefs, hint, opened)
        if belief.class_index is not None:
            return belief
        refused = belief
    for marks, value, source in ((beliefs.dscp, dscp, HintSource.DSCP), (beliefs.pcp, pcp, HintSource.PCP)):
        if value and (known := marks.get(value)) is not None:
            if known[1] is None or not opened >> known[1] & 1:
                return HintResult(known[0], source, HintVerdict.BELIEVED)
            if refused is _NO_HINT:
                refused = HintResult(None, source, HintVerdict.RATE_TOO_HIGH)
    return refused


def _weigh_apart(beliefs: VmTrust, hint: Hint, opened: int) -> HintResult:
    """Weigh a hint given apart from the flow; the reason is that of the entry that came nearest."""
    class_index = beliefs.classes.get(hint.class_name)
    if class_index is None:
        return HintResult(None, hint.source, HintVerdict.UNKNOWN_CLASS)
    verdict = HintVerdict.VM_NOT_TRUSTED
    for entry in beliefs.trust:
        found = _weigh_entry(entry, hint.source, class_index, opened)
        if found is HintVerdict.BELIEVED:
            return HintResult(class_index, hint.source, found)
        verdict = max(verdict, found)
    return HintResult(None, hint.source, verdict)


def _weigh_entry(entry: Trust, source: HintSource, class_index: int, opened: int) -> HintVerdict:
    if source not in entry.sources:
        return HintVerdict.SOURCE_NOT_TRUSTED
    if class_index not in entry.classes:
        return HintVerdict.CLASS_NOT_ALLOWED
    if entry.gate is not None and opened >> entry.gate & 1:
        return HintVerdict.RATE_TOO_HIGH
    return HintVerdict.BELIEVED
