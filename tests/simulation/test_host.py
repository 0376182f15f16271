"""The simulated host: its ports and queues, flows of one 5-tuple, many VMs."""

from support.engine.example_policies import Tried, spec

from flowlane.core.model import QueueKind
from flowlane.simulation.host import UPLINK, Host
from flowlane.simulation.world import World


def test_the_queues_are_described_with_kind_and_rates() -> None:
    host = Host(("a",), 2, 1, 10**9, (2 * 10**8, 8 * 10**8), (None, 10**8))
    queues = host.ports()[UPLINK].queues
    assert [(queue.kind, queue.min_rate, queue.max_rate) for queue in queues.values()] == [
        (QueueKind.PHYSICAL, None, 2 * 10**8),
        (QueueKind.PHYSICAL, 10**8, 8 * 10**8),
        (QueueKind.SOFTWARE, None, None),
    ]


def test_a_flow_ends_with_the_last_of_those_that_have_its_5_tuple() -> None:
    host = Tried("m06", ["a"], queues=2)
    first, second = host.begin(spec("a", 0, 80, 1e6), spec("a", 0, 80, 3e6))
    assert host.row(first) == host.row(second)
    host.wait(20)
    flows = host.world.device.flows
    assert abs(flows.rate[host.row(first)] - 4e6) < 1e5
    row = host.row(first)
    host.end([first])
    host.wait(15)
    assert host.row(second) == row
    assert abs(flows.rate[row] - 3e6) < 1e5
    host.end([second])
    host.wait(12)
    assert (len(flows), host.world.datapath.flows) == (0, {})


def test_a_host_without_vms_or_queues_is_a_host() -> None:
    host = Tried("m06", ["a"], queues=0)
    (number,) = host.begin(spec("a", 0, 80, 1e6))
    assert host.queue(number) == -1
    world = World(host.world.engine.policy, Host(()))
    world.second()
    assert not world.live


def test_the_uplink_is_not_one_of_many_vms() -> None:
    vms = [f"vm{n}" for n in range(1, 301)]
    host = Tried("m06", vms, queues=2)
    host.begin(*(spec(vm, 0, 80, 1e6) for vm in vms))
    assert len(host.world.device.flows) == 300
    assert max(host.world.ports.values()) < 0xFFFF0000
