"""Where anybody's instructions lead, by the bytes that a real switch reports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lab.inside.private_ovs import PrivateOvs
from support.openflow.client import Client, controlled

from flowlane.southbound.openflow.session import arrangement, requests
from flowlane.southbound.openflow.wire import instructions
from flowlane.southbound.openflow.wire.instructions import Leads

ACTIONS = {
    "goto_table:9": Leads(frozenset({9})),
    "resubmit(,7),resubmit(1,8)": Leads(frozenset({7, 8})),
    "ct(commit,table=12,zone=3)": Leads(frozenset({12})),
    "ct(commit,zone=3),NORMAL": Leads(),
    "learn(table=31,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[]),NORMAL": Leads(
        frozenset({31})
    ),
    "clone(resubmit(,40)),output:1": Leads(frozenset({40})),
    "controller(max_len=64)": Leads(copies=True),
    "controller(max_len=64,userdata=01)": Leads(copies=True),
    "group:5": Leads(groups=frozenset({5})),
    "meter:3,output:2": Leads(meters=frozenset({3})),
    "set_queue:2,output:2": Leads(),
    "drop": Leads(),
}


@pytest.fixture
def client(ovs: PrivateOvs, version: str) -> Iterator[Client]:
    with controlled(ovs, "br0", version, ("p1", "p2")) as connected:
        yield connected


@pytest.mark.ovs
def test_where_entries_of_others_lead(ovs: PrivateOvs, client: Client, version: str) -> None:
    ovs.ofctl("add-group", "br0", "group_id=5,type=all,bucket=output:1", version=version)
    ovs.ofctl("add-meter", "br0", "meter=3,kbps,band=type=drop,rate=1000", version=version)
    for number, actions in enumerate(ACTIONS):
        ovs.ofctl("add-flow", "br0", f"table=1,priority={number},ip,actions={actions}", version=version)
    parts = client.request(requests.flows_request(client.datapath))
    found = {entry.priority: entry for entry in arrangement.foreign_entries(parts)}
    assert [found[number].leads for number in range(len(ACTIONS))] == list(ACTIONS.values())
    assert {(entry.table_id, entry.match.hex()) for entry in found.values()} == {(1, "80000a020800")}
    for part in parts:
        del part.buf
    by_objects = {entry.priority: entry for entry in arrangement.foreign_entries(parts)}
    differing = {list(ACTIONS)[number] for number in found if by_objects[number] != found[number]}
    assert differing == {"clone(resubmit(,40)),output:1", "controller(max_len=64,userdata=01)"}, (
        "os-ken does not parse these, and no switch but Open vSwitch has them"
    )


@given(st.binary(max_size=80))
def test_no_bytes_raise(data: bytes) -> None:
    instructions.leads(data)
