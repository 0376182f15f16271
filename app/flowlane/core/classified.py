"""A flow's class, set and set again: the one place where rules, hints and rates meet a flow's row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.assign import replace
from flowlane.core.flowkey import unpack
from flowlane.core.matching import Facts, unmet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowlane.core.effects import Effect
    from flowlane.core.flowkey import FlowParts
    from flowlane.core.model import Hint
    from flowlane.core.state import Device, ReadHint, State


def classify_row(state: State, device: Device, row: int, parts: FlowParts) -> None:
    """Set the flow's class, rule and believed hint from what is known of it now."""
    flows = device.flows
    vm = state.vms.get(parts.vm_number)
    dscp, pcp, level = flows.dscp[row], flows.pcp[row], flows.level[row]
    given = (
        find_hint(state.hints_of_vm[vm.id], parts, dscp, pcp) if vm and vm.id in state.hints_of_vm else None
    )
    hint, source, _verdict = device.classifier.believed(vm, dscp, pcp, given, level)
    flows.hint_class[row] = 0 if hint is None else hint + 1
    flows.hint_source[row] = source
    flows.class_index[row], flows.rule_index[row] = device.classifier.classify(
        vm, parts, dscp, pcp, hint, level
    )


def reclassify(state: State, device: Device, row: int, out: list[Effect]) -> bool:
    """Classify a flow anew; place it anew when that changed what it asks. Returns whether its class changed."""
    flows = device.flows
    key = flows.keys[row]
    assert key is not None
    before = flows.class_index[row]
    classify_row(state, device, row, unpack(key))
    if flows.class_index[row] == before:
        return False
    replace(state, device, row, out)
    return True


def find_hint(hints: Iterable[ReadHint], parts: FlowParts, dscp: int, pcp: int) -> Hint | None:
    """The first hint whose match holds for a flow."""
    facts = Facts(None, parts, dscp, pcp)
    return next((hint for match, hint in hints if not unmet(match, facts)), None)
