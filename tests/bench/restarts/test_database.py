"""Restarts of ovsdb-server in short: what is compared, and that the ways differ in what they are to differ in."""

from __future__ import annotations

import json
import time

import pytest
from bench.restarts import database
from bench.restarts.database import BY_FLOW, FLOWLANE, NORMAL, WAYS, Restart
from bench.restarts.scene import VMS, loaded

pytestmark = pytest.mark.ovs


@pytest.mark.parametrize("way", [NORMAL, BY_FLOW])
def test_each_new_flow_is_an_upcall_only_where_its_ports_are_looked_at(way: str) -> None:
    with database.prepared(way, realtime=False) as ovs:
        with loaded(0.02, VMS / 200) as load:
            time.sleep(2.0)
            entries = len(ovs.appctl("dpctl/dump-flows").splitlines())
        lost = load.stop()
    assert (entries > 100) is (way == BY_FLOW)
    assert load.sent > 1000
    assert lost == len(load.lost_at()) < load.sent / 10


def test_all_ways_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert database.main(["--rounds", "1", "--restarts", "1", "--settle", "1.5"]) == 0
    *restarts, means = map(json.loads, capsys.readouterr().out.splitlines())
    assert [restart["way"] for restart in restarts] == list(means) == list(WAYS)
    for restart in restarts:
        assert 0 <= restart["lost_after"] <= restart["lost"] < restart["sent"]
        assert means[restart["way"]]["lost"] == restart["lost"]


def test_one_restart_that_takes_long_says_little_about_a_way() -> None:
    assert database.spread([1500, 1510, 1520, 1530, 35_000]) == (1520, 10)


@pytest.mark.parametrize(("ours", "code"), [(1700, 0), (1800, 1)])
def test_more_than_under_normal_with_an_upcall_for_each_flow_is_a_failure(
    ours: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = {NORMAL: 100, BY_FLOW: 1600, FLOWLANE: ours}
    monkeypatch.setattr(database, "run", lambda way, _given: [Restart(40_000, losses[way], 0, 1.1)])
    assert database.main(["--rounds", "3", "--require"]) == code
    assert json.loads(capsys.readouterr().out)[FLOWLANE]["lost"] == ours
