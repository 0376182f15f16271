"""M4: every flow of a VM is known with its characteristics, and classified."""

from ipaddress import ip_address

from support.engine.example_policies import Tried, spec

from flowlane.core.flowkey import IPV6, LAYER2, TCP
from flowlane.simulation.flowspec import FlowSpec

MBIT = 1_000_000
VMS = ["web-1", "db-1", "x"]


def test_flows_of_every_kind_are_told_apart_and_classified() -> None:
    host = Tried("m04", VMS, queues=8)
    ends6 = ip_address("2001:db8::1").packed, ip_address("2001:db8:20::7").packed
    macs = bytes.fromhex("020000000003"), bytes.fromhex("0200000000fe")
    specs = {
        "web": spec("web-1", 0, 443, MBIT),
        "ordinary": spec("web-1", 1, 9000, MBIT),
        "storage": FlowSpec("db-1", IPV6, TCP, *ends6, 1000, 2049, MBIT),
        "voice": spec("x", 2, 5000, MBIT, "udp", dscp=46),
        "control": FlowSpec("x", LAYER2, 0, *macs, 0x88F7, 0, MBIT),
    }
    numbers = host.begin(*specs.values())
    assert [host.class_of(number) for number in numbers] == list(specs)


def test_the_measured_rate_is_a_characteristic() -> None:
    host = Tried("m04", VMS, queues=8)
    (number,) = host.begin(spec("x", 0, 1, 200 * MBIT))
    assert host.class_of(number) == "ordinary"
    host.wait(10)
    assert abs(host.world.device.flows.rate[host.row(number)] - 200 * MBIT) < 2 * MBIT
    assert host.class_of(number) == "heavy"
    explanation = host.explain(number)
    assert explanation.rule.startswith("heavy for a while (line ")
    assert {"web servers", "voice"} <= {earlier.rule for earlier in explanation.rules_before}
    assert any("below 50Mbit/s ends" in text for text in explanation.would_change)
    host.set_rate([number], MBIT)
    host.wait(20)
    assert host.class_of(number) == "ordinary"
    assert any(
        "100Mbit/s or more for 2 s makes it heavy" in text for text in host.explain(number).would_change
    )
