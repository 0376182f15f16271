import zlib

import pytest

from flowlane.core.model import NOT_A_VM, UNRESOLVED_VM, PortFacts, PortRole, Role
from flowlane.core.vms import attached_macs, identity, port_role, read_mac, vm_number


def test_a_number_is_the_same_after_a_restart_and_unique():
    first = vm_number("vm-a", set())
    assert vm_number("vm-a", set()) == first
    assert vm_number("vm-a", {first}) == (first + 1) & 0xFFFFFFFF


def test_probing_passes_over_numbers_that_are_taken():
    crc = zlib.crc32(b"vm-a")
    assert vm_number("vm-a", {crc, crc + 1}) == crc + 2
    assert vm_number("vm-a", {crc}) not in {NOT_A_VM, UNRESOLVED_VM}


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ({"iface-id": "i", "vm-uuid": "u", "attached-mac": "m"}, ("i", "p", "iface-id")),
        ({"vm-uuid": "u"}, ("u", "p", "vm-uuid")),
        ({"iface-id": "i", "vm-name": "web"}, ("i", "web", "iface-id")),
        ({}, ("p", "p", "port")),
    ],
)
def test_identity_comes_from_where_libvirt_and_openstack_write_it(ids, expected):
    assert identity("p", ids) == expected


@pytest.mark.parametrize(
    "text", ["", "02:00:00:00:00", "02:00:00:00:00:zz", "0200:0000:0001", "+2:00:00:00:00:01"]
)
def test_what_is_no_mac_is_passed_over(text):
    assert read_mac(text) is None


def test_attached_macs_are_read_with_either_separator():
    assert attached_macs({"attached-mac": "02:00:00:00:00:01, 02-00-00-00-00-02 junk"}) == (
        0x020000000001,
        0x020000000002,
    )


@pytest.mark.parametrize(
    ("ids", "device_role", "queues", "uplinks", "local", "expected"),
    [
        ({"flowlane-port": "uplink", "iface-id": "x"}, Role.NIC, 0, (), False, PortRole.UPLINK),
        ({}, Role.NIC, 0, ("p",), False, PortRole.UPLINK),
        ({}, Role.NIC, 0, (), True, PortRole.HOST),
        ({"iface-id": "x"}, Role.NIC, 4, (), False, PortRole.VM),
        ({}, Role.NIC, 4, (), False, PortRole.UPLINK),
        ({}, Role.SWITCH, 4, (), False, PortRole.LINK),
        ({}, Role.NIC, 1, (), False, PortRole.VM),
        ({"flowlane-port": "nonsense"}, Role.NIC, 0, (), False, PortRole.VM),
    ],
)
def test_port_roles(ids, device_role, queues, uplinks, local, expected):
    assert port_role("p", PortFacts("p", ids), device_role, queues, uplinks, local) is expected
