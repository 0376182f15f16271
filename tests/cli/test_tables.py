from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from flowlane.cli import list_command, lists
from flowlane.cli.client import Answer
from flowlane.cli.tables import Column, age, flow_text, table, text

COLUMNS = (
    Column("NAME", lambda item: item["name"]),
    Column("DETAIL", lambda item: item["detail"], 3),
    Column("COUNT", lambda item: str(item["count"]), 2, right=True),
)
ITEMS = [{"name": "a" * 10, "detail": "[bold]d" * 3, "count": 1}, {"name": "b", "detail": "", "count": 1000}]


def shown(width: int, items: Sequence[Mapping[str, Any]] = ITEMS) -> list[str]:
    console = Console(width=width, markup=True, color_system=None)
    with console.capture() as capture:
        console.print(table(COLUMNS, items, width))
    return capture.get().splitlines()


@pytest.mark.parametrize(
    ("width", "heads"),
    [
        (100, ["NAME", "DETAIL", "COUNT"]),
        (40, ["NAME", "DETAIL", "COUNT"]),
        (39, ["NAME", "COUNT"]),
        (17, ["NAME", "COUNT"]),
        (16, ["NAME"]),
        (5, ["NAME"]),
    ],
)
def test_the_least_important_columns_go_first(width: int, heads: list[str]) -> None:
    lines = shown(width)
    assert lines[0].split() == heads
    assert len(lines) == len(ITEMS) + 1
    assert all(len(line) <= width for line in lines)


def test_names_are_not_taken_for_markup() -> None:
    assert "[bold]d" in shown(100)[1]


def test_nothing_to_show() -> None:
    assert shown(100, []) == ["none"]


@pytest.mark.parametrize(
    ("ago", "expected"),
    [(0, "0s"), (59, "59s"), (61, "1m01s"), (3600, "1h00m"), (90_000, "1d01h"), (-5, "0s")],
)
def test_ages(ago: int, expected: str) -> None:
    assert age((datetime.now(UTC) - timedelta(seconds=ago, milliseconds=10)).isoformat()) == expected


def test_no_values() -> None:
    assert (age(None), text(None), text(""), text(0)) == ("-", "-", "-", "0")


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (("tcp", "10.0.0.1", 1, "10.0.0.2", 2, None), "tcp 10.0.0.1:1 > 10.0.0.2:2"),
        (("udp", "::1", 1, "::2", 2, 5), "udp [::1]:1 > [::2]:2 vlan 5"),
        (("icmp", "10.0.0.1", 8, "10.0.0.2", 0, None), "icmp 10.0.0.1 > 10.0.0.2 type 8"),
        (("47", "10.0.0.1", None, "10.0.0.2", None, None), "47 10.0.0.1 > 10.0.0.2"),
        (("0x88f7", "02:00:00:00:00:01", None, "02:00:00:00:00:02", None, 0),
         "0x88f7 02:00:00:00:00:01 > 02:00:00:00:00:02 vlan 0"),
    ],
)  # fmt: skip
def test_flows_in_words(item: tuple[str | int | None, ...], expected: str) -> None:
    assert (
        flow_text(dict(zip(("protocol", "src", "src_port", "dst", "dst_port", "vlan"), item, strict=True)))
        == expected
    )


def test_conflicts_and_what_makes_a_device_unusable_stand_beneath_the_table() -> None:
    """The table has no room for their texts."""
    device = Answer(
        name="br0", unusable="it has 3 flow tables", conflicts=["entry table=0,priority=2 is not met"]
    )
    assert list_command._notes(device) == [
        "br0: unusable: it has 3 flow tables",
        "br0: entry table=0,priority=2 is not met",
    ]
    assert list_command._notes(Answer(name="br0", unusable=None, conflicts=[])) == []
    assert list_command._notes(Answer(port_no=1)) == [], "other lists have none"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1, "dpid of 1 switch, 1 conflict, 1 VM in conflict, 1 role guessed"),
        (2, "dpid of 2 switches, 2 conflicts, 2 VMs in conflict, 2 roles guessed"),
    ],
)
def test_one_problem_of_a_kind_is_singular(number: int, expected: str) -> None:
    several = ["it"] * number
    device = Answer(
        unusable=None,
        dpid_shared_by=several,
        refusals={},
        left_out=[],
        conflicts=several,
        vms_in_conflict=several,
        ambiguous=[{"ports": several}],
    )
    assert lists._problems(device) == expected
