"""M8: some flows on physical queues, the rest on software queues, in balance as traffic changes."""

from support.engine.example_policies import Tried, spec

from flowlane.core.model import QueueKind


def host_with(queues: int = 4, software: int = 4, rate: int = 1_000_000_000) -> Tried:
    return Tried("m08", ["a", "b", "c"], queues, software, rate)


def test_what_does_not_fit_goes_to_software_with_a_reason_and_comes_back() -> None:
    host = host_with()
    numbers = host.begin(*(spec("abc"[n % 3], n, 443, 40_000_000) for n in range(40)))
    host.wait(60)
    software = [number for number in numbers if host.kind(number) is QueueKind.SOFTWARE]
    hardware = [number for number in numbers if host.kind(number) is QueueKind.PHYSICAL]
    assert software and hardware
    assert 40_000_000 * len(hardware) <= 1_000_000_000
    explanation = host.explain(software[0])
    assert "hardware queues are taken" in explanation.not_hardware
    assert "a hardware queue that becomes free" in explanation.would_change
    host.end(hardware)
    # 1 % of so few flows a second is one in some seconds.
    host.wait(200)
    assert {host.kind(number) for number in software} == {QueueKind.PHYSICAL}


def test_what_does_not_deserve_hardware_never_gets_it() -> None:
    host = host_with()
    background = host.begin(*(spec("a", n, 873, 1_000_000) for n in range(10)))
    host.wait(40)
    assert {host.kind(number) for number in background} == {QueueKind.SOFTWARE}
    assert host.explain(background[0]).not_hardware == "its class uses software queues only"


def test_what_deserves_hardware_is_the_last_to_leave_it() -> None:
    host = host_with()
    heavy = host.begin(*(spec("b", n, 443, 200_000_000) for n in range(2)))
    host.wait(20)
    ordinary = host.begin(*(spec("a", n, 443, 45_000_000) for n in range(22)))
    host.wait(120)
    assert {host.class_of(number) for number in heavy} == {"deserving"}
    assert {host.kind(number) for number in heavy} == {QueueKind.PHYSICAL}
    assert all(host.queues([number]).isdisjoint(host.queues(ordinary)) for number in heavy)
    kept = [number for number in ordinary if host.kind(number) is QueueKind.PHYSICAL]
    assert 0 < len(kept) < len(ordinary)
    assert 2 * 200_000_000 + 45_000_000 * len(kept) <= 1_000_000_000


def test_a_load_that_swings_around_the_edge_does_not_flap() -> None:
    host = host_with()
    steady = host.begin(*(spec("a", n, 443, 40_000_000) for n in range(20)))
    swinging = host.begin(spec("b", 0, 443, 90_000_000))
    host.wait(60)
    before = host.world.counts["move"]
    kinds: set[tuple[QueueKind, ...]] = set()
    for second in range(60):
        host.set_rate(swinging, 20_000_000 if second // 2 % 2 else 160_000_000)
        host.wait(1)
        kinds.add(tuple(host.kind(number) for number in (*steady, *swinging)))
    assert len(kinds) == 1, "no flow leaves the hardware and comes back"
    # 1 % of so few flows a second, which count as 25; no flow may move more than once in 30 s.
    assert host.world.counts["move"] - before <= 15
    assert len(host.queues(steady)) > 1
