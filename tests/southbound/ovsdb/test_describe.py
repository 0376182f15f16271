from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlane.core.model import QueueFacts, QueueKind
from flowlane.southbound.openflow.wire.constants import LOCAL_PORT
from flowlane.southbound.ovsdb.describe import Description, describe, described_after, rate
from flowlane.southbound.ovsdb.rows import (
    BridgeRow,
    InterfaceRow,
    PortRow,
    QosRow,
    QueueRow,
    RootRow,
    Snapshot,
    dangling,
)


def uuid(number: int) -> UUID:
    return UUID(int=number)


BRIDGE, ROOT, QOS = uuid(1), uuid(2), uuid(3)


def snapshot(
    interfaces: dict[int, InterfaceRow],
    qos: QosRow | None = None,
    queues: dict[int, QueueRow] | None = None,
    **bridge: Any,
) -> Snapshot:
    """One bridge; interface row 100 + n belongs to port row 200 + n; all ports have the QoS row."""
    ports = {
        uuid(200 + n): PortRow(row.name, (uuid(100 + n),), QOS if qos else None)
        for n, row in interfaces.items()
    }
    row = BridgeRow(**{"name": "br0", "ports": tuple(ports), "datapath_id": "00000000000000ab", **bridge})
    return Snapshot(
        roots={ROOT: RootRow((BRIDGE,), "3.1.0")},
        bridges={BRIDGE: row},
        ports=ports,
        interfaces={uuid(100 + n): row for n, row in interfaces.items()},
        qos={QOS: qos} if qos else {},
        queues={uuid(300 + n): row for n, row in (queues or {}).items()},
        controllers={},
    )


def test_a_bridge_is_described_whole() -> None:
    vm = InterfaceRow(
        "vf0", "", 7, {"vm-uuid": "u1"}, "02:00:00:00:00:0a", 10_000_000_000, {"driver_name": "mlx5e_rep"}
    )
    given = snapshot(
        {7: vm},
        QosRow("linux-htb", {0: uuid(300), 5: uuid(305)}, {"max-rate": "1000000000"}),
        {
            0: QueueRow({"min-rate": "1000", "max-rate": "2000"}, {"flowlane-kind": "physical"}),
            5: QueueRow({"priority": "3"}, {"flowlane-kind": "software"}),
        },
        external_ids={"flowlane-role": "nic"},
        datapath_type="netdev",
    )
    device = describe(given).devices[BRIDGE]
    assert device is not None
    assert (device.dpid, device.name, device.role, device.datapath_type) == (0xAB, "br0", "nic", "netdev")
    port = device.ports[7]
    assert (port.name, port.mac, port.link_speed, port.driver) == ("vf0", 0x02000000000A, 10**10, "mlx5e_rep")
    assert (port.qos_type, port.qos_max_rate) == ("linux-htb", 10**9)
    assert port.queues == {
        0: QueueFacts(QueueKind.PHYSICAL, 1000, 2000),
        5: QueueFacts(QueueKind.SOFTWARE, None, None, 3),
    }
    assert port.external_ids == {"vm-uuid": "u1"}
    assert describe(given).defects == ()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        # What libvirt, Nova with os-vif, OVN-Kubernetes, and somebody with both kinds of names write.
        ({"iface-id": "i", "vm-id": "u", "attached-mac": "m"}, {"vm-uuid": "u"}),
        ({"iface-id": "i", "vm-uuid": "u", "attached-mac": "m"}, {}),
        ({"iface-id": "ns_pod", "attached_mac": "m"}, {"attached-mac": "m"}),
        ({"vm-uuid": "u", "vm-id": "other"}, {}),
    ],
)
def test_names_of_external_ids_are_those_of_open_vswitch(
    written: dict[str, str], read: dict[str, str]
) -> None:
    device = describe(snapshot({1: InterfaceRow("p1", ofport=1, external_ids=written)})).devices[BRIDGE]
    assert device is not None
    assert device.ports[1].external_ids == {**written, **read}


@pytest.mark.parametrize(
    ("ofport", "expected"), [(1, [1]), (65534, [LOCAL_PORT]), (-1, []), (None, []), (0, [])]
)
def test_only_interfaces_with_a_port_number_are_ports(ofport: int | None, expected: list[int]) -> None:
    device = describe(snapshot({1: InterfaceRow("p", ofport=ofport)})).devices[BRIDGE]
    assert device is not None
    assert list(device.ports) == expected


def test_every_interface_of_a_bond_is_a_port_with_the_queues_of_the_bond() -> None:
    base = snapshot({1: InterfaceRow("p1", ofport=1)}, QosRow("linux-htb", {0: uuid(300)}), {0: QueueRow()})
    given = base._replace(
        ports={uuid(201): PortRow("bond0", (uuid(101), uuid(102)), QOS)},
        interfaces={uuid(101): InterfaceRow("p1", ofport=1), uuid(102): InterfaceRow("p2", ofport=2)},
    )
    device = describe(given).devices[BRIDGE]
    assert device is not None
    assert {n: (p.name, list(p.queues)) for n, p in device.ports.items()} == {1: ("p1", [0]), 2: ("p2", [0])}


def test_vlans_options_and_the_bond_of_a_port() -> None:
    base = snapshot({1: InterfaceRow("p1", "patch", 1, options={"peer": "q1"})})
    access = PortRow("p1", (uuid(101),), tag=100, vlan_mode="native-tagged", trunks=(300, 200), bond_mode="x")
    device = describe(base._replace(ports={uuid(201): access})).devices[BRIDGE]
    assert device is not None
    port = device.ports[1]
    assert (port.port, port.tag, port.trunks, port.vlan_mode) == ("p1", 100, (200, 300), "native-tagged")
    assert (port.options, port.members, port.bond_mode) == ({"peer": "q1"}, (), "")
    bond = PortRow("bond0", (uuid(102), uuid(103), uuid(101)), bond_mode="balance-slb")
    members = {101: InterfaceRow("e1", ofport=7), 102: InterfaceRow("e2", ofport=3), 103: InterfaceRow("e3")}
    given = base._replace(ports={uuid(201): bond}, interfaces={uuid(n): row for n, row in members.items()})
    device = describe(given).devices[BRIDGE]
    assert device is not None
    assert {n: (p.port, p.members, p.bond_mode) for n, p in device.ports.items()} == dict.fromkeys(
        (3, 7), ("bond0", (3, 7), "balance-slb")
    )


def test_the_role_in_a_port_row_is_that_of_its_interfaces_unless_they_have_one() -> None:
    base = snapshot(
        {1: InterfaceRow("p1", ofport=1), 2: InterfaceRow("p2", ofport=2, external_ids={"a": "b"})}
    )
    ids = {"flowlane-port": "uplink", "iface-id": "of another layer"}
    row = PortRow("p", (uuid(101), uuid(102)), external_ids=ids)
    device = describe(base._replace(ports={uuid(201): row})).devices[BRIDGE]
    assert device is not None
    assert [port.external_ids for port in device.ports.values()] == [
        {"flowlane-port": "uplink"},
        {"a": "b", "flowlane-port": "uplink"},
    ]
    own = {uuid(101): InterfaceRow("p1", ofport=1, external_ids={"flowlane-port": "vm"})}
    device = describe(base._replace(ports={uuid(201): row}, interfaces=own)).devices[BRIDGE]
    assert device is not None
    assert device.ports[1].external_ids == {"flowlane-port": "vm"}


@pytest.mark.parametrize("text", ["1e9", "1Gbit/s", "-5", "1000.0", "", " ", "0x10", "²", "9" * 30])
def test_a_rate_that_is_no_whole_number_is_ignored_and_reported(text: str) -> None:
    given = snapshot(
        {1: InterfaceRow("p", ofport=1)},
        QosRow("linux-htb", {2: uuid(302)}, {"max-rate": text}),
        {2: QueueRow({"min-rate": text, "max-rate": "7"}, {"flowlane-kind": "hardware"})},
    )
    found = describe(given)
    device = found.devices[BRIDGE]
    assert device is not None
    assert device.ports[1].qos_max_rate is None
    assert device.ports[1].queues[2] == QueueFacts(None, None, 7)
    assert [defect.where for defect in found.defects] == [
        "QoS of port p",
        "queue 2 of port p",
        "queue 2 of port p",
    ]
    assert any("flowlane-kind=hardware" in defect.what for defect in found.defects)


@given(st.text(max_size=12))
def test_reading_a_rate_never_raises_and_never_gives_a_negative(text: str) -> None:
    value = rate({"max-rate": text}, "max-rate")
    assert value is None or value > 0


def test_two_bridges_with_one_datapath_id_are_not_both_described() -> None:
    base = snapshot({})
    given = base._replace(bridges={**base.bridges, uuid(9): BridgeRow("br1", (), "ab")})
    found = describe(given)
    assert list(found.devices) == [BRIDGE]
    assert found.defects[0].where == "bridge br1"


def test_a_bridge_without_its_datapath_id_for_now_stays_known() -> None:
    known = described_after({}, describe(snapshot({1: InterfaceRow("p", ofport=1)})).devices)
    after_restart = describe(snapshot({1: InterfaceRow("p")}, datapath_id=""))
    assert after_restart == Description({BRIDGE: None}, ())
    assert described_after(known, after_restart.devices) == known
    assert described_after({}, after_restart.devices) == {}
    assert described_after(known, {}) == {}


def test_a_new_datapath_id_forgets_the_old_one() -> None:
    known = described_after({}, describe(snapshot({})).devices)
    after = described_after(known, describe(snapshot({}, datapath_id="cd")).devices)
    assert [device.dpid for device in after.values()] == [0xCD]


def test_dangling_names_every_reference_that_leads_nowhere() -> None:
    whole = snapshot({1: InterfaceRow("p", ofport=1)}, QosRow("linux-htb", {0: uuid(300)}), {0: QueueRow()})
    assert dangling(whole) == []
    empty = Snapshot({}, {}, {}, {}, {}, {}, {})
    for table in ("roots", "bridges", "ports", "interfaces", "qos", "queues"):
        assert len(dangling(whole._replace(**{table: {}}))) == 1, table
    assert len(dangling(empty)) == 1
