"""M7: more flows than queues, all of them on physical queues, by sharing."""

from support.engine.example_policies import Tried, spec

from flowlane.core.model import QueueKind


def test_many_more_flows_than_queues_are_all_on_physical_queues() -> None:
    host = Tried("m07", ["a", "b"], queues=4, software=4, rate=1_000_000_000)
    flows = [spec("ab"[n % 2], n, 80, 1_000_000 * (1 + n % 50)) for n in range(400)]
    numbers = host.begin(*flows)
    host.wait(30)
    assert len(numbers) == 400
    assert {host.kind(number) for number in numbers} == {QueueKind.PHYSICAL}
    assert host.queues(numbers) == {0, 1, 2, 3}


def test_that_holds_when_hardware_is_overbooked() -> None:
    host = Tried("m07", ["a"], queues=2, software=2, rate=100_000_000)
    numbers = host.begin(*(spec("a", n, 80, 50_000_000) for n in range(40)))
    host.wait(30)
    assert {host.kind(number) for number in numbers} == {QueueKind.PHYSICAL}
