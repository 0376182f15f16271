"""The file with what devices do not have of their flows: read again, torn, too long, on a full disk, for many."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest
from support.engine.scenario import DPID, Scenario

from flowlane import flow_keeper, hub, state_files
from flowlane.core.flow.kept import KeptFlow
from flowlane.flow_keeper import FILE_NAME, SLICE, FlowKeeper, pack_file, pack_flow, read_file

FLOW = KeptFlow(3, 4, 46, 5, 9, 90.0, 1.5e6, 50.0, 60.0)
KEY = b"a key of forty bytes or so"


def file_of(**changes: object) -> bytes:
    flow = FLOW._replace(**changes)  # type: ignore[arg-type]
    return pack_file({7: (1, [pack_flow(KEY, flow, 100.0)])}, "a policy", 1000.0)


def test_a_file_has_what_was_put_into_it() -> None:
    """Four seconds have passed, and the engine's clock began anew."""
    assert read_file(file_of(), "a policy", 10.0, 1004.0) == {
        7: {KEY: FLOW._replace(gate_since=-4.0, first_seen=-44.0, since=-34.0)}
    }
    never = read_file(file_of(gate_since=0.0), "a policy", 10.0, 1004.0)[7][KEY]
    assert never.gate_since == 0.0


def test_gates_are_those_of_their_policy() -> None:
    found = read_file(file_of(), "another", 100.0, 1000.0)[7][KEY]
    assert (found.gate_state, found.gate_since, found.reason) == (0, 0.0, FLOW.reason)


@pytest.mark.parametrize(
    "damage",
    [lambda data: data[:-1], lambda data: data[:9], lambda _data: b"", lambda data: b"x" + data[1:]],
)
def test_a_torn_file_is_refused(damage: object) -> None:
    with pytest.raises(ValueError, match="it is"):
        read_file(damage(file_of()), "a policy", 100.0, 1000.0)  # type: ignore[operator]


def test_a_clock_that_was_set_back_and_a_reason_that_is_none() -> None:
    assert read_file(file_of(), "a policy", 100.0, 0.0)[7][KEY] == FLOW
    assert read_file(file_of(reason=250), "a policy", 100.0, 1000.0) == {7: {}}


class Keeping:
    """An engine with some flows, and a keeper of them."""

    def __init__(self, directory: Path, flows: int = 0) -> None:
        self.host = Scenario(queues=4)
        for number in range(flows):
            self.host.flow(1, 1000 + number)
        self.keeper = FlowKeeper(directory, self.host.engine.state, lambda: self.host.now)


def test_flows_are_kept_over_a_restart(tmp_path: Path) -> None:
    first = Keeping(tmp_path, flows=SLICE + 3)
    first.keeper.look()
    flows = first.host.device.flows
    again = Keeping(tmp_path)
    again.keeper.start()
    again.keeper.stop()
    kept = again.host.engine.state.kept[DPID]
    assert {key: flow.queue_id for key, flow in kept.items()} == {
        key: flows.queue_id[row] for key, row in flows.rows.items()
    }
    third = Keeping(tmp_path)
    third.keeper._read()
    assert third.host.engine.state.kept[DPID].keys() == kept.keys(), "they are in the file until adopted"
    third.host.now += flow_keeper.KEPT_FOR + 1
    third.keeper.look()
    assert third.host.engine.state.kept == {}


def test_the_file_is_written_when_places_have_changed(tmp_path: Path) -> None:
    keeping = Keeping(tmp_path, flows=3)
    keeping.keeper.look()
    file = tmp_path / FILE_NAME
    first = file.stat().st_ino
    keeping.keeper.look()
    assert file.stat().st_ino == first
    keeping.host.flow(1, 2000)
    keeping.keeper.look()
    second = file.stat().st_ino
    assert second != first
    keeping.host.now += flow_keeper.AT_LEAST
    keeping.keeper.look()
    assert file.stat().st_ino != second, "rates change all the time"


def test_a_full_disk_a_torn_file_and_one_that_is_too_long_cost_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_path: Path, _data: bytes, *, durable: bool) -> None:
        assert not durable
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(state_files, "replace", full)
        Keeping(tmp_path, flows=1).keeper.look()
    assert "No space left on device" in caplog.text
    (tmp_path / FILE_NAME).write_bytes(b"torn")
    Keeping(tmp_path).keeper._read()
    assert "is ignored: it is" in caplog.text
    monkeypatch.setattr(flow_keeper, "MOST_BYTES", 3)
    Keeping(tmp_path).keeper._read()
    assert "longer than 3 bytes" in caplog.text


def test_no_more_flows_are_kept_than_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_keeper, "MOST_FLOWS", 5)
    Keeping(tmp_path, flows=9).keeper.look()
    again = Keeping(tmp_path)
    again.keeper._read()
    assert len(again.host.engine.state.kept[DPID]) == 5


def test_others_are_served_while_flows_are_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each slice, which takes less than 20 ms of processor time by far."""
    turns: list[float] = []
    monkeypatch.setattr(hub, "give_way", lambda: turns.append(time.thread_time()))
    Keeping(tmp_path, flows=10 * SLICE).keeper.look()
    assert len(turns) == 10
    assert min(b - a for a, b in pairwise(turns)) < 0.02
