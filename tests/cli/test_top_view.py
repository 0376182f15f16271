"""What ``flowlane top`` draws."""

from __future__ import annotations

import pytest
from rich.console import Console
from support.engine.controller import HOSTILE

from flowlane.cli.client import Answer
from flowlane.cli.top_view import SORTS, Lane, Look, Snapshot, lane_lines, lanes_of, screen, tables

STATUS = Answer(
    version="0.1.0", started="2026-01-01T00:00:00Z", ready=True, vms=2, flows=30,
    devices={"known": 2, "connected": 1}, assignments={"physical": 20, "software": 6, "none": 4},
)  # fmt: skip


def queue(queue_id: int, load: float = 0.0, **changes: object) -> Answer:
    base = {
        "queue_id": queue_id,
        "port": "uplink",
        "port_no": 9,
        "kind": "physical",
        "load": load,
        "flows": 3,
    }
    more = {"max_rate": 100_000_000, "class": "small", "exclusive": False, "admission": "open"}
    return Answer({**base, **more, **changes})


def lane(number: int, *queues: Answer, capacity: int | None = 1_000_000_000) -> Lane:
    return Lane(f"br{number}", "uplink", capacity, queues or tuple(queue(n) for n in range(4)))


def flow(number: int) -> Answer:
    ends = {"protocol": "udp", "src": "10.0.0.1", "src_port": number, "dst": "10.0.0.2", "dst_port": 53}
    more = {"vlan": None, "vm_name": f"vm{HOSTILE}", "class": "small", "rate": 1e6, "limit": None}
    counts = {"bytes": 12_345, "packets": 7, "first_seen": None, "last_active": None}
    return Answer({**ends, **more, **counts, "assignments": [{"port": "uplink", "queue_id": 2}]})


def drawn(snapshot: Snapshot, look: Look, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, color_system=None)
    with console.capture() as capture:
        console.print(screen(snapshot, look, width, height))
    return [line.rstrip() for line in capture.get().splitlines()]


LOOK = Look("127.0.0.1:8080", "12:00:00")


@pytest.mark.parametrize(("width", "height"), [(100, 30), (60, 20), (40, 10), (200, 60), (80, 6), (20, 4)])
@pytest.mark.parametrize("lanes", [0, 1, 30])
def test_a_screen_is_never_larger_than_the_terminal(width: int, height: int, lanes: int) -> None:
    snapshot = Snapshot(STATUS, tuple(map(lane, range(lanes))), tuple(map(flow, range(100))))
    for look in (LOOK, LOOK._replace(problem="gone " * 50, compact=True, first_lane=3, paused=True)):
        lines = drawn(snapshot, look, width, height)
        assert len(lines) <= height
        assert all(len(line) <= width for line in lines)
        assert all(line.isprintable() for line in lines)


def test_queues_stand_side_by_side_with_their_load_over_their_capacity() -> None:
    queues = (
        queue(0, 95e6, exclusive=True, **{"class": "heavy"}),
        queue(1, 20e6, admission="draining"),
        queue(10, 5e6, kind="software", max_rate=None),
    )
    lines = [line.plain.rstrip() for line in lane_lines(lane(1, *queues), 100, compact=False)]
    assert lines[0] == "br1 uplink: 120Mbit/s of 1Gbit/s (12%), 9 flows"
    assert [word for word in lines[1].split() if word] == [
        "0",
        "heavy!",
        "3f",
        "1",
        "small",
        "draining",
        "3f",
    ]
    assert "95%" in lines[2]
    assert "20%" in lines[2]
    assert lines[3].split("  ")[0] == "95Mbit/s of 100Mbit/s"
    assert lines[4] == "software:"
    assert "5Mbit/s of 1Gbit/s" in lines[7], "the port's rate is what a queue without one can carry"


def test_what_is_not_known_has_no_percentage() -> None:
    (line,) = lane_lines(lane(1, queue(3, 1e6, max_rate=None), capacity=None), 80, compact=True)[1:]
    assert line.plain.split()[0] == "3"
    assert line.plain.rstrip().endswith("-")


def test_the_fullest_lanes_come_first_and_others_are_counted() -> None:
    queues = {str(n): [queue(0, n * 20e6)] for n in range(5)}
    devices = [
        Answer(dpid=str(n), name=f"br{n}", ports=[{"port_no": 9, "rate": 100_000_000}]) for n in range(5)
    ]
    lanes = lanes_of(devices, queues)
    assert [item.device for item in lanes] == ["br4", "br3", "br2", "br1", "br0"]
    lines = drawn(Snapshot(STATUS, lanes, ()), LOOK, 80, 16)
    assert "more lanes: down" in " ".join(lines)
    after = drawn(Snapshot(STATUS, lanes, ()), LOOK._replace(first_lane=3), 80, 16)
    assert any("br1 uplink" in line for line in after)
    assert not any("br4" in line for line in after)


def test_the_reason_for_stale_numbers_is_shown() -> None:
    snapshot = Snapshot(STATUS, (lane(1),), (flow(1),))
    lines = drawn(snapshot, LOOK._replace(problem="controller does not answer", sort=SORTS[1]), 100, 30)
    assert lines[2] == "controller does not answer"
    assert "FLOWS by bytes" in lines


def test_a_pipe_gets_tables() -> None:
    console = Console(width=300, color_system=None)
    with console.capture() as capture:
        console.print(tables(Snapshot(STATUS, (lane(1, queue(2, 50e6)),), (flow(5),)), LOOK, 300))
    text = capture.get()
    row = next(line.split() for line in text.splitlines() if line.startswith("br1"))
    assert row == ["br1", "uplink", "2", "physical", "small", "-", "3", "50Mbit/s", "100Mbit/s", "50%"]
    assert "udp 10.0.0.1:5 > 10.0.0.2:53" in text
    assert "12.3kB" in text
