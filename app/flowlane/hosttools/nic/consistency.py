"""Differences between the queues of a NIC, of the database and of the switch's reports; pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.core.model import QueueKind
from flowlane.hosttools.findings import Finding, Level
from flowlane.hosttools.nic.queues import foreign_filters, mapped_queues
from flowlane.units import format_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowlane.hosttools.nic.reader import Channels, Nic, VfLimit
    from flowlane.hosttools.nic.tc import Filter, Qdisc

_OVS_HTB = ("htb", "1:")
"""The root qdisc that Open vSwitch makes for linux-htb (lib/netdev-linux.c)."""


class NicState(NamedTuple):
    """The state of one interface on this host."""

    nic: Nic
    channels: Channels | None = None
    qdiscs: tuple[Qdisc, ...] = ()
    filters: tuple[Filter, ...] = ()
    limits: tuple[VfLimit, ...] = ()


class PortQueues(NamedTuple):
    """The queues of one port in Open vSwitch.

    ``queues``: (id, kind) from the database, kind None when it is not given. ``reported``: ids that the
    switch reports over OpenFlow, None when it was not asked. ``scheduled``: whether the datapath schedules
    queues (the kernel's does).
    """

    name: str
    qos_type: str
    queues: tuple[tuple[int, QueueKind | None], ...]
    reported: tuple[int, ...] | None = None
    scheduled: bool = True


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
    return findings


def _reported(port: PortQueues) -> list[Finding]:
    ids = tuple(queue_id for queue_id, _ in port.queues)
    if port.reported is None or port.reported == ids or (not ids and port.reported == (0,)):
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
    return f"{number} transmit queue{'' if number == 1 else 's'}"


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
        port.qos_type != "linux-htb"
        or not nic_state.qdiscs
        or (root and (root.kind, root.handle) == _OVS_HTB)
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
        what = f"{len(others)} other egress filters run before the mapping and may keep some packets from it"
        findings.append(Finding(Level.WARNING, port.name, what, "", "tc filter show egress"))
    return findings


def _ids(ids: Sequence[int]) -> str:
    """Write ids as text: 0-3,7."""
    runs: list[list[int]] = []
    for number in sorted(ids):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs) or "none"
