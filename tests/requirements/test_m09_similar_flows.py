"""M9: flows of similar characteristics share a queue."""

from support.engine.example_policies import Tried, spec


def test_flows_of_one_label_and_about_one_rate_share_across_classes() -> None:
    host = Tried("m09", ["a", "b", "c"], queues=16)
    small = host.begin(
        spec("a", 0, 5060, 40_000), *(spec("b", n, 16400 + n, 40_000, "udp") for n in range(12))
    )
    large = host.begin(*(spec("b", n, 17000 + n, 30_000_000, "udp") for n in range(12)))
    others = host.begin(*(spec("c", n, 80, 30_000_000) for n in range(12)))
    host.wait(150)
    assert {host.class_of(number) for number in small} == {"signalling", "media"}
    assert host.queues(small).isdisjoint(host.queues(large))
    assert host.queues(small).isdisjoint(host.queues(others))
    assert host.queues(large).isdisjoint(host.queues(others))


def test_a_flow_that_grows_joins_the_flows_it_is_like_now() -> None:
    host = Tried("m09", ["b"], queues=2)
    small = host.begin(*(spec("b", n, 16400 + n, 40_000, "udp") for n in range(12)))
    large = host.begin(*(spec("b", n, 17000 + n, 30_000_000, "udp") for n in range(12)))
    host.wait(150)
    assert host.queues(small).isdisjoint(host.queues(large))
    host.set_rate(small[:1], 30_000_000)
    host.wait(150)
    assert host.queue(small[0]) in host.queues(large)
