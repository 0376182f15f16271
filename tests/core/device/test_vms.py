"""VMs whose identities or shares change: the flows that they have already follow."""

import zlib
from dataclasses import replace

import pytest
from support.engine.scenario import ABLE, DPID, UPLINK, Scenario, small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.device.vms import attached_macs, identity, parse_mac, vm_number
from flowlane.core.model import NOT_A_VM, UNRESOLVED_VM, PortFacts, PortReport
from flowlane.core.policy import Balance, Match, Rule, Share, TrafficClass, VmSelector

STILL = Balance(interval=1e9)
GOLD = VmSelector(external_ids=(("plan", "gold"),))
BY_PLAN = small_policy(
    classes=(TrafficClass("small", 0), TrafficClass("gold", 1, rate_limit=1_000_000)),
    rules=(Rule("gold plan", 0, Match(vms=GOLD), 1),),
    gates=(),
    balance=STILL,
)


def ids(**more: str) -> dict[str, str]:
    return {"iface-id": "vm1", **more}


def test_an_external_id_that_comes_later_classifies_the_flows_that_are_there() -> None:
    scenario = Scenario(BY_PLAN)
    mine, other = scenario.flow(1, 1), scenario.flow(2, 1)
    assert scenario.class_of(mine) == "small"
    scenario.describe(4, ids={1: ids(plan="gold")})
    assert (scenario.class_of(mine), scenario.class_of(other)) == ("gold", "small")
    assert scenario.pins[mine].meter_id
    scenario.describe(4, ids={1: ids()})
    assert scenario.class_of(mine) == "small"
    assert scenario.pins[mine].meter_id == 0


def test_an_external_id_that_changes_nothing_moves_nothing() -> None:
    scenario = Scenario(BY_PLAN)
    row = scenario.flow(1, 1)
    before = scenario.pins[row], scenario.counts["PinFlow"]
    scenario.describe(4, ids={1: ids(owner="somebody")})
    assert (scenario.pins[row], scenario.counts["PinFlow"]) == before


def test_flows_follow_their_vm_to_its_share() -> None:
    shares = (Share("gold", GOLD, 1.0), Share("rest", VmSelector(("vm*",)), 1.0))
    scenario = Scenario(small_policy(classes=(TrafficClass("small", 0),), rules=(), gates=(), shares=shares))
    mine, others = [scenario.flow(1, n) for n in range(4)], [scenario.flow(2, n) for n in range(4)]
    scenario.describe(4, ids={1: ids(plan="gold")})
    scenario.tick(10)
    assert {scenario.queue_of(row) for row in mine}.isdisjoint(scenario.queue_of(row) for row in others)
    assert all(scenario.pins[row].queue_id == scenario.queue_of(row) for row in mine)


def test_flows_on_another_device_follow_too() -> None:
    """On a device at the other end of a link the VM is found by its address."""
    scenario, far = Scenario(BY_PLAN, caps=replace(ABLE, max_meters=0)), DPID + 1
    step = scenario.engine.step_and_catch_up

    def describe(**more: str) -> list[fx.Effect]:
        known = ids(**{"attached-mac": "02:00:00:00:00:01"}, **more)
        facts = {1: PortFacts("pf0vf1", known), UPLINK: PortFacts("pf0", {"flowlane-port": "uplink"})}
        return step(ev.DeviceDescribed(DPID, "br-int", "nic", {}, "netdev", facts), scenario.now)

    describe()
    facts = {
        1: PortFacts("link", {"flowlane-port": "link"}),
        2: PortFacts("out", {"flowlane-port": "uplink"}),
    }
    step(ev.DeviceDescribed(far, "tor", "switch", {}, "netdev", facts), scenario.now)
    reports = (PortReport(1, "link"), PortReport(2, "out"))
    step(ev.DeviceUp(far, ABLE, reports, {2: (0, 1)}), scenario.now)
    step(ev.FlowSeen(far, 1, scenario.frame(1, 1), 2), scenario.now)
    device = scenario.engine.devices[far]
    (row,) = device.flows
    assert device.flows.meter_id[row] == 0
    pins = [effect for effect in describe(plan="gold") if isinstance(effect, fx.PinFlow)]
    assert [(pin.dpid, pin.ref.row, pin.meter_id > 0) for pin in pins] == [(far, row, True)]


def test_a_number_is_the_same_after_a_restart_and_unique() -> None:
    first = vm_number("vm-a", set())
    assert vm_number("vm-a", set()) == first
    assert vm_number("vm-a", {first}) == (first + 1) & 0xFFFFFFFF


def test_probing_passes_over_numbers_that_are_taken() -> None:
    crc = zlib.crc32(b"vm-a")
    assert vm_number("vm-a", {crc, crc + 1}) == crc + 2
    assert vm_number("vm-a", {crc}) not in {NOT_A_VM, UNRESOLVED_VM}


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ({"iface-id": "i", "vm-uuid": "u", "attached-mac": "m"}, ("i", "p", "iface-id")),
        ({"vm-uuid": "u"}, ("u", "p", "vm-uuid")),
        ({"iface-id": "i", "vm-name": "web"}, ("i", "web", "iface-id")),
        ({"vm-name": "web"}, ("p", "web", "port")),
        ({}, ("p", "p", "port")),
    ],
)
def test_identity_comes_from_where_libvirt_and_openstack_write_it(
    ids: dict[str, str], expected: tuple[str, str, str]
) -> None:
    assert identity("p", ids) == expected


@pytest.mark.parametrize(
    "text", ["", "02:00:00:00:00", "02:00:00:00:00:zz", "0200:0000:0001", "+2:00:00:00:00:01"]
)
def test_what_is_no_mac_is_passed_over(text: str) -> None:
    assert parse_mac(text) is None


def test_attached_macs_are_read_with_either_separator() -> None:
    assert attached_macs({"attached-mac": "02:00:00:00:00:01, 02-00-00-00-00-02 junk"}) == (
        0x020000000001,
        0x020000000002,
    )
