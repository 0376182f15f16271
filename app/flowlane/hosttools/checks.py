"""The checks of ``flowlane doctor`` on a snapshot of the database; pure functions.

Facts about Open vSwitch are from ovs-vswitchd.conf.db(5) unless a finding names another source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flowlane.hosttools.attachment import read_record
from flowlane.hosttools.findings import Finding, Level
from flowlane.hosttools.inventory import ports_of
from flowlane.hosttools.qos_plan import orphans
from flowlane.hosttools.role_checks import check_roles
from flowlane.southbound.ovsdb.describe import describe
from flowlane.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flowlane.hosttools.inventory import PortEntry
    from flowlane.southbound.ovsdb.rows import BridgeRow, Snapshot

_SCHEMA = "ovs-vswitchd.conf.db(5)"
_SUPPORTED = ("OpenFlow13", "OpenFlow14", "OpenFlow15")
_SHAPERS = ("linux-htb", "linux-hfsc")
_TRUE = ("true", "1")

DEFAULT_REVALIDATOR, DEFAULT_MAX_IDLE = 500, 10_000
"""Milliseconds of ``max-revalidator`` and ``max-idle`` where they are not set; a revalidator waits for the shorter.

(Open vSwitch, ofproto/ofproto-dpif-upcall.c, udpif_revalidator.)
"""


class Host(NamedTuple):
    """The machine. ``local``: the database is this machine's, so that ``kernel_datapath`` is known."""

    local: bool
    kernel_datapath: bool


def check_database(snapshot: Snapshot, host: Host) -> list[Finding]:
    """Return every finding about the database, the most general first."""
    findings = [*_switch(snapshot), *_offload(snapshot), *_age_of_counters(snapshot)]
    for bridge in sorted(snapshot.bridges.values(), key=lambda row: row.name):
        findings += _bridge(bridge, snapshot, host)
    findings += check_roles(snapshot)
    for port in ports_of(snapshot):
        findings += _port(port)
    findings += [Finding(Level.WARNING, *defect, _SCHEMA) for defect in describe(snapshot).defects]
    return findings + list(_orphans(snapshot))


def _switch(snapshot: Snapshot) -> Iterator[Finding]:
    root = next(iter(snapshot.roots.values()))
    yield Finding(
        Level.OK,
        "Open vSwitch",
        f"version {root.ovs_version or 'unknown'}, {counted(len(snapshot.bridges), 'bridge')}",
    )
    if root.cur_cfg < root.next_cfg:
        what = "ovs-vswitchd has not applied the last change of the database"
        yield Finding(Level.PROBLEM, "ovs-vswitchd", what, "systemctl start openvswitch-switch", _SCHEMA)
    if not snapshot.bridges:
        yield Finding(Level.WARNING, "Open vSwitch", "there is no bridge", "ovs-vsctl add-br br0")


def offloads(snapshot: Snapshot) -> bool:
    """Whether the switch is to offload flows to its NICs."""
    return next(iter(snapshot.roots.values())).other_config.get("hw-offload") in _TRUE


def check_choice(where: str, queues_by: str, queues: int, offload: bool) -> Finding | None:
    """Check how a device is told the queues of packets, given how many queues it has; None: nothing to say."""
    if not queues:
        return None
    chosen = "its queue is chosen" if queues == 1 else f"its {queues} queues are chosen"
    if queues_by != "set-queue":
        kind = queues_by.upper()
        what = f"{chosen} by {kind}, which Flowlane writes: flows can be offloaded"
        return Finding(Level.OK, where, what)
    if not offload:
        return Finding(Level.OK, where, f"{chosen} by set_queue; hw-offload is off")
    what = (
        f"hw-offload is on, and {chosen} by set_queue: flows with a queue are not offloaded, "
        "they stay in software"
    )
    remedy = (
        "if the NIC can choose its queues by DSCP: queues-by: dscp for this device in the policy "
        "(docs/operators/offload.md)"
    )
    source = "Open vSwitch, lib/netdev-offload-tc.c: a match on skb_priority is refused"
    return Finding(Level.WARNING, where, what, remedy, source)


def _offload(snapshot: Snapshot) -> Iterator[Finding]:
    if offloads(snapshot):
        what = (
            "hw-offload is on: a flow that uses set_queue is not offloaded and is forwarded by the kernel; "
            "meters are offloaded, and so are flows whose queue is chosen by DSCP or PCP"
        )
        remedy = (
            "queues-by: dscp for the device (docs/operators/offload.md), or meter-only: true for classes that "
            "need no queue"
        )
        source = "Open vSwitch, lib/netdev-offload-tc.c: a match on skb_priority is refused"
        yield Finding(Level.WARNING, "Open vSwitch", what, remedy, source)


def _age_of_counters(snapshot: Snapshot) -> Iterator[Finding]:
    """Check how old the counters of entries may be: the revalidators read the datapath's that often."""
    config = next(iter(snapshot.roots.values())).other_config
    longest = _milliseconds(config, "max-revalidator", DEFAULT_REVALIDATOR)
    wait = min(longest, _milliseconds(config, "max-idle", DEFAULT_MAX_IDLE))
    if wait > DEFAULT_REVALIDATOR:
        what = (
            f"max-revalidator is {longest} ms: counters of entries are up to {wait / 1000:g} s old (by default "
            f"{DEFAULT_REVALIDATOR / 1000:g} s), and a heavy flow gets its own queue up to "
            f"{(wait - DEFAULT_REVALIDATOR) / 1000:g} s later"
        )
        remedy = "ovs-vsctl remove Open_vSwitch . other_config max-revalidator"
        yield Finding(Level.WARNING, "Open vSwitch", what, remedy, _SCHEMA)


def _milliseconds(config: Mapping[str, str], key: str, default: int) -> int:
    text = config.get(key, "")
    return int(text) if text.isascii() and text.isdigit() else default


def _bridge(bridge: BridgeRow, snapshot: Snapshot, host: Host) -> Iterator[Finding]:
    where = f"bridge {bridge.name}"
    yield from _datapath(bridge, where, host)
    yield from _controllers(bridge, snapshot, where)
    yield from _in_band(bridge, snapshot, where)
    if bridge.protocols and not set(bridge.protocols) & set(_SUPPORTED):
        what = f"only {', '.join(bridge.protocols)} enabled; Flowlane supports OpenFlow 1.3, 1.4 and 1.5"
        remedy = f"ovs-vsctl set bridge {bridge.name} protocols={','.join(_SUPPORTED)}"
        yield Finding(Level.PROBLEM, where, what, remedy, _SCHEMA)
    record = read_record(bridge.external_ids)
    rows = [snapshot.controllers[uuid] for uuid in bridge.controller if uuid in snapshot.controllers]
    if bridge.fail_mode != "secure" and any(record is None or row.target != record.target for row in rows):
        what = "fail_mode is standalone: without its primary controllers the bridge deletes its flow entries and learns"
        yield Finding(Level.WARNING, where, what, f"ovs-vsctl set-fail-mode {bridge.name} secure", _SCHEMA)
    ports = [port for port in ports_of(snapshot) if port.bridge == bridge.name]
    leads_on = any(row.type == "patch" for port in ports for row in port.interfaces)
    if not leads_on and not any(port.queues for port in ports):
        what = "no port has queues: its flows are forwarded without set_queue"
        yield Finding(Level.WARNING, where, what, "flowlane qos apply UPLINK")


def _datapath(bridge: BridgeRow, where: str, host: Host) -> Iterator[Finding]:
    if bridge.datapath_type == "netdev":
        what = (
            "userspace datapath: queues are reported and assigned, but not scheduled; every packet counts in queue 0 "
            "(only DPDK ports with the trtcm-policer read the queue)"
        )
        remedy = "use the kernel's datapath where queues have to work"
        yield Finding(
            Level.WARNING, where, what, remedy, "Open vSwitch, lib/netdev-dpdk.c: only reader of the queue"
        )
    elif bridge.datapath_type in ("", "system") and host.local:
        if host.kernel_datapath:
            yield Finding(Level.OK, where, "kernel datapath: queues are scheduled")
        else:
            what = "the kernel of this host has no Open vSwitch datapath, so the bridge cannot work"
            remedy = f"modprobe openvswitch, or ovs-vsctl set bridge {bridge.name} datapath_type=netdev"
            yield Finding(Level.PROBLEM, where, what, remedy, "/sys/module/openvswitch")
    if not bridge.datapath_id:
        what = "ovs-vswitchd has not created it (no datapath id)"
        yield Finding(Level.PROBLEM, where, what, "read ovs-vswitchd's log", _SCHEMA)


def _controllers(bridge: BridgeRow, snapshot: Snapshot, where: str) -> Iterator[Finding]:
    rows = [snapshot.controllers[uuid] for uuid in bridge.controller if uuid in snapshot.controllers]
    if not rows:
        remedy = f"flowlane attach {bridge.name}"
        yield Finding(Level.WARNING, where, "no controller is set", remedy, _SCHEMA)
        return
    connected = ", ".join(sorted(row.target for row in rows if row.is_connected))
    waits = ("ptcp:", "pssl:", "punix:")  # The switch listens there, so there need be no connection.
    away = ", ".join(
        sorted(row.target for row in rows if not row.is_connected and not row.target.startswith(waits))
    )
    if connected:
        yield Finding(Level.OK, where, f"connected to {connected}")
    if away:
        level = Level.WARNING if connected else Level.PROBLEM
        remedy = "start flowlane-manager; check address, port and firewall"
        yield Finding(level, where, f"not connected to {away}", remedy, _SCHEMA)


def _in_band(bridge: BridgeRow, snapshot: Snapshot, where: str) -> Iterator[Finding]:
    """Check in-band control, by which Open vSwitch reaches the controller through the bridge itself: its default."""
    rows = [snapshot.controllers[uuid] for uuid in bridge.controller if uuid in snapshot.controllers]
    over_ip = [row for row in rows if row.target.startswith(("tcp:", "ssl:"))]
    if bridge.other_config.get("disable-in-band") in _TRUE:
        return
    if any(row.connection_mode != "out-of-band" for row in over_ip):
        what = (
            "in-band control: by hidden entries, packets from and to the controller's address and port bypass "
            "Flowlane's tables, VMs' packets too, and ovs-vswitchd maintains them each time that it wakes up"
        )
        remedy = (
            f"unless the controller is reached through this bridge: "
            f"ovs-vsctl set bridge {bridge.name} other_config:disable-in-band=true"
        )
        yield Finding(Level.WARNING, where, what, remedy, "Open vSwitch, ofproto/in-band.c")


def _port(port: PortEntry) -> Iterator[Finding]:
    where = f"port {port.name}"
    for row in port.interfaces:
        if row.error:
            yield Finding(
                Level.PROBLEM, where, f"Open vSwitch reports: {row.error}", "", "OVSDB Interface:error"
            )
    if not port.qos_type:
        return
    if _leads_to_the_host(port):
        what = "is an internal port with a QoS row: traffic to the host does not pass through its queues"
        remedy = f"ovs-vsctl clear port {port.name} qos"
        yield Finding(Level.WARNING, where, what, remedy, "openvswitch/ovs-issues 215")
    if port.queues and port.qos_type not in _SHAPERS:
        what = f"QoS type {port.qos_type} has no queues that OpenFlow can use"
        yield Finding(Level.WARNING, where, what, f"flowlane qos apply {port.name} --replace", _SCHEMA)
    if not port.max_rate and not port.link_speed:
        what = "neither QoS max-rate nor a link speed is known: Open vSwitch shapes to 10 Gbit/s"
        remedy = f"flowlane qos apply {port.name} --rate RATE"
        yield Finding(Level.WARNING, where, what, remedy, "Open vSwitch, lib/netdev-linux.c")
    yield from _guarantees(port, where)
    yield Finding(Level.OK, where, f"{counted(len(port.queues), 'queue')}, {port.qos_type}")


def _leads_to_the_host(port: PortEntry) -> bool:
    """Whether an internal port is the host's own: not a member of a bond, nor one that stands for a NIC or a VM."""
    if len(port.interfaces) != 1:
        return False
    stated = port.interfaces[0].external_ids.get("flowlane-port")
    return port.interfaces[0].type == "internal" and stated not in ("uplink", "link", "vm")


def _guarantees(port: PortEntry, where: str) -> Iterator[Finding]:
    bare = [queue for queue in port.queues if not queue.min_rate]
    total = sum(queue.min_rate or 0 for queue in port.queues)
    rate = port.max_rate or port.link_speed
    if bare and len(port.queues) > 1:
        what = f"no min-rate on {len(bare)} of {len(port.queues)} queues: HTB gives almost nothing to such under load"
        yield Finding(
            Level.WARNING, where, what, f"flowlane qos apply {port.name} --min-rate even", "tc-htb(8)"
        )
    if rate and total > rate:
        what = f"the queues' min-rates together ({total} bit/s) exceed the port's rate ({rate} bit/s)"
        yield Finding(
            Level.WARNING, where, what, f"flowlane qos apply {port.name} --min-rate even", "tc-htb(8)"
        )


def _orphans(snapshot: Snapshot) -> Iterator[Finding]:
    tables = dict(zip(("QoS", "Queue"), orphans(snapshot), strict=True))
    for table, rows in tables.items():
        if rows:
            what = f"{counted(len(rows), f'{table} row')} in no use; Open vSwitch never removes such rows"
            remedy = f"ovs-vsctl -- {' -- '.join(f'destroy {table} {uuid}' for uuid in rows[:3])}"
            yield Finding(Level.INFO, "Open vSwitch", what, remedy, _SCHEMA)
