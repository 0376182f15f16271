"""VMs whose identities or shares change: the flows that they have already follow."""

from fakes.scenario import ABLE, DPID, UPLINK, Scenario, small_policy

from flowlane.core import effects as fx
from flowlane.core import events as ev
from flowlane.core.model import PortFacts, PortReport
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
    there = Scenario(BY_PLAN)
    mine, other = there.flow(1, 1), there.flow(2, 1)
    assert there.class_of(mine) == "small"
    there.describe(4, ids={1: ids(plan="gold")})
    assert (there.class_of(mine), there.class_of(other)) == ("gold", "small")
    assert there.pins[mine].meter_id
    there.describe(4, ids={1: ids()})
    assert there.class_of(mine) == "small"
    assert there.pins[mine].meter_id == 0


def test_an_external_id_that_changes_nothing_moves_nothing() -> None:
    there = Scenario(BY_PLAN)
    row = there.flow(1, 1)
    before = there.pins[row], there.counts["PinFlow"]
    there.describe(4, ids={1: ids(owner="somebody")})
    assert (there.pins[row], there.counts["PinFlow"]) == before


def test_flows_follow_their_vm_to_its_share() -> None:
    shares = (Share("gold", GOLD, 1.0), Share("rest", VmSelector(("vm*",)), 1.0))
    there = Scenario(
        small_policy(classes=(TrafficClass("small", 0),), rules=(), gates=(), shares=shares, balance=STILL)
    )
    mine, others = [there.flow(1, n) for n in range(4)], [there.flow(2, n) for n in range(4)]
    there.describe(4, ids={1: ids(plan="gold")})
    assert {there.queue_of(row) for row in mine}.isdisjoint(there.queue_of(row) for row in others)
    assert all(there.pins[row].queue_id == there.queue_of(row) for row in mine)


def test_flows_on_another_device_follow_too() -> None:
    """A device at the other end of a link knows the VM by its address, from the first device's account."""
    there, far = Scenario(BY_PLAN), DPID + 1
    step = there.engine.step

    def describe(**more: str) -> list[fx.Effect]:
        known = ids(**{"attached-mac": "02:00:00:00:00:01"}, **more)
        facts = {1: PortFacts("pf0vf1", known), UPLINK: PortFacts("pf0", {"flowlane-port": "uplink"})}
        return step(ev.DeviceDescribed(DPID, "br-int", "nic", {}, "netdev", facts), there.now)

    describe()
    facts = {
        1: PortFacts("link", {"flowlane-port": "link"}),
        2: PortFacts("out", {"flowlane-port": "uplink"}),
    }
    step(ev.DeviceDescribed(far, "tor", "switch", {}, "netdev", facts), there.now)
    reports = (PortReport(1, "link"), PortReport(2, "out"))
    step(ev.DeviceUp(far, ABLE, reports, {2: (0, 1)}), there.now)
    step(ev.FlowSeen(far, 1, there.frame(1, 1), 2), there.now)
    device = there.engine.devices[far]
    (row,) = device.flows
    assert device.flows.meter_id[row] == 0
    pins = [effect for effect in describe(plan="gold") if isinstance(effect, fx.PinFlow)]
    assert [(pin.dpid, pin.row, pin.meter_id > 0) for pin in pins] == [(far, row, True)]
