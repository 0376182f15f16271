"""Standing rules of a device, by which it places new flows itself [0054] (M14).

A device can apply the policy's rules that match on fields of packets and on the port that they came from. Rules on a
measured rate, or on a hint given apart from the packets, are left to the controller. Marks of packets (DSCP, PCP)
that the policy trusts as hints become standing rules as well. The order is that of
:mod:`flowlane.core.classify.classifier`: rules, then hints, then class 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from flowlane.core.classify.hints import VmTrust, trust_of
from flowlane.core.classify.matching import selects
from flowlane.core.effects import StandingMatch, StandingRule
from flowlane.core.flowkey import PORT_PROTOCOLS
from flowlane.core.pacing import no_pause, paced

if TYPE_CHECKING:
    from flowlane.core.model import Vm
    from flowlane.core.policy import Match, Policy, Rule

MAX_ENTRIES = 4096
"""A rule that takes more entries than this in a device is left to the controller."""

DEFAULT_ORDER, PCP_ORDER, DSCP_ORDER, FIRST_RULE_ORDER = 0, 1, 2, 3

GROUP_IDS = 0x7FFFFFFF
"""Ids from 1 on that groups have."""

_IP_TYPES = {4: 0x0800, 16: 0x86DD}
"""Length of an address in bytes -> ethertype."""

QueuesOf = Callable[[int, int], Sequence[tuple[int, int]]]
"""(class index, egress port) -> (queue id, weight) of the queues that new flows of the class may go to."""

MeterOf = Callable[[int, int], int]
"""(class index, egress port) -> id of the meter that the whole class shares, 0: none."""


class _Standing(NamedTuple):
    """A standing rule for any egress port."""

    order: int
    match: StandingMatch
    class_index: int


def group_of_class(egress_port: int, class_name: str) -> int:
    """Return the id of the group by which new flows of a class are spread over the queues of a port.

    It is another one only where that id is taken. So the weights that a device has are known after a restart.
    """
    return crc32(f"{egress_port} {class_name}".encode()) % GROUP_IDS + 1


def no_meter(_class_index: int, _port_no: int) -> int:
    """Look up no meter: no class has one that all of its flows share."""
    return 0


def standing_rules(
    policy: Policy,
    egress_ports: Iterable[int],
    vms: Mapping[int, Vm],
    queues_of: QueuesOf,
    meter_of: MeterOf = no_meter,
    pace: Callable[[], None] = no_pause,
) -> tuple[StandingRule, ...]:
    """Make the standing rules of a device.

    A port on which no class has a queue or meter gets the last rule only, which copies new flows to the controller.

    Args:
        policy: the device's own (see :mod:`flowlane.core.device.rules`).
        vms: the VMs whose numbers are in the device's metadata, by number.
        pace: called now and then (see :mod:`flowlane.core.pacing`).
    """
    standing = [
        *_of_rules(policy, vms, pace),
        *_of_marks(policy, vms),
        _Standing(DEFAULT_ORDER, StandingMatch(), 0),
    ]
    last_of = {rule.class_index: place for place, rule in enumerate(standing)}
    rules = (
        rule
        for port_no in egress_ports
        for rule in _on_port(policy, standing, last_of, port_no, queues_of, meter_of)
    )
    return tuple(paced(rules, pace))


def left_to_controller(policy: Policy, pace: Callable[[], None] = no_pause) -> Iterator[tuple[Rule, str]]:
    """List the rules that no device can apply by itself, and why."""
    marked = {index for entry in policy.trust for _, index in (*entry.dscp, *entry.pcp)}
    for rule in paced(policy.rules, pace):
        if rule.match.gate is not None:
            yield rule, "only the controller measures rates"
        elif rule.match.hint and not marked.intersection(rule.match.hint):
            yield rule, "its hints come apart from the packets"
        elif _may_be_large(rule.match) and _size(rule.match) > MAX_ENTRIES:
            yield rule, f"it would need more than {MAX_ENTRIES} entries"


def _on_port(
    policy: Policy,
    standing: list[_Standing],
    last_of: Mapping[int, int],
    port_no: int,
    queues_of: QueuesOf,
    meter_of: MeterOf,
) -> Iterator[StandingRule]:
    """Yield the rules of a port.

    Args:
        last_of: class index -> place of its last rule.
    """
    classes = range(len(policy.classes))
    queues = {index: tuple(queues_of(index, port_no)) for index in classes}
    meters = {index: meter_of(index, port_no) for index in classes}
    if not any(queues.values()):
        standing = _down_to_meters(standing, last_of, meters)
    for order, match, index in standing:
        yield StandingRule(order, match, port_no, policy.classes[index].name, queues[index], meters[index])


def _down_to_meters(
    standing: list[_Standing], last_of: Mapping[int, int], meters: Mapping[int, int]
) -> list[_Standing]:
    """Keep the rules that a port without queues needs: down to the last one with a meter, and the last of all."""
    count = 1 + max((place for index, place in last_of.items() if meters[index]), default=-1)
    return standing if count == len(standing) else [*standing[:count], standing[-1]]


def _of_rules(policy: Policy, vms: Mapping[int, Vm], pace: Callable[[], None]) -> Iterator[_Standing]:
    skipped = {rule.index for rule, _ in left_to_controller(policy, pace)}
    marks = _marks_by_vms(policy, vms)
    for place, rule in paced(enumerate(policy.rules), pace):
        if rule.index in skipped:
            continue
        order = FIRST_RULE_ORDER + len(policy.rules) - 1 - place
        senders = _senders(rule.match, vms)
        if senders is None:
            continue
        for match in _matches(rule.match, senders, marks):
            yield _Standing(order, match, rule.class_index)


def _senders(match: Match, vms: Mapping[int, Vm]) -> tuple[int, ...] | None:
    """List the numbers of the VMs that a rule selects: empty for all, None when it selects none of them."""
    if match.vms is None or selects(match.vms, None):
        return ()
    return tuple(sorted(number for number, vm in vms.items() if selects(match.vms, vm))) or None


def _matches(
    match: Match, senders: tuple[int, ...], marks: list[tuple[tuple[int, ...], VmTrust]]
) -> Iterator[StandingMatch]:
    """Expand a rule's match into matches with one value for each field."""
    if not match.hint:
        yield from _products(match, senders, match.dscp, match.pcp)
        return
    for numbers, trust in marks:
        chosen = tuple(number for number in numbers if not senders or number in senders)
        dscp = tuple(
            value for value in _marks_for(trust.dscp, match.hint) if value in (match.dscp or (value,))
        )
        pcp = tuple(value for value in _marks_for(trust.pcp, match.hint) if value in (match.pcp or (value,)))
        if chosen and dscp:
            yield from _products(match, chosen, dscp, match.pcp)
        if chosen and pcp:
            yield from _products(match, chosen, match.dscp, pcp)


def _marks_for(marks: Mapping[int, tuple[int, int | None]], classes: tuple[int, ...]) -> list[int]:
    return [value for value, (index, _gate) in marks.items() if index in classes]


def _products(
    match: Match, senders: tuple[int, ...], dscp: tuple[int, ...], pcp: tuple[int, ...]
) -> Iterator[StandingMatch]:
    any_value: tuple[None, ...] = (None,)
    protocols = _protocols(match)
    if match.protocols and not protocols:
        return
    vlans = tuple(vlan for first, last in match.vlans for vlan in range(first, last + 1))
    for eth_type, src, dst in _families(match, bool(dscp)):
        for protocol, dscp_value, pcp_value, vlan in product(
            protocols or any_value, dscp or any_value, pcp or any_value, vlans or any_value
        ):
            yield StandingMatch(
                senders,
                eth_type,
                protocol,
                src,
                dst,
                match.src_ports,
                match.dst_ports,
                dscp_value,
                pcp_value,
                vlan,
            )


def _protocols(match: Match) -> tuple[int, ...]:
    """List the IP protocols to match: ports need a protocol with ports (OpenFlow 1.3.5, 7.2.3.8, prerequisites)."""
    if not (match.src_ports or match.dst_ports):
        return match.protocols
    with_ports = tuple(sorted(PORT_PROTOCOLS))
    return tuple(p for p in match.protocols if p in PORT_PROTOCOLS) if match.protocols else with_ports


_Prefix = tuple[bytes, int]


def _families(match: Match, has_dscp: bool) -> Iterator[tuple[int | None, _Prefix | None, _Prefix | None]]:
    """List (ethertype, source, destination) to match: IP fields need an IP ethertype beside them."""
    is_ip = has_dscp or match.protocols or match.src_ports or match.dst_ports or match.src or match.dst
    if not is_ip:
        yield from ((eth_type, None, None) for eth_type in match.eth_types or (None,))
        return
    for octets, eth_type in _IP_TYPES.items():
        if match.eth_types and eth_type not in match.eth_types:
            continue
        sources = [prefix for prefix in match.src if len(prefix[0]) == octets] if match.src else [None]
        destinations = [prefix for prefix in match.dst if len(prefix[0]) == octets] if match.dst else [None]
        yield from ((eth_type, src, dst) for src, dst in product(sources, destinations))


def _may_be_large(match: Match) -> bool:
    """Whether a rule may take more than :data:`MAX_ENTRIES` entries for one VM: a bound that is quickly found."""
    lists = match.src, match.dst, match.eth_types, match.dscp, match.pcp
    most = len(_IP_TYPES) * max(len(PORT_PROTOCOLS), len(match.protocols))
    for values in lists:
        most *= max(1, len(values))
    return bool(match.vlans) or most > MAX_ENTRIES


def _size(match: Match) -> int:
    """Count the entries that a rule takes for one VM."""
    vlans = sum(last - first + 1 for first, last in match.vlans) or 1
    families = sum(1 for _ in _families(match, bool(match.dscp)))
    return (
        families * vlans * max(1, len(_protocols(match))) * max(1, len(match.dscp)) * max(1, len(match.pcp))
    )


def _of_marks(policy: Policy, vms: Mapping[int, Vm]) -> Iterator[_Standing]:
    """Make rules for the trusted marks of VMs, for flows that no rule matches."""
    for numbers, trust in _marks_by_vms(policy, vms):
        for value, (index, _gate) in trust.dscp.items():
            for eth_type in _IP_TYPES.values():
                yield _Standing(DSCP_ORDER, StandingMatch(numbers, eth_type, dscp=value), index)
        for value, (index, _gate) in trust.pcp.items():
            yield _Standing(PCP_ORDER, StandingMatch(numbers, pcp=value), index)


def _marks_by_vms(policy: Policy, vms: Mapping[int, Vm]) -> list[tuple[tuple[int, ...], VmTrust]]:
    """Group VMs by the marks for which they are trusted, so that many VMs take few rules."""
    groups: dict[tuple[object, ...], tuple[list[int], VmTrust]] = {}
    if any(entry.dscp or entry.pcp for entry in policy.trust):
        for number in sorted(vms):
            trust = trust_of(policy, vms[number])
            if trust.dscp or trust.pcp:
                key = (tuple(trust.dscp.items()), tuple(trust.pcp.items()))
                groups.setdefault(key, ([], trust))[0].append(number)
    return [(tuple(numbers), trust) for numbers, trust in groups.values()]
