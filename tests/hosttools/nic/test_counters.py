"""Counters of classes and of transmit queues, from what tc and ethtool print."""

from __future__ import annotations

import pytest

from flowlane.hosttools.nic.counters import parse_class_counters, parse_driver_counters

CLASSES = """\
class htb 1:1 parent 1:fffe leaf 8001: prio 0 rate 1Gbit ceil 10Gbit burst 1375b cburst 0b
 Sent 4140 bytes 69 pkt (dropped 3, overlimits 0 requeues 0)
 backlog 0b 0p requeues 0
 lended: 69 borrowed: 0 giants: 0
 tokens: 187 ctokens: 14

class htb 1:fffe root rate 10Gbit ceil 10Gbit burst 1250b cburst 1250b
 Sent 4740 bytes 79 pkt (dropped 0, overlimits 0 requeues 0)
 backlog 0b 0p requeues 0
 lended: 0 borrowed: 0 giants: 0
 tokens: 14 ctokens: 14

class htb 1:b parent 1:fffe prio 0 rate 12Kbit ceil 10Gbit burst 1563b cburst 0b
 Sent 600 bytes 10 pkt (dropped 0, overlimits 0 requeues 0)
 backlog 0b 0p requeues 0

class fq_codel 8001:2f parent 8001:
 (dropped 0, overlimits 0 requeues 0)
 backlog 0b 0p requeues 0
  deficit 1454 count 0 lastcount 0 ldelay 2us
"""
"""``tc -s class show`` of iproute2 6.1 on a port with Open vSwitch's HTB and a leaf."""


def test_packets_of_classes_are_those_sent_and_those_dropped() -> None:
    assert parse_class_counters(CLASSES) == {"1:1": 72, "1:fffe": 79, "1:b": 10}
    assert parse_class_counters("") == {}


@pytest.mark.parametrize(
    "lines",
    [
        ("tx_queue_0_packets: 5", "tx_queue_0_bytes: 300", "tx_queue_3_packets: 7", "rx_queue_3_packets: 9"),
        ("tx-0.packets: 5", "tx-0.bytes: 300", "tx-3.packets: 7", "rx-3.packets: 9"),
        ("tx0_packets: 5", "tx3_packets: 7", "tx3_tso_packets: 9", "rx3_packets: 1", "tx_packets: 12"),
        ("queue_0_tx_cnt: 5", "queue_3_tx_cnt: 7", "queue_3_rx_cnt: 9"),
        ("q0_tx_pkt_n: 5", "q3_tx_pkt_n: 7"),
        ("txq0_pktnum_rcd: 5", "txq3_pktnum_rcd: 7"),
        ("[0]: tx_ucast_packets: 2", "[0]: tx_mcast_packets: 3", "[3]: tx_mcast_packets: 7"),
    ],
)
def test_drivers_have_names_of_their_own(lines: tuple[str, ...]) -> None:
    text = "NIC statistics:\n" + "".join(f"     {line}\n" for line in ("rx_errors: 0", *lines))
    assert parse_driver_counters(text) == {0: 5, 3: 7}


def test_a_driver_that_does_not_count_by_queue_has_none() -> None:
    """As veth has it: its counters are of XDP."""
    assert parse_driver_counters("NIC statistics:\n     peer_ifindex: 5\n     tx_queue_0_xdp_xmit: 3\n") == {}
