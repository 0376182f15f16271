"""M5: flows are assigned to queues by their characteristics and the rules."""

from support.engine.example_policies import Tried, spec
from support.engine.required import required

from flowlane.core.model import QueueKind

MBIT = 1_000_000


def world() -> tuple[Tried, dict[str, list[int]]]:
    host = Tried("m05", ["a", "b"], queues=8, software=2)
    flows = {
        "voice": host.begin(*(spec("a", n, 5000, MBIT // 10, "udp", dscp=46) for n in range(6))),
        "storage": host.begin(*(spec("b", n, 2049, 20 * MBIT) for n in range(6))),
        "elephants": host.begin(*(spec("a", n, 5001, 400 * MBIT) for n in range(2))),
        "ordinary": host.begin(*(spec("b", n, 80, MBIT) for n in range(40))),
    }
    host.wait(60)
    return host, flows


def test_every_class_uses_queues_as_the_policy_says() -> None:
    host, flows = world()
    for name, numbers in flows.items():
        assert {host.class_of(number) for number in numbers} == {name}
    assert len(host.queues(flows["voice"])) == 1
    assert len(host.queues(flows["ordinary"])) <= 4
    assert len(host.queues(flows["elephants"])) == 2
    for elephant in flows["elephants"]:
        others = [number for numbers in flows.values() for number in numbers if number != elephant]
        assert host.queue(elephant) not in host.queues(others)
    assert {host.kind(number) for number in flows["voice"]} == {QueueKind.PHYSICAL}


def test_the_device_is_told_of_every_assignment() -> None:
    host, flows = world()
    device = host.world.device
    for number in (number for numbers in flows.values() for number in numbers):
        entry = host.world.datapath.flows[host.world.live[number].key]
        assert entry.queue_id == host.queue(number)
    assert device.pinned == sum(entry.pin is not None for entry in host.world.datapath.flows.values()) > 0
    assert {rule.class_name for rule in required(device.plan).rules} >= {"voice", "storage", "ordinary"}
    named = {queue_id for rule in required(device.plan).rules for queue_id, _ in rule.queues}
    assert named <= set(host.uplink.queues)
