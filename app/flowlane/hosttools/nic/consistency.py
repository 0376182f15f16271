"""Where what a NIC has, what the database says and what the switch reports differ: pure."""

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


class NicTruth(NamedTuple):
    """Everything that this host says of one interface."""

    nic: Nic
    channels: Channels | None = None
    qdiscs: tuple[Qdisc, ...] = ()
    filters: tuple[Filter, ...] = ()
    limits: tuple[VfLimit, ...] = ()


class Said(NamedTuple):
    """What Open vSwitch says of the queues of one port.

    ``queues``: (id, kind) out of the database, kind None where it is not said. ``reported``: ids that the
    switch reports over OpenFlow, None when it was not asked. ``scheduled``: the kernel's datapath, where a
    queue is more than a number.
    """

    port: str
    qos_type: str
    queues: tuple[tuple[int, QueueKind | None], ...]
    reported: tuple[int, ...] | None = None
    scheduled: bool = True


def physical_ids(said: Said) -> tuple[int, ...]:
    """Return the ids of the queues that are to be hardware; a queue of unsaid kind counts as one."""
    return tuple(queue_id for queue_id, kind in said.queues if kind is not QueueKind.SOFTWARE)


def differences(said: Said, truth: NicTruth | None) -> list[Finding]:
    """Compare; an empty list means that all agree, as far as this host can tell."""
    found = _reported(said)
    if truth is not None:
        found += _counts(said, truth) + _limits(said, truth)
        if said.scheduled and said.queues:
            found += _qdisc(said, truth) + _mapping(said, truth)
    return found


def _reported(said: Said) -> list[Finding]:
    ids = tuple(queue_id for queue_id, _ in said.queues)
    if said.reported is None or said.reported == ids or (not ids and said.reported == (0,)):
        return []
    what = f"the database has queues {_ids(ids)}, the switch reports {_ids(said.reported)} over OpenFlow"
    remedy = "look for errors of ovs-vswitchd in its log; check the QoS type"
    return [Finding(Level.PROBLEM, said.port, what, remedy, "OpenFlow queue-get-config, OVSDB QoS:queues")]


def _counts(said: Said, truth: NicTruth) -> list[Finding]:
    nic, wanted = truth.nic, len(physical_ids(said))
    source = f"/sys/class/net/{nic.name}/queues"
    if not nic.up and nic.hardware:
        remedy = f"ip link set {nic.name} up"
        return [
            Finding(
                Level.WARNING,
                said.port,
                "the link is down, so the count of queues is not real",
                remedy,
                source,
            )
        ]
    if wanted > nic.tx_queues:
        what = f"{wanted} physical queues, but the NIC has {_transmit(nic.tx_queues)}{_why(nic)}"
        return [Finding(Level.WARNING, said.port, what, _more(said.port, truth, wanted), source)]
    if nic.hardware and 0 < wanted < nic.tx_queues:
        what = f"{wanted} of the NIC's {nic.tx_queues} transmit queues are used as queues"
        return [Finding(Level.INFO, said.port, what, f"flowlane qos apply {said.port} --queues auto", source)]
    return []


def _limits(said: Said, truth: NicTruth) -> list[Finding]:
    """What the card itself allows a function, no policy knows of: a flow may be slower than its class says."""
    texts = [
        f"VF {limit.number} at most {format_rate(limit.max_tx)}" for limit in truth.limits if limit.max_tx
    ]
    if not texts:
        return []
    what = f"the NIC limits functions by itself, beside any meter: {', '.join(texts)}"
    remedy = f"ip link set {truth.nic.name} vf N max_tx_rate 0, where the policy is to decide alone"
    return [Finding(Level.INFO, said.port, what, remedy, "ip link show")]


def _transmit(number: int) -> str:
    return f"{number} transmit queue{'' if number == 1 else 's'}"


def _why(nic: Nic) -> str:
    """An SR-IOV NIC gives queues of its physical function to its virtual ones (igb keeps one)."""
    return f" while {nic.num_vfs} virtual functions are on" if nic.num_vfs else ""


def _more(port: str, truth: NicTruth, wanted: int) -> str:
    most = truth.channels.most_tx if truth.channels else 0
    if most >= wanted and not truth.nic.num_vfs:
        return f"ethtool -L {truth.nic.name} combined {wanted} (then apply the QoS again)"
    return f"flowlane qos apply {port} --queues auto, or mark the rest with --software-queues"


def _qdisc(said: Said, truth: NicTruth) -> list[Finding]:
    root = next((qdisc for qdisc in truth.qdiscs if qdisc.root), None)
    if said.qos_type != "linux-htb" or not truth.qdiscs or (root and (root.kind, root.handle) == _OVS_HTB):
        return []
    have = f"{root.kind} {root.handle}" if root else "none"
    what = (
        f"the root qdisc is {have}, not the one of Open vSwitch: somebody replaced it, and the queues with it"
    )
    remedy = (
        f"find who did (tc qdisc show dev {truth.nic.name}; Mininet's TCLink does), then set the QoS again"
    )
    return [Finding(Level.PROBLEM, said.port, what, remedy, "mininet/mininet issue 243")]


def _mapping(said: Said, truth: NicTruth) -> list[Finding]:
    if not truth.nic.hardware or truth.nic.tx_queues < 2:
        return []
    ids, mapped = physical_ids(said), mapped_queues(truth.filters)
    wanted = tuple(queue_id for queue_id in ids if queue_id < truth.nic.tx_queues)
    remedy = f"flowlane qos apply {said.port} --map-hardware"
    found = []
    if not mapped:
        what = "a queue is an HTB class only: the hardware transmit queue is chosen by a hash"
        found.append(Finding(Level.INFO, said.port, what, remedy, "tc -s class, ethtool -S"))
    elif mapped != wanted:
        what = f"queues {_ids(mapped)} are mapped to hardware queues, and {_ids(wanted)} should be"
        found.append(Finding(Level.WARNING, said.port, what, remedy, "tc filter show egress"))
    if mapped and (others := foreign_filters(truth.filters)):
        what = (
            f"{len(others)} egress filters of others run before the mapping and may end it for some packets"
        )
        found.append(Finding(Level.WARNING, said.port, what, "", "tc filter show egress"))
    return found


def _ids(ids: Sequence[int]) -> str:
    """Ids for people: 0-3,7."""
    runs: list[list[int]] = []
    for number in sorted(ids):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs) or "none"
