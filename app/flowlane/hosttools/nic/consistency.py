"""Differences between the queues of a NIC, of the database and of the switch's reports; pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.model import QueueKind
from flowlane.hosttools.findings import Finding, Level
from flowlane.hosttools.nic.leaves import FQ_CODEL, leaves_of, why_not_scheduled
from flowlane.hosttools.nic.queues import HTB, foreign_filters, mapped_queues
from flowlane.hosttools.nic.tc import OVS_ROOT
from flowlane.hosttools.qos_plan import MAX_PRIO
from flowlane.units import counted, format_rate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flowlane.hosttools.nic.reader import Channels, Nic, VfLimit
    from flowlane.hosttools.nic.tc import Filter, Qdisc, QueueClass


class NicState(NamedTuple):
    """The state of one interface on this host."""

    nic: Nic
    channels: Channels | None = None
    qdiscs: tuple[Qdisc, ...] = ()
    filters: tuple[Filter, ...] = ()
    limits: tuple[VfLimit, ...] = ()
    classes: tuple[QueueClass, ...] = ()


class PortQueues(NamedTuple):
    """The queues of one port in Open vSwitch.

    ``queues``: (id, kind) from the database, kind None when it is not given. ``reported``: ids that the
    switch reports over OpenFlow, None when it was not asked. ``scheduled``: whether the datapath schedules
    queues (the kernel's does). ``ours``: whether Flowlane made the QoS row, which then records a ``leaf``.
    ``priorities``: those of the database, by queue id.
    """

    name: str
    qos_type: str
    queues: tuple[tuple[int, QueueKind | None], ...]
    reported: tuple[int, ...] | None = None
    scheduled: bool = True
    ours: bool = False
    leaf: str = ""
    priorities: Mapping[int, int] = {}


def physical_ids(port: PortQueues) -> tuple[int, ...]:
    """Return the ids of the physical queues; a queue without a kind counts as one."""
    return tuple(queue_id for queue_id, kind in port.queues if kind is not QueueKind.SOFTWARE)


def differences(port: PortQueues, nic_state: NicState | None) -> list[Finding]:
    """Compare them; an empty list means that this host shows no difference."""
    findings = _reported(port)
    if nic_state is not None:
        findings += _counts(port, nic_state) + _limits(port, nic_state)
        if port.scheduled and port.queues:
            findings += _qdisc(port, nic_state) + _mapping(port, nic_state)
            findings += _leaves(port, nic_state) + _priorities(port, nic_state)
    return findings


def _reported(port: PortQueues) -> list[Finding]:
    ids = tuple(queue_id for queue_id, _ in port.queues)
    # Open vSwitch adds queue 0 where the row has none (vswitchd/bridge.c, iface_configure_qos).
    if port.reported is None or port.reported in (ids, tuple(sorted({0, *ids}))):
        return []
    what = f"the database has queues {_ids(ids)}, the switch reports {_ids(port.reported)} over OpenFlow"
    remedy = "read ovs-vswitchd's log; check the QoS type"
    return [Finding(Level.PROBLEM, port.name, what, remedy, "OpenFlow queue-get-config, OVSDB QoS:queues")]


def _counts(port: PortQueues, nic_state: NicState) -> list[Finding]:
    nic, wanted = nic_state.nic, len(physical_ids(port))
    source = f"/sys/class/net/{nic.name}/queues"
    if not nic.up and nic.hardware:
        remedy = f"ip link set {nic.name} up"
        return [
            Finding(
                Level.WARNING,
                port.name,
                "the link is down, so the number of queues is not the real one",
                remedy,
                source,
            )
        ]
    if wanted > nic.tx_queues:
        what = f"{wanted} physical queues, but the NIC has {_transmit(nic.tx_queues)}{_why(nic)}"
        return [Finding(Level.WARNING, port.name, what, _more(port.name, nic_state, wanted), source)]
    if nic.hardware and 0 < wanted < nic.tx_queues:
        what = f"{wanted} of the NIC's {nic.tx_queues} transmit queues are used as queues"
        return [Finding(Level.INFO, port.name, what, f"flowlane qos apply {port.name} --queues auto", source)]
    return []


def _limits(port: PortQueues, nic_state: NicState) -> list[Finding]:
    """Report the limits that the NIC itself sets for functions: no policy has them, and they slow a flow down."""
    texts = [
        f"VF {limit.number} at most {format_rate(limit.max_tx)}" for limit in nic_state.limits if limit.max_tx
    ]
    if not texts:
        return []
    what = f"the NIC itself limits functions, beside any meter: {', '.join(texts)}"
    remedy = f"ip link set {nic_state.nic.name} vf N max_tx_rate 0, to leave limits to the policy"
    return [Finding(Level.INFO, port.name, what, remedy, "ip link show")]


def _transmit(number: int) -> str:
    return counted(number, "transmit queue")


def _why(nic: Nic) -> str:
    """Explain a low number: an SR-IOV NIC gives queues of its physical function to virtual ones (igb keeps one)."""
    return f" while {nic.num_vfs} virtual functions are on" if nic.num_vfs else ""


def _more(port_name: str, nic_state: NicState, wanted: int) -> str:
    most = nic_state.channels.most_tx if nic_state.channels else 0
    if most >= wanted and not nic_state.nic.num_vfs:
        return f"ethtool -L {nic_state.nic.name} combined {wanted} (then apply the QoS again)"
    return f"flowlane qos apply {port_name} --queues auto, or mark the rest with --software-queues"


def _qdisc(port: PortQueues, nic_state: NicState) -> list[Finding]:
    root = next((qdisc for qdisc in nic_state.qdiscs if qdisc.root), None)
    if (
        port.qos_type != HTB
        or not nic_state.qdiscs
        or (root and (root.kind, root.handle) == ("htb", OVS_ROOT))
    ):
        return []
    have = f"{root.kind} {root.handle}" if root else "none"
    what = (
        f"the root qdisc is {have}, not that of Open vSwitch: another program has replaced it and its queues"
    )
    remedy = f"find it (tc qdisc show dev {nic_state.nic.name}; Mininet's TCLink does that), then set the QoS again"
    return [Finding(Level.PROBLEM, port.name, what, remedy, "mininet/mininet issue 243")]


def _mapping(port: PortQueues, nic_state: NicState) -> list[Finding]:
    if not nic_state.nic.hardware or nic_state.nic.tx_queues < 2:
        return []
    ids, mapped = physical_ids(port), mapped_queues(nic_state.filters)
    expected = tuple(queue_id for queue_id in ids if queue_id < nic_state.nic.tx_queues)
    remedy = f"flowlane qos apply {port.name} --map-hardware"
    findings = []
    if not mapped:
        what = "a queue is an HTB class only: the hardware transmit queue is chosen by a hash"
        findings.append(Finding(Level.INFO, port.name, what, remedy, "tc -s class, ethtool -S"))
    elif mapped != expected:
        what = f"queues {_ids(mapped)} are mapped to hardware queues, and {_ids(expected)} should be"
        findings.append(Finding(Level.WARNING, port.name, what, remedy, "tc filter show egress"))
    if mapped and (others := foreign_filters(nic_state.filters)):
        what = (
            f"before the mapping {counted(len(others), 'other egress filter')} may keep some packets from it"
        )
        findings.append(Finding(Level.WARNING, port.name, what, "", "tc filter show egress"))
    return findings


def _leaves(port: PortQueues, nic_state: NicState) -> list[Finding]:
    """Compare the leaves with what the QoS row records; a row of others records none, and nothing is expected of it."""
    if port.qos_type != HTB or not port.ours or why_not_scheduled(nic_state.qdiscs):
        return []
    kinds, source = leaves_of(nic_state.qdiscs), f"tc qdisc show dev {nic_state.nic.name}"
    ids = [queue_id for queue_id, _ in port.queues]
    findings = []
    if port.leaf in ("", FQ_CODEL) and (bare := [queue_id for queue_id in ids if queue_id not in kinds]):
        level = Level.WARNING if port.leaf else Level.INFO
        what = f"{_queues(bare)} no {FQ_CODEL} leaf: a heavy flow delays all other flows of its queue"
        remedy = f"repeat flowlane qos apply {port.name} with the options that made the queues (--leaf none: no leaves)"
        findings.append(Finding(level, port.name, what, remedy, source))
    for kind in sorted({kinds[queue_id] for queue_id in ids if kinds.get(queue_id, FQ_CODEL) != FQ_CODEL}):
        others = [queue_id for queue_id in ids if kinds.get(queue_id) == kind]
        what = f"{_queues(others)} a leaf of kind {kind}, which Flowlane leaves alone"
        findings.append(Finding(Level.INFO, port.name, what, "", source))
    return findings


def _priorities(port: PortQueues, nic_state: NicState) -> list[Finding]:
    """Compare the priorities of the database with HTB's; a class that is missing is reported elsewhere."""
    prio = {row.queue_id: row.prio for row in nic_state.classes}
    wrong = [
        queue_id
        for queue_id, _ in port.queues
        if queue_id in prio and prio[queue_id] != min(port.priorities.get(queue_id, 0), MAX_PRIO)
    ]
    if port.qos_type != HTB or not wrong:
        return []
    first = wrong[0]
    what = (
        f"{_queues(wrong)} another priority in the database than in HTB (queue {first}: "
        f"{port.priorities.get(first, 0)}, prio {prio[first]})"
    )
    source = f"tc class show dev {nic_state.nic.name}"
    return [Finding(Level.WARNING, port.name, what, "read ovs-vswitchd's log", source)]


def _queues(ids: Sequence[int]) -> str:
    return f"queue {ids[0]} has" if len(ids) == 1 else f"queues {_ids(ids)} have"


def _ids(ids: Sequence[int]) -> str:
    """Write ids as text: 0-3,7."""
    runs: list[list[int]] = []
    for number in sorted(ids):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs) or "none"
