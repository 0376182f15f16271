"""Hints of VMs, weighed against the policy's trust [0055, 0057, 0064].

A hint apart from the flow (REST, OVSDB) comes before the marks of the flow's packets, DSCP before PCP: it was given
on purpose and for this flow. The first hint that is trusted counts. DSCP 0 and PCP 0 mean "not marked", and are no
hint.
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
    """Result of weighing a hint; the texts are in :data:`HINT_TEXTS`."""

    NONE_GIVEN = 0
    TRUSTED = 1
    VM_NOT_TRUSTED = 2
    SOURCE_NOT_TRUSTED = 3
    CLASS_NOT_ALLOWED = 4
    UNKNOWN_CLASS = 5
    RATE_TOO_HIGH = 6


HINT_TEXTS: dict[HintVerdict, str] = {
    HintVerdict.NONE_GIVEN: "the VM gave no hint for this flow",
    HintVerdict.TRUSTED: "the hint is trusted",
    HintVerdict.VM_NOT_TRUSTED: "no trust entry of the policy covers the VM",
    HintVerdict.SOURCE_NOT_TRUSTED: "the policy does not trust the VM's hints from this source",
    HintVerdict.CLASS_NOT_ALLOWED: "the policy does not let the VM ask for this class",
    HintVerdict.UNKNOWN_CLASS: "the policy has no class of this name",
    HintVerdict.RATE_TOO_HIGH: "the flow's measured rate is higher than the policy allows for this hint",
}


class HintResult(NamedTuple):
    """Hint that counts: its class index (None: no hint counts), its source, and why it does or does not count."""

    class_index: int | None
    source: HintSource
    verdict: HintVerdict


_NO_HINT = HintResult(None, HintSource.NONE, HintVerdict.NONE_GIVEN)


def find_hint(hints: Iterable[Hint], parts: FlowParts, dscp: int, pcp: int) -> Hint | None:
    """Find the first hint whose match holds for a flow."""
    facts = Facts(None, parts, dscp, pcp)
    return next((hint for hint in hints if holds(hint.match, facts)), None)


class VmTrust(NamedTuple):
    """Trust in the hints of one VM.

    Attributes:
        entries: the policy's entries that cover the VM.
        dscp: DSCP -> (class index, gate that ends the trust or None); ``pcp`` likewise.
        classes: class name -> class index.
    """

    entries: tuple[Trust, ...]
    dscp: Mapping[int, tuple[int, int | None]]
    pcp: Mapping[int, tuple[int, int | None]]
    classes: Mapping[str, int]


def trust_of(policy: Policy, vm: Vm | None) -> VmTrust:
    """Collect the trust entries that cover a VM; of two entries for one mark the first one counts."""
    entries = tuple(entry for entry in policy.trust if vm is not None and selects(entry.vms, vm))
    return VmTrust(
        entries,
        _marks((entry.dscp, entry.gate) for entry in entries if HintSource.DSCP in entry.sources),
        _marks((entry.pcp, entry.gate) for entry in entries if HintSource.PCP in entry.sources),
        {item.name: item.index for item in policy.classes},
    )


def _marks(
    maps: Iterable[tuple[tuple[tuple[int, int], ...], int | None]],
) -> dict[int, tuple[int, int | None]]:
    classes: dict[int, tuple[int, int | None]] = {}
    for marks, gate in maps:
        for value, class_index in marks:
            classes.setdefault(value, (class_index, gate))
    return classes


def weigh(trust: VmTrust, dscp: int, pcp: int, hint: Hint | None, opened: int) -> HintResult:
    """Find the hint that counts for a flow: ``hint``, given apart from it, then its DSCP, then its PCP.

    When none counts, the verdict is about the first one that was given.
    """
    refused = _NO_HINT
    if hint is None and not dscp and not pcp:
        return refused
    if hint is not None:
        result = _weigh_apart(trust, hint, opened)
        if result.class_index is not None:
            return result
        refused = result
    for marks, value, source in ((trust.dscp, dscp, HintSource.DSCP), (trust.pcp, pcp, HintSource.PCP)):
        if value and (mark := marks.get(value)) is not None:
            class_index, gate = mark
            if gate is None or not opened >> gate & 1:
                return HintResult(class_index, source, HintVerdict.TRUSTED)
            if refused is _NO_HINT:
                refused = HintResult(None, source, HintVerdict.RATE_TOO_HIGH)
    return refused


def verdict_of(policy: Policy, vm: Vm | None, hint: Hint) -> HintVerdict:
    """Weigh a hint given apart from flows, for a flow whose rate is not too high for it."""
    return _weigh_apart(trust_of(policy, vm), hint, 0).verdict


def _weigh_apart(trust: VmTrust, hint: Hint, opened: int) -> HintResult:
    """Weigh a hint given apart from the flow; the verdict is that of the trust entry that came nearest."""
    class_index = trust.classes.get(hint.class_name)
    if class_index is None:
        return HintResult(None, hint.source, HintVerdict.UNKNOWN_CLASS)
    nearest = HintVerdict.VM_NOT_TRUSTED
    for entry in trust.entries:
        verdict = _weigh_entry(entry, hint.source, class_index, opened)
        if verdict is HintVerdict.TRUSTED:
            return HintResult(class_index, hint.source, verdict)
        nearest = max(nearest, verdict)
    return HintResult(None, hint.source, nearest)


def _weigh_entry(entry: Trust, source: HintSource, class_index: int, opened: int) -> HintVerdict:
    if source not in entry.sources:
        return HintVerdict.SOURCE_NOT_TRUSTED
    if class_index not in entry.classes:
        return HintVerdict.CLASS_NOT_ALLOWED
    if entry.gate is not None and opened >> entry.gate & 1:
        return HintVerdict.RATE_TOO_HIGH
    return HintVerdict.TRUSTED
