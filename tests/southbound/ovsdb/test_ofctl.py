from __future__ import annotations

from typing import TYPE_CHECKING

import openvswitch
import pytest

from flowlane.southbound.ovsdb.ofctl import parse_queues, reported_queues

if TYPE_CHECKING:
    from pathlib import Path


def test_answers_of_all_versions_are_read() -> None:
    assert parse_queues("OFPT_QUEUE_GET_CONFIG_REPLY (OF1.3) (xid=0x2): port=1\nqueue 0:\nqueue 12:\n") == (
        0,
        12,
    )
    assert parse_queues("OFPST_QUEUE_DESC reply (OF1.5) (xid=0x2): port=2\nqueue 1:\n  min_rate:1%\n") == (1,)
    assert parse_queues("") == ()


@pytest.mark.mininet
def test_a_real_switch_reports_what_its_rows_say() -> None:
    with openvswitch.running(system=True) as switch:
        switch.add_bridge("br0", ("fl-a", "fl-b"))
        switch.set_queues("fl-a", {0: {}, 3: {}})
        assert reported_queues("br0", "fl-a", switch.directory, ("OpenFlow13",)) == (0, 3)
        assert reported_queues("br0", "fl-a", switch.directory, ("OpenFlow15",)) == (0, 3)
        assert reported_queues("br0", "fl-a", switch.directory) == (0, 3)
        assert reported_queues("br0", "fl-b", switch.directory) == ()
        assert reported_queues("br0", "fl-c", switch.directory) is None


def test_a_bridge_that_is_not_there_is_mute(tmp_path: Path) -> None:
    assert reported_queues("br0", "p1", tmp_path) is None
