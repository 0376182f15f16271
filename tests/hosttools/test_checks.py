from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from flowlane.hosttools.checks import Host, check_choice, check_database
from flowlane.hosttools.findings import Level
from flowlane.southbound.ovsdb.rows import (
    BridgeRow,
    ControllerRow,
    InterfaceRow,
    PortRow,
    QosRow,
    QueueRow,
    RootRow,
    Snapshot,
)

KERNEL = Host(local=True, kernel_datapath=True)


def uuid(number: int) -> UUID:
    return UUID(int=number)


GOOD = Snapshot(
    roots={uuid(1): RootRow((uuid(2),), "3.1.0")},
    bridges={uuid(2): BridgeRow("br0", (uuid(3),), "ab", "", {}, "secure", ("OpenFlow13",), (uuid(7),))},
    ports={uuid(3): PortRow("up0", (uuid(4),), uuid(5), {"flowlane-port": "uplink"})},
    interfaces={uuid(4): InterfaceRow("up0", ofport=1)},
    qos={uuid(5): QosRow("linux-htb", {0: uuid(6), 1: uuid(8)}, {"max-rate": "1000"})},
    queues={n: QueueRow({"min-rate": "500", "max-rate": "1000"}) for n in (uuid(6), uuid(8))},
    controllers={uuid(7): ControllerRow("tcp:127.0.0.1:6653", True, "out-of-band")},
)


def with_bridge(**changes: Any) -> Snapshot:
    return GOOD._replace(bridges={uuid(2): GOOD.bridges[uuid(2)]._replace(**changes)})


def with_queue(**config: str) -> Snapshot:
    return GOOD._replace(queues={**GOOD.queues, uuid(8): QueueRow(config)})


def bad(snapshot: Snapshot, host: Host = KERNEL) -> dict[Level, str]:
    found = [finding for finding in check_database(snapshot, host) if finding.level is not Level.OK]
    assert all(finding.remedy or "Open vSwitch reports" in finding.what for finding in found)
    return {finding.level: finding.what for finding in found}


def test_a_good_host_has_nothing_but_ok() -> None:
    assert bad(GOOD) == {}
    found = check_database(GOOD, KERNEL)
    assert [finding.level for finding in found] == [Level.OK] * 4
    assert "1 bridge" in found[0].what.split(", "), found[0]


def test_the_internal_members_of_a_bond_lead_to_no_host() -> None:
    """Test hosts bond tap devices: their queues are those of the bond."""
    ports = {uuid(3): GOOD.ports[uuid(3)]._replace(interfaces=(uuid(4), uuid(9)))}
    members = {uuid(n): InterfaceRow(name, "internal", n) for n, name in ((4, "up0"), (9, "up1"))}
    findings = check_database(GOOD._replace(ports=ports, interfaces=members), KERNEL)
    assert not [finding for finding in findings if "clear port" in finding.remedy]
    alone = GOOD._replace(interfaces={uuid(4): members[uuid(4)]})
    assert [finding for finding in check_database(alone, KERNEL) if "clear port" in finding.remedy]


@pytest.mark.parametrize(
    "config",
    [
        {"max-revalidator": "500"},
        {"max-revalidator": "200"},
        {"max-revalidator": "5000", "max-idle": "500"},
        {"max-revalidator": "often"},
    ],
)
def test_counters_that_are_fresh_enough_are_no_finding(config: dict[str, str]) -> None:
    assert bad(GOOD._replace(roots={uuid(1): RootRow((uuid(2),), "3.1.0", other_config=config)})) == {}


NO_QOS = GOOD._replace(ports={uuid(3): PortRow("up0", (uuid(4),))}, qos={}, queues={})
CASES = {
    "no datapath id": (with_bridge(datapath_id=""), Level.PROBLEM, "no datapath id"),
    "userspace": (with_bridge(datapath_type="netdev"), Level.WARNING, "not scheduled"),
    "no controller": (with_bridge(controller=()), Level.WARNING, "no controller is set"),
    "old protocols": (with_bridge(protocols=("OpenFlow10",)), Level.PROBLEM, "OpenFlow10 enabled"),
    "standalone": (with_bridge(fail_mode=""), Level.WARNING, "standalone"),
    "not connected": (
        GOOD._replace(controllers={uuid(7): ControllerRow("tcp:192.0.2.1:6653", False, "out-of-band")}),
        Level.PROBLEM,
        "not connected to tcp:192.0.2.1:6653",
    ),
    "in-band, by default": (
        GOOD._replace(controllers={uuid(7): ControllerRow("tcp:192.0.2.1:6653", True)}),
        Level.WARNING,
        "bypass Flowlane's tables",
    ),
    "in-band, as set": (
        GOOD._replace(controllers={uuid(7): ControllerRow("ssl:192.0.2.1:6653", True, "in-band")}),
        Level.WARNING,
        "in-band control",
    ),
    "vswitchd is away": (
        GOOD._replace(roots={uuid(1): RootRow((uuid(2),), next_cfg=3, cur_cfg=2)}),
        Level.PROBLEM,
        "not applied",
    ),
    "offload": (
        GOOD._replace(roots={uuid(1): RootRow((uuid(2),), other_config={"hw-offload": "true"})}),
        Level.WARNING,
        "set_queue is not offloaded",
    ),
    "old counters": (
        GOOD._replace(roots={uuid(1): RootRow((uuid(2),), other_config={"max-revalidator": "5000"})}),
        Level.WARNING,
        "counters of entries are up to 5 s old (by default 0.5 s), and a heavy flow gets its own queue up to 4.5 s",
    ),
    "no queues": (NO_QOS, Level.WARNING, "no port has queues"),
    "internal": (
        GOOD._replace(interfaces={uuid(4): InterfaceRow("up0", "internal", 1)}),
        Level.WARNING,
        "internal port",
    ),
    "interface error": (
        GOOD._replace(interfaces={uuid(4): InterfaceRow("up0", ofport=-1, error="no such device")}),
        Level.PROBLEM,
        "no such device",
    ),
    "broken rate": (with_queue(**{"min-rate": "500", "max-rate": "1Gbit"}), Level.WARNING, "max-rate=1Gbit"),
    "no guarantee": (with_queue(), Level.WARNING, "no min-rate on 1 of 2 queues"),
    "too many guarantees": (with_queue(**{"min-rate": "501"}), Level.WARNING, "1001 bit/s"),
    "noop": (
        GOOD._replace(qos={uuid(5): GOOD.qos[uuid(5)]._replace(type="linux-noop")}),
        Level.WARNING,
        "linux-noop",
    ),
    "no rate": (
        GOOD._replace(qos={uuid(5): GOOD.qos[uuid(5)]._replace(other_config={})}),
        Level.WARNING,
        "10 Gbit/s",
    ),
    "role by queues": (
        GOOD._replace(ports={uuid(3): PortRow("up0", (uuid(4),), uuid(5))}),
        Level.WARNING,
        "up0: taken for uplink port, but only its queues say so",
    ),
    "no uplink": (
        with_bridge(ports=(uuid(3), uuid(31)))._replace(
            ports={
                uuid(3): PortRow("tap0", (uuid(4),), uuid(5)),
                uuid(31): PortRow("tap1", (uuid(41),), uuid(5)),
            },
            interfaces={uuid(4): InterfaceRow("tap0", ofport=1), uuid(41): InterfaceRow("tap1", ofport=2)},
        ),
        Level.WARNING,
        "tap0, tap1: taken for vm ports, but no port is known to be the uplink",
    ),
    "orphans": (
        GOOD._replace(queues={**GOOD.queues, uuid(99): QueueRow()}),
        Level.INFO,
        "1 Queue row in no use",
    ),
}


@pytest.mark.parametrize(("snapshot", "level", "text"), CASES.values(), ids=CASES)
def test_each_fault_is_found_and_only_it(snapshot: Snapshot, level: Level, text: str) -> None:
    found = bad(snapshot)
    assert list(found) == [level], found
    assert text in found[level]


@pytest.mark.parametrize("snapshot", [case[0] for case in CASES.values()], ids=CASES)
def test_no_remedy_has_open_vswitch_delete_all_entries(snapshot: Snapshot) -> None:
    """That is what set-controller does with the first primary controller of a bridge (ofproto/connmgr.c)."""
    remedies = [finding.remedy or "" for finding in check_database(snapshot, KERNEL)]
    assert not any("set-controller" in remedy or "del-controller" in remedy for remedy in remedies)


def test_queues_may_be_on_the_bridge_behind_a_patch_port() -> None:
    patch = InterfaceRow("int-ex", "patch", 1, options={"peer": "ex-int"})
    assert bad(NO_QOS._replace(interfaces={uuid(4): patch})) == {}


def test_a_kernel_without_the_module_is_a_problem_only_where_it_can_be_known() -> None:
    assert "no Open vSwitch datapath" in bad(GOOD, Host(True, False))[Level.PROBLEM]
    assert bad(GOOD, Host(False, False)) == {}


def test_of_several_controllers_those_that_are_away_are_named() -> None:
    rows = {
        uuid(7): ControllerRow("tcp:127.0.0.1:6653", True, "out-of-band"),
        uuid(9): ControllerRow("tcp:192.0.2.9:6653", False, "out-of-band"),
        uuid(10): ControllerRow("ptcp:6654", False, "out-of-band"),
    }
    both = with_bridge(controller=tuple(rows))._replace(controllers=rows)
    assert bad(both) == {Level.WARNING: "not connected to tcp:192.0.2.9:6653"}
    assert "connected to tcp:127.0.0.1:6653" in [finding.what for finding in check_database(both, KERNEL)]


def test_no_bridge_is_said() -> None:
    empty = Snapshot({uuid(1): RootRow()}, {}, {}, {}, {}, {}, {})
    assert "no bridge" in bad(empty)[Level.WARNING]


@pytest.mark.parametrize(
    "snapshot",
    [
        with_bridge(other_config={"disable-in-band": "true"})._replace(
            controllers={uuid(7): ControllerRow("tcp:192.0.2.1:6653", True)}
        ),
        GOOD._replace(controllers={uuid(7): ControllerRow("unix:/run/controller.sock", True)}),
    ],
    ids=["switched off for the bridge", "a local socket"],
)
def test_control_is_not_in_band(snapshot: Snapshot) -> None:
    assert bad(snapshot) == {}


def test_the_remedy_of_an_ignored_value_is_about_that_value() -> None:
    rows = GOOD._replace(
        bridges={**GOOD.bridges, uuid(9): GOOD.bridges[uuid(2)]._replace(name="br9", ports=())}
    )
    broken = rows._replace(
        queues={**rows.queues, uuid(6): QueueRow({"min-rate": "1Gbit"}, {"flowlane-kind": "hardware"})}
    )
    remedies = {
        finding.what.partition(" ")[0]: finding.remedy
        for finding in check_database(broken, KERNEL)
        if "ignore" in finding.what
    }
    assert remedies == {
        "has": "give it one of its own: ovs-vsctl set bridge br9 other-config:datapath-id=DPID",
        "other_config:min-rate=1Gbit": "set a whole number of bit/s",
        "external_ids:flowlane-kind=hardware": (
            "set external_ids:flowlane-kind to physical or software, or remove it"
        ),
    }


@pytest.mark.parametrize(
    ("queues", "text"), [(1, "its queue is chosen by set_queue"), (4, "its 4 queues are chosen by set_queue")]
)
@pytest.mark.parametrize("offload", [False, True])
def test_how_queues_are_chosen(queues: int, text: str, offload: bool) -> None:
    finding = check_choice("bridge br0", "set-queue", queues, offload)
    assert finding is not None
    assert text in finding.what
