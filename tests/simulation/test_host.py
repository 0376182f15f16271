"""The simulated host: its counters, its flows and their ends."""

from support.engine.example_policies import Tried, spec

from flowlane.simulation.host import Host, make_world


def test_a_flow_ends_with_the_last_of_those_that_have_its_5_tuple() -> None:
    host = Tried("m06", ["a"], queues=2)
    first, second = host.begin(spec("a", 0, 80, 1e6), spec("a", 0, 80, 3e6))
    assert host.row(first) == host.row(second)
    host.wait(8)
    flows = host.world.device.flows
    assert abs(flows.rate[host.row(first)] - 4e6) < 1e5
    host.end([first])
    assert len(flows) == 1
    host.wait(12)
    assert abs(flows.rate[host.row(second)] - 3e6) < 1e5
    host.end([second])
    assert (len(flows), host.world.sent, dict(host.world.users)) == (0, {}, {})


def test_a_host_without_vms_or_queues_is_a_host() -> None:
    host = Tried("m06", ["a"], queues=0)
    (number,) = host.begin(spec("a", 0, 80, 1e6))
    assert host.queue(number) == -1
    world = make_world(host.world.engine.policy, Host(()))
    world.second()
    assert not world.live


def test_the_uplink_is_not_one_of_many_vms() -> None:
    vms = [f"vm{n}" for n in range(1, 301)]
    host = Tried("m06", vms, queues=2)
    host.begin(*(spec(vm, 0, 80, 1e6) for vm in vms))
    assert len(host.world.device.flows) == 300
    assert max(host.world.ports.values()) < 0xFFFF0000
