"""``queues-by``, ``marks``, ``keep-marks`` and ``passive-switches``: read, or refused with the line and a remedy."""

from __future__ import annotations

import pytest

from flowlane.core.model import Queue
from flowlane.core.policy import Behind, PassivePort, QueuesBy
from flowlane.errors import PolicyError
from flowlane.policy import loader as policies

SWITCH = (
    "name: tor, queues-by: dscp, ports: [{name: up, queues: {0: {}, 1: {}}}], behind: [{device: br, port: p}]"
)

RATES = "rate: 10Gbit/s, queues: {1: {min-rate: 1Mbit/s, max-rate: 2Gbit/s}}"


def device(entry: str) -> str:
    return f"version: 1\ndevices:\n  - {{{entry}}}\n"


def switch(entry: str) -> str:
    return f"version: 1\npassive-switches:\n  - {{{entry}}}\n"


def test_marks_are_numbers_names_and_ranges_in_their_order() -> None:
    text = device("queues-by: dscp, marks: {cs1: 1, 0: 0, 18-20: 2, ef: 2}, keep-marks: [af11, 63]")
    (entry,) = policies.load(text).devices
    assert entry.queues_by is QueuesBy.DSCP
    assert entry.marks == ((8, 1), (0, 0), (18, 2), (19, 2), (20, 2), (46, 2))
    assert entry.keep_marks == (10, 63)


def test_a_passive_switch_has_its_rates_and_what_it_is_behind() -> None:
    text = SWITCH.replace(
        "queues: {0: {}, 1: {}}", "rate: 10Gbit/s, queues: {1: {min-rate: 1Mbit/s, max-rate: 2Gbit/s}}"
    )
    more = ", ports: [{name: other, queues: {0: {}}}, {"
    text = text.replace(", ports: [{", more).replace("port: p}", "port: p, leaves-by: up}")
    (made,) = policies.load(switch(text)).passive_switches
    first, second = made.ports
    assert first == PassivePort("other", (Queue(0),))
    assert second == PassivePort(
        "up", (Queue(1, min_rate=1_000_000, max_rate=2_000_000_000),), 10_000_000_000
    )
    assert made.behind == (Behind("br", "p", 1),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (device("marks: {0: 0}"), "marks without a queues-by of marks (add queues-by: dscp"),
        (device("queues-by: set-queue, keep-marks: ef"), "keep-marks without a queues-by of marks"),
        (device("queues-by: dscp, marks: {64: 0}"), "64 is not a DSCP"),
        (device("queues-by: pcp, marks: {ef: 0}"), "'ef' is not a PCP"),
        (device("queues-by: dscp, marks: {8-10: 0, af11: 1}"), "af11 overlaps with another key: both contain 10"),
        (device("queues-by: dscp, keep-marks: 0"), "0 means that a packet is not marked"),
        (device("queues-by: tos"), "devices[0].queues-by"),
        (switch(SWITCH.replace("0: {}", "9: {}")), "no DSCP is mapped to queue 9 (add one for each to marks)"),
        (switch(SWITCH.replace("port: p}", "port: p, leaves-by: upp}")), "no port 'upp' (did you mean up?)"),
        (switch(SWITCH.replace("1: {}", "1: {min-rate: 2Mbit/s, max-rate: 1Mbit/s}")), "is more than max-rate"),
        (switch(SWITCH.replace("[{name: up", "[{name: up, queues: {1: {}}}, {name: up")), "'up' is the name of"),
        (switch(SWITCH) + f"  - {{{SWITCH}}}\n", "'tor' is the name of another entry (see line 3)"),
        (f"version: 1\npassive-switches: [{{{SWITCH}}}, {{{SWITCH}}}]\n", "name of another entry (see line 2)"),
        (switch("name: tor, queues-by: set-queue, ports: [], behind: []"), "passive-switches[0].queues-by"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_a_remedy(text: str, message: str) -> None:
    with pytest.raises(PolicyError) as refused:
        policies.load(text)
    assert message in str(refused.value)
