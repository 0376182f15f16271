"""M10: flows of similar rate limit share a queue, and each flow's limit is enforced."""

from support.engine.example_policies import Tried, spec
from support.engine.required import required

MBIT = 1_000_000
VMS = ["free-1", "free-2", "paid-1", "paid-2", "other"]


def world(queues: int = 8) -> tuple[Tried, list[int], list[int], list[int], list[int]]:
    host = Tried("m10", VMS, queues)
    free = host.begin(*(spec(f"free-{n % 2 + 1}", n, 80, 8 * MBIT) for n in range(6)))
    paid = host.begin(*(spec(f"paid-{n % 2 + 1}", n, 80, 30 * MBIT) for n in range(6)))
    dns = host.begin(*(spec(vm, 99, 53, MBIT, "udp") for vm in VMS))
    other = host.begin(spec("other", 0, 80, MBIT))
    host.wait(40)
    return host, free, paid, dns, other


def test_every_flow_is_under_the_meter_of_its_limit() -> None:
    host, free, paid, dns, other = world()
    assert {required(host.meter(number)).rate for number in free} == {10 * MBIT}
    assert {required(host.meter(number)).burst for number in free} == {125_000 * 8}
    assert len({required(host.meter(number)).meter_id for number in free}) == len(free), "each flow by itself"
    assert len({required(host.meter(number)).meter_id for number in paid}) == 2, "one for each VM"
    assert {required(host.meter(number)).rate for number in paid} == {100 * MBIT}
    assert len({required(host.meter(number)).meter_id for number in dns}) == 1, "one for the class"
    assert host.meter(other[0]) is None


def test_flows_of_one_limit_share_queues_that_flows_of_another_do_not_use() -> None:
    host, free, paid, dns, _ = world()
    assert host.queues(free).isdisjoint(host.queues(paid))
    assert host.queues(free).isdisjoint(host.queues(dns))
    assert host.queues(paid).isdisjoint(host.queues(dns))


def test_a_meter_ends_with_its_last_flow_and_is_never_written_twice() -> None:
    host, free, paid, dns, _ = world()
    written = host.world.counts["SetMeter"]
    standing = {meter.meter_id for meter in required(host.world.device.plan).meters}
    assert {required(host.meter(number)).meter_id for number in (*paid, *dns)} == standing, (
        "those of a class and of VMs stand with the rules, not with flows"
    )
    assert written == len(host.world.device.meters) - len(standing) == 6
    host.end([*paid, *dns, *free[1:]])
    host.wait(30)
    assert sorted(meter.rate for meter in host.world.device.meters.values()) == [
        5 * MBIT,
        10 * MBIT,
        *[100 * MBIT] * 2,
    ]
    assert host.world.counts["SetMeter"] == written
    assert host.world.counts["DeleteMeter"] == len(free) - 1
    assert "holds it to 10Mbit/s" in host.explain(free[0]).meter
