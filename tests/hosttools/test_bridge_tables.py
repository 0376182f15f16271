"""Whose flows, groups and meters are, from texts of ovs-ofctl."""

from __future__ import annotations

import pytest

from flowlane.hosttools.bridge_settings import BridgeSettings
from flowlane.hosttools.bridge_tables import (
    Owned,
    Tables,
    default_of,
    delete_ours,
    is_default,
    is_ours,
    kept_from,
    meter_lines,
    owned,
    restore,
    table_of,
    young_meters,
)

BRIDGE = BridgeSettings("br0", "1", "", "", (), (), {})
OLD = BRIDGE._replace(protocols=("OpenFlow13",))
METERS = """OFPST_METER_CONFIG reply (OF1.5) (xid=0x2):
meter=5 kbps burst stats bands=
type=drop rate=50 burst_size=9
type=dscp_remark rate=7 prec_level=1

meter=controller pktps burst stats bands=
type=drop rate=1000 burst_size=250
"""
OURS = "cookie=0xf10a300000000001, table=4, priority=1000,udp actions=meter:5,group:7"


@pytest.mark.parametrize(
    ("flow", "ours", "table", "default"),
    [
        ("priority=0 actions=NORMAL", False, 0, True),
        ("cookie=0x7, priority=0 actions=NORMAL", False, 0, True),
        ("table=1, priority=0 actions=NORMAL", False, 1, False),
        ("priority=0,ip actions=NORMAL", False, 0, False),
        ("cookie=0xf10a100000000000, priority=0 actions=NORMAL", True, 0, True),
        ("priority=9 actions=learn(table=9,cookie=0xf10a400000000000)", False, 0, False),
        (OURS, True, 4, False),
        ("cookie=0x7, idle_timeout=5, priority=0 actions=NORMAL", False, 0, False),
        (
            "cookie=0x7, duration=1.2s, table=0, n_packets=3, n_bytes=9, priority=0 actions=NORMAL",
            False,
            0,
            True,
        ),
    ],
)
def test_a_flow(flow: str, ours: bool, table: int, default: bool) -> None:
    assert (is_ours(flow), table_of(flow), is_default(flow)) == (ours, table, default)
    assert default_of([flow]) == (flow if default else "")


def test_meters_in_the_form_in_which_they_are_added() -> None:
    assert meter_lines(METERS) == (
        "meter=5,kbps,burst,stats,bands=type=drop,rate=50,burst_size=9,type=dscp_remark,rate=7,prec_level=1",
        "meter=controller,pktps,burst,stats,bands=type=drop,rate=1000,burst_size=250",
    )


METER_LINES = ("meter=5,kbps", "meter=6,kbps", "meter=controller,pktps")


@pytest.mark.parametrize(
    ("flows", "groups", "known", "alone", "mine"),
    [
        ((OURS,), ("group_id=7,type=all,bucket=output:1",), None, True, Owned(("7",), ("5", "controller"))),
        ((OURS,), ("group_id=7,type=all,bucket=output:1",), None, False, Owned(("7",), ("5",))),
        ((OURS,), (), (), True, Owned((), ("5", "controller"))),
        ((OURS,), (), ("6", "controller"), True, Owned((), ("5",))),
        ((OURS, "actions=group:7"), ("group_id=7,bucket=output:1",), None, False, Owned((), ("5",))),
        ((OURS, "actions=group:9"), ("group_id=7,x", "group_id=9,bucket=group:7"), None, False, Owned((), ("5",))),
        ((OURS, "actions=meter:5,drop"), ("group_id=7,x",), None, False, Owned(("7",), ())),
        ((OURS,), ("group_id=7,x", "group_id=3,bucket=meter:5"), None, False, Owned(("7",), ())),
        ((OURS,), ("group_id=7,bucket=meter:6,group:3", "group_id=3,x"), None, False, Owned(("7", "3"), ("5", "6"))),
        (("actions=drop",), ("group_id=7,x",), None, True, Owned((), ())),
    ],
)  # fmt: skip
def test_only_what_nobody_else_uses_is_ours(
    flows: tuple[str, ...], groups: tuple[str, ...], known: tuple[str, ...] | None, alone: bool, mine: Owned
) -> None:
    assert owned(Tables(flows, groups, METER_LINES), known, alone=alone) == mine


STATS = """OFPST_METER reply (OF1.5) (xid=0x2):
meter:6 flow_count:0 packet_in_count:0 byte_in_count:0 duration:1.201s bands:
0: packet_count:0 byte_count:0

meter:7 flow_count:0 packet_in_count:0 byte_in_count:0 duration:10.5s bands:
0: packet_count:0 byte_count:0

meter:controller flow_count:0 packet_in_count:1 byte_in_count:9 duration:0.1s bands:
0: packet_count:0 byte_count:0
"""


def test_a_meter_that_nobody_uses_is_anothers_unless_it_may_be_that_of_a_flow_that_has_just_ended() -> None:
    assert young_meters(STATS) == ("6", "controller")
    form = "kbps,burst,stats,bands=type=drop,rate=50,burst_size=9"
    lines = (
        f"meter=6,{form}",
        f"meter=7,{form}",
        "meter=8,kbps,bands=type=drop,rate=50",
        f"meter=9,{form},x",
    )
    for known, mine in (((), ("6",)), (("6",), ()), (None, ())):
        assert owned(Tables((), (), lines, ("6", "8", "9")), known, alone=True) == Owned((), mine)


def test_all_is_deleted_in_one_bundle_where_there_are_bundles() -> None:
    tables = Tables((OURS,), ("group_id=7,x",), METER_LINES)
    bundle, meter = delete_ours(BRIDGE, tables, Owned(("7",), ("5",)), "priority=0 actions=NORMAL")
    assert bundle.text.splitlines() == [
        "flow add priority=0 actions=NORMAL",
        "flow delete cookie=0xf10a000000000000/0xffff000000000000",
        "group delete group_id=7",
    ]
    assert meter.command[-3:] == ("del-meter", "br0", "meter=5")
    words = [
        step.command[3] for step in delete_ours(OLD, tables, Owned(("7",), ()), "priority=0 actions=NORMAL")
    ]
    assert words == ["add-flow", "del-flows", "del-groups"], "forwarding first"
    assert delete_ours(BRIDGE, Tables(), Owned((), ())) == []


def test_the_others_are_put_back_in_an_order_in_which_all_exist_that_is_used() -> None:
    tables = Tables((OURS, "actions=meter:6,group:3"), ("group_id=7,x", "group_id=3,y"), METER_LINES)
    steps = restore(BRIDGE, tables, Owned(("7",), ("5", "controller")))
    assert [step.command[3] for step in steps] == ["add-meter", "bundle"]
    assert steps[0].command[-1] == "meter=6,kbps"
    assert steps[1].text == "group add group_id=3,y\nflow add actions=meter:6,group:3\n"
    words = [step.command[3] for step in restore(OLD, tables, Owned(("7",), ()))]
    assert words == ["add-meter", "add-meter", "add-meter", "add-groups", "add-flows"]
    assert restore(BRIDGE, Tables((OURS,)), Owned((), ())) == []


@pytest.mark.parametrize(
    ("flows", "kept"),
    [
        ([], []),
        (["priority=0 actions=NORMAL", "table=0, priority=10,in_port=1 actions=drop"], []),
        # As Neutron's agent has them: there is no room for six priorities between 0 and 2.
        (
            [
                "priority=0 actions=NORMAL",
                "priority=2,in_port=2 actions=drop",
                "priority=4,in_port=2,dl_vlan=1 actions=strip_vlan,NORMAL",
            ],
            ["priority=2,in_port=2 actions=drop", "priority=4,in_port=2,dl_vlan=1 actions=strip_vlan,NORMAL"],
        ),
        (["table=7, priority=2,in_port=2 actions=drop"], []),
        (["cookie=0xf10a000000000001, priority=2,in_port=2 actions=drop"], []),
        # The default priority, 32768, is not written.
        (["in_port=2 actions=drop", "priority=32770 actions=NORMAL"], []),
    ],
)
def test_entries_that_no_packet_would_meet(flows: list[str], kept: list[str]) -> None:
    assert kept_from(Tables(tuple(flows))) == kept
