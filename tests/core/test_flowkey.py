"""Flow keys: packed, unpacked, formatted."""

from ipaddress import ip_address

import pytest
from support.engine.scenario import Scenario, small_policy

from flowlane.core import events as ev
from flowlane.core.flowkey import ICMP, IPV4, IPV6, LAYER2, TCP, UDP, FlowParts, flow_text, pack


def ends(*texts: str) -> list[bytes]:
    return [ip_address(text).packed for text in texts]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        (
            FlowParts(7, None, IPV4, TCP, 40000, 443, *ends("10.0.0.1", "192.0.2.9")),
            "tcp 10.0.0.1:40000 to 192.0.2.9:443",
        ),
        (
            FlowParts(7, 12, IPV6, UDP, 1, 53, *ends("2001:db8::1", "2001:db8::2")),
            "udp [2001:db8::1]:1 to [2001:db8::2]:53 in VLAN 12",
        ),
        (
            FlowParts(7, None, IPV4, ICMP, 8, 0, *ends("10.0.0.1", "10.0.0.2")),
            "icmp 10.0.0.1 to 10.0.0.2",
        ),
        (
            FlowParts(7, None, IPV4, UDP, 0, 0, *ends("10.0.0.1", "10.0.0.2")),
            "udp fragments 10.0.0.1 to 10.0.0.2",
        ),
        (
            FlowParts(7, None, IPV6, 44, 0, 0, *ends("2001:db8::1", "2001:db8::2")),
            "fragments 2001:db8::1 to 2001:db8::2",
        ),
        (
            FlowParts(7, None, IPV4, 47, 0, 0, *ends("10.0.0.1", "10.0.0.2")),
            "IP protocol 47 10.0.0.1 to 10.0.0.2",
        ),
        (
            FlowParts(
                7, None, LAYER2, 0, 0x88B5, 0, bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
            ),
            "ethertype 0x88b5 02:00:00:00:00:01 to 02:00:00:00:00:02",
        ),
        *(
            (
                FlowParts(7, 5, LAYER2, 0, number, 0, bytes.fromhex("020000000001"), b"\xff" * 6),
                f"{name} 02:00:00:00:00:01 to ff:ff:ff:ff:ff:ff in VLAN 5",
            )
            for number, name in ((0x0806, "arp"), (0x8035, "rarp"), (0x88CC, "lldp"))
        ),
    ],
)
def test_a_flow_in_the_words_of_people(parts: FlowParts, text: str) -> None:
    assert flow_text(pack(parts)) == text


def test_reports_name_the_flow_that_they_are_about() -> None:
    scenario = Scenario(small_policy())
    row = scenario.flow(1, 1000)
    queue_id = scenario.queue_of(row)
    scenario.do(ev.QueuesReported(1, {100: tuple({0, 1, 2, 3} - {queue_id})}))
    scenario.end(row)
    found = scenario.flow_reports
    assert [report.change for report in found] == ["seen", "assigned", "moved", "ended"]
    assert {flow_text(report.key) for report in found} == {"tcp 10.0.0.1:1000 to 10.0.0.254:80"}
    assert found[2].old_queue_id == queue_id != found[2].queue_id
