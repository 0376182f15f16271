"""The reader of dump-flows, on lines that ovs-ofctl printed."""

from __future__ import annotations

from lab.inside.dump_flows import read_entry

PIN = (
    "cookie=0xf10a300100000007, duration=3.1s, table=2, n_packets=12, n_bytes=984, idle_timeout=10, send_flow_rem "
    "priority=100,udp,metadata=0x1234567800000009,in_port=1,nw_src=10.0.0.1,nw_dst=10.0.0.100,tp_src=40000,tp_dst=7000 "
    "actions=meter:2,set_queue:3,goto_table:4"
)


def test_a_pin() -> None:
    entry = read_entry(PIN)
    assert (entry.table, entry.cookie, entry.packets) == (2, 0xF10A300100000007, 12)
    assert entry.match["nw_src"] == "10.0.0.1"
    assert entry.match["udp"] == ""
    assert (entry.queue, entry.meter) == (3, 2)


def test_an_entry_without_match_table_or_queue() -> None:
    entry = read_entry("cookie=0x0, duration=1s, n_packets=0, n_bytes=0, priority=0 actions=drop")
    assert entry.match == {"priority": "0"}
    assert (entry.table, entry.cookie, entry.queue, entry.meter, entry.actions) == (0, 0, None, None, "drop")
