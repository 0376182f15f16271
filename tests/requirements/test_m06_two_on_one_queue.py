"""M6: two or more flows on one queue."""

from support.engine.example_policies import Tried, spec


def test_all_flows_of_a_class_with_one_queue_share_it() -> None:
    host = Tried("m06", ["sensor-1", "sensor-2", "other"], queues=4)
    telemetry = host.begin(
        *(spec(f"sensor-{n % 2 + 1}", n, 5683, 1_000_000 * (1 + n), "udp") for n in range(20))
    )
    others = host.begin(*(spec("other", n, 80, 5_000_000) for n in range(20)))
    host.wait(30)
    assert len(host.queues(telemetry)) == 1
    assert not host.queues(telemetry) & host.queues(others)
    assert len(host.queues(others)) == 3
    assert {host.class_of(number) for number in telemetry} == {"telemetry"}


def test_two_flows_share_the_only_queue_of_a_port() -> None:
    host = Tried("m06", ["sensor-1", "other"], queues=1)
    numbers = host.begin(spec("sensor-1", 0, 5683, 1e6, "udp"), spec("other", 0, 80, 1e6))
    assert host.queues(numbers) == {0}
