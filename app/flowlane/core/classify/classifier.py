"""Classifier: a flow's class is that of the first rule that matches, else of its trusted hint, else class 0.

:func:`compile_rules` prepares a policy once. After that a new flow costs a few look-ups and bitwise ands, however
many rules and flows there are (see :mod:`flowlane.core.classify.bitmaps`). What follows from a VM's identity is
cached for each VM until its record is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.classify.bitmaps import Intervals, bitmap, by_value, intervals, prefix_intervals
from flowlane.core.classify.gates import OPEN_GATES
from flowlane.core.classify.hints import HintResult, VmTrust, trust_of, weigh
from flowlane.core.classify.matching import ETHERTYPES, fits_fragments
from flowlane.core.classify.selectors import index_selectors
from flowlane.core.flowkey import FRAGMENT, IPV4, IPV6, LAYER2, PORT_PROTOCOLS, is_of_fragments
from flowlane.core.pacing import no_pause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flowlane.core.classify.selectors import SelectorIndex
    from flowlane.core.flowkey import FlowParts
    from flowlane.core.model import Hint, Vm
    from flowlane.core.policy import Match, Policy, Trust

NO_RULE = 0xFFFF
"""Rule index of a flow that no rule matches."""


class _VmView(NamedTuple):
    """What follows from a VM's identity: the bitmap of rules that select it, and which of its hints are trusted."""

    vm: Vm | None
    rules: int
    trust: VmTrust


class _Fields(NamedTuple):
    """Rules by the value of each packet field; None: no rule matches on the field."""

    layer2: dict[int, int]
    layer2_other: int
    protocols: dict[int, list[int]]
    src: dict[int, Intervals | None]
    dst: dict[int, Intervals | None]
    src_ports: Intervals | None
    dst_ports: Intervals | None
    vlans: Intervals | None
    dscp: list[int] | None
    pcp: list[int] | None
    untagged: int


@dataclass(slots=True, eq=False)
class Classifier:
    """Policy compiled for classification by :func:`compile_rules`, with caches for VMs and open gates."""

    policy: Policy
    selectors: SelectorIndex
    fields: _Fields
    hinted: dict[int, int]
    unhinted: int
    views: dict[int, _VmView] = field(default_factory=dict)
    trusts: dict[tuple[Trust, ...], VmTrust] = field(default_factory=dict)
    gate_bits: dict[int, int] = field(default_factory=dict)
    class_bits: dict[int, int] = field(default_factory=dict)
    looked_at: Callable[[bytes], object] = itemgetter(slice(None))
    """Takes what rules may look at out of an untagged frame of TCP or UDP over IPv4 without options."""

    def classify(
        self,
        vm: Vm | None,
        parts: FlowParts,
        dscp: int,
        pcp: int,
        hint: int | None = None,
        gate_state: int = 0,
    ) -> tuple[int, int]:
        """Classify a flow.

        Args:
            hint: the class index that :meth:`weigh_hints` returned.
            gate_state: the flow's gates as :func:`flowlane.core.classify.gates.advance` returns them.

        Returns:
            The class index, and the rule index or NO_RULE.
        """
        bits = _view(self, vm).rules
        if bits:
            bits &= _packet_bits(self.fields, parts, dscp, pcp)
        if bits:
            bits &= self.unhinted if hint is None else self.hinted.get(hint, self.unhinted)
            bits &= _gate_bits(self, gate_state & OPEN_GATES)
        if bits:
            rule = self.policy.rules[(bits & -bits).bit_length() - 1]
            return rule.class_index, rule.index
        return (hint or 0), NO_RULE

    def may_give(self, class_index: int, vm: Vm | None) -> bool:
        """Whether a rule selects a VM and gives a class, whatever else the rule asks for."""
        bits = self.class_bits.get(class_index)
        if bits is None:
            rules = self.policy.rules
            bits = self.class_bits[class_index] = bitmap(rule.class_index == class_index for rule in rules)
        return bool(bits & _view(self, vm).rules)

    def weigh_hints(
        self, vm: Vm | None, dscp: int, pcp: int, hint: Hint | None = None, gate_state: int = 0
    ) -> HintResult:
        """Weigh a VM's hints for a flow (M12), see :func:`flowlane.core.classify.hints.weigh`.

        Args:
            hint: the hint that was given apart from the flow.
            gate_state: the flow's gates: a hint may be trusted up to a measured rate only.
        """
        return weigh(_view(self, vm).trust, dscp, pcp, hint, gate_state & OPEN_GATES)


def compile_rules(
    policy: Policy, like: Classifier | None = None, pace: Callable[[], None] = no_pause
) -> Classifier:
    """Prepare a policy, or the part of it that a device gets, for classifying flows.

    Args:
        like: another classifier; where it is of the same rules, their index is made once for both.
        pace: called now and then (see :mod:`flowlane.core.pacing`).
    """
    if like is not None and like.policy.rules is policy.rules:
        return Classifier(
            policy, like.selectors, like.fields, like.hinted, like.unhinted, looked_at=like.looked_at
        )
    matches = [rule.match for rule in policy.rules]
    hinted, unhinted = by_value((match.hint for match in matches), pace)
    selectors = index_selectors([match.vms for match in matches], pace)
    fields = _index_fields(matches, pace)
    return Classifier(policy, selectors, fields, hinted, unhinted, looked_at=itemgetter(*_looked_at(fields)))


def _looked_at(fields: _Fields) -> Iterator[slice]:
    """Yield where in a frame is what rules may look at: DSCP and protocol in any case, the rest where a rule does."""
    yield slice(15, 16)
    yield slice(23, 24)
    parts = (fields.src[IPV4], 26), (fields.dst[IPV4], 30), (fields.src_ports, 34), (fields.dst_ports, 36)
    for rules, first in parts:
        if rules is not None:
            yield slice(first, first + (4 if first < _PORTS_AT else 2))


_PORTS_AT = 34


def _view(classifier: Classifier, vm: Vm | None) -> _VmView:
    number = 0 if vm is None else vm.number
    view = classifier.views.get(number)
    if view is None or view.vm is not vm:
        view = _VmView(vm, classifier.selectors.rules_of(vm), trust_of(classifier.policy, vm))
        # Most VMs of a policy are trusted alike: what says so is stored once for all of them.
        trust = classifier.trusts.setdefault(view.trust.entries, view.trust)
        view = classifier.views[number] = view._replace(trust=trust)
    return view


def _packet_bits(fields: _Fields, parts: FlowParts, dscp: int, pcp: int) -> int:
    if parts.kind == LAYER2:
        bits = fields.layer2.get(parts.src_port, fields.layer2_other)
    else:
        bits = _ip_bits(fields, parts, dscp)
    if parts.vlan is None:
        return bits & fields.untagged
    if fields.vlans is not None:
        bits &= fields.vlans.at(parts.vlan)
    return bits if fields.pcp is None else bits & fields.pcp[pcp]


def _ip_bits(fields: _Fields, parts: FlowParts, dscp: int) -> int:
    kind, protocol = parts.kind, parts.protocol
    bits = fields.protocols[kind][protocol]
    if protocol in PORT_PROTOCOLS and not (kind == IPV4 and is_of_fragments(parts)):
        if fields.dst_ports is not None:
            bits &= fields.dst_ports.at(parts.dst_port)
        if fields.src_ports is not None:
            bits &= fields.src_ports.at(parts.src_port)
    if (sources := fields.src[kind]) is not None:
        bits &= sources.at(parts.src)
    if (destinations := fields.dst[kind]) is not None:
        bits &= destinations.at(parts.dst)
    return bits if fields.dscp is None else bits & fields.dscp[dscp]


def _gate_bits(classifier: Classifier, opened: int) -> int:
    bits = classifier.gate_bits.get(opened)
    if bits is None:
        gates = (rule.match.gate for rule in classifier.policy.rules)
        bits = classifier.gate_bits[opened] = bitmap(gate is None or opened >> gate & 1 for gate in gates)
    return bits


def _index_fields(matches: list[Match], pace: Callable[[], None]) -> _Fields:
    no_ports = bitmap((not (match.src_ports or match.dst_ports) for match in matches), pace)
    not_ip = no_ports & bitmap(
        (not (match.protocols or match.src or match.dst or match.dscp) for match in matches), pace
    )
    types, other_types = by_value((match.eth_types for match in matches), pace)
    sources = [match.src for match in matches]
    destinations = [match.dst for match in matches]
    return _Fields(
        layer2={eth_type: bits & not_ip for eth_type, bits in types.items()},
        layer2_other=other_types & not_ip,
        protocols={
            kind: _index_protocols(matches, kind, types.get(eth_type, other_types), no_ports, pace)
            for kind, eth_type in ETHERTYPES.items()
        },
        src={IPV4: prefix_intervals(sources, 4, pace), IPV6: prefix_intervals(sources, 16, pace)},
        dst={IPV4: prefix_intervals(destinations, 4, pace), IPV6: prefix_intervals(destinations, 16, pace)},
        src_ports=intervals([match.src_ports for match in matches], pace),
        dst_ports=intervals([match.dst_ports for match in matches], pace),
        vlans=intervals([match.vlans for match in matches], pace),
        dscp=_index_small([match.dscp for match in matches], 64, pace),
        pcp=_index_small([match.pcp for match in matches], 8, pace),
        untagged=bitmap((not (match.vlans or match.pcp) for match in matches), pace),
    )


def _index_protocols(
    matches: list[Match], kind: int, of_family: int, no_ports: int, pace: Callable[[], None]
) -> list[int]:
    """Index rules by IP protocol; a protocol without ports never satisfies a rule with ports."""
    bitmaps, other = by_value((match.protocols for match in matches), pace)
    of_protocol = [bitmaps.get(protocol, other) & of_family for protocol in range(256)]
    index = [
        bits if protocol in PORT_PROTOCOLS else bits & no_ports for protocol, bits in enumerate(of_protocol)
    ]
    if kind == IPV6:
        index[FRAGMENT] = of_family & bitmap(map(fits_fragments, matches), pace)
    return index


def _index_small(values: list[tuple[int, ...]], size: int, pace: Callable[[], None]) -> list[int] | None:
    if not any(values):
        return None
    bitmaps, other = by_value(values, pace)
    return [bitmaps.get(value, other) for value in range(size)]
