"""The flows, groups and meters of a bridge, in the words of ovs-ofctl: whose they are, and how to put them back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from flowlane.hosttools.bridge_settings import VERSIONS, Step
from flowlane.southbound.openflow.tables import foreign
from flowlane.southbound.openflow.wire.cookies import OWNER, OWNER_MASK

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flowlane.hosttools.bridge_settings import BridgeSettings, Tools

OUR_COOKIES = f"cookie={OWNER << 48:#x}/{OWNER_MASK:#x}"
"""All entries of Flowlane's, as a match of ``ovs-ofctl del-flows``."""

CONTROLLER_METER = "controller"
DEFAULT_FLOW = "priority=0 actions=NORMAL"
"""The entry that Open vSwitch makes itself on a bridge without primary controller, in fail mode standalone."""

_NO_MATCH = frozenset((
    *("cookie", "duration", "table", "n_packets", "n_bytes", "idle_age", "hard_age", "idle_timeout", "hard_timeout"),
    *("importance", "send_flow_rem", "check_overlap", "reset_counts", "no_packet_counts", "no_byte_counts"),
))  # fmt: skip
"""What dump-flows prints before the match, separated by ", " or a space."""
_GROUP = re.compile(r"\bgroup:(\d+)")
_METER = re.compile(r"\bmeter:(\d+|controller)")
_GROUP_ID = re.compile(r"\bgroup_id=(\d+)")
_METER_ID = re.compile(r"\bmeter=(\w+)")
_METER_AGE = re.compile(r"\bmeter:(\w+) .*\bduration:([\d.]+)s")
_OUR_FORM = re.compile(r"meter=\d+,kbps,burst,stats,bands=type=drop,rate=\d+,burst_size=\d+")
"""How Flowlane makes a meter that holds a limit."""

MARKED_AFTER_S = 10.0
"""Seconds after which a meter of Flowlane's has an entry that uses it: those of single flows get one after 1 to 2 s."""


class Tables(NamedTuple):
    """What stands in a bridge: one line for each flow, group and meter, as ``ovs-ofctl`` reads it.

    ``young`` are the ids of the meters that were made less than ``MARKED_AFTER_S`` ago.
    """

    flows: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    meters: tuple[str, ...] = ()
    young: tuple[str, ...] = ()

    @property
    def ours(self) -> tuple[str, ...]:
        """The flows that Flowlane has made, by their cookies."""
        return tuple(flow for flow in self.flows if is_ours(flow))

    @property
    def others(self) -> tuple[str, ...]:
        """All other flows."""
        return tuple(flow for flow in self.flows if not is_ours(flow))


class Owned(NamedTuple):
    """Ids of the groups and meters that only Flowlane uses."""

    groups: tuple[str, ...]
    meters: tuple[str, ...]


class DumpedFlow(NamedTuple):
    """A line of dump-flows; a word of ``match`` without a value (``udp``) has the value "".

    The priority is in ``match``; ``settings`` has the timeouts and flags.
    """

    table: int
    cookie: int
    packets: int
    match: dict[str, str]
    settings: dict[str, str]
    actions: str


def read_flow(line: str) -> DumpedFlow:
    """Read a line of dump-flows, which leaves out what is zero: table, cookie, priority 32768."""
    head, _, actions = line.partition("actions=")
    words = dict(word.partition("=")[::2] for word in re.split(r"[ ,]+", head) if word)
    before = {name: words.pop(name) for name in [*words] if name in _NO_MATCH}
    numbers = [int(before.pop(name, "0"), 0) for name in ("table", "cookie", "n_packets")]
    return DumpedFlow(numbers[0], numbers[1], numbers[2], words, before, actions)


def is_ours(flow: str) -> bool:
    """Return whether a line of dump-flows is of an entry with Flowlane's cookie."""
    return read_flow(flow).cookie >> 48 == OWNER


def table_of(flow: str) -> int:
    """Return the table of a line of dump-flows."""
    return read_flow(flow).table


def is_default(flow: str) -> bool:
    """Return whether an entry matches every packet of table 0 with the lowest priority, and stays."""
    read = read_flow(flow)
    stays = not read.settings.keys() & {"idle_timeout", "hard_timeout"}
    return read.table == 0 and read.match == {"priority": "0"} and stays


def default_of(flows: Iterable[str]) -> str:
    """Return the entry of table 0 for packets that no other entry matches; empty when there is none."""
    return next((flow for flow in flows if is_default(flow)), "")


def kept_from(tables: Tables) -> list[str]:
    """Return the entries of others in table 0 that no packet would meet any more, for want of priorities below theirs.

    Flowlane's are above entries that match every packet, and below all others where there is room
    (:func:`flowlane.southbound.openflow.tables.foreign.base_for`).
    """
    flows = [read_flow(line) for line in tables.others]
    there = [
        foreign.ForeignEntry(
            0, int(flow.match.get("priority", "32768")), b"" if flow.match.keys() <= {"priority"} else b"x"
        )
        for flow in flows
        if flow.table == 0
    ]
    base = foreign.base_for(there)
    floor = max((entry.priority for entry in there if entry.matches_all), default=-1)
    lines = [line for line, flow in zip(tables.others, flows, strict=True) if flow.table == 0]
    return [
        line
        for line, entry in zip(lines, there, strict=True)
        if floor < entry.priority < base and not entry.matches_all
    ]


def group_ids(groups: Iterable[str]) -> tuple[str, ...]:
    """Return the ids of groups."""
    return tuple(found[1] for group in groups if (found := _GROUP_ID.search(group)))


def meter_ids(meters: Iterable[str]) -> tuple[str, ...]:
    """Return the ids of meters; that of the controller meter is the word ``controller``."""
    return tuple(found[1] for meter in meters if (found := _METER_ID.search(meter)))


def owned(tables: Tables, known: tuple[str, ...] | None, *, alone: bool) -> Owned:
    """Find the groups and meters that are Flowlane's: its entries use them.

    A meter that nobody uses is another's, unless Flowlane may have made it a moment ago for a flow that has ended.

    Args:
        known: ids of the meters that were there before Flowlane; None where that is not known.
        alone: whether no other controller is left, to which the controller meter could belong.
    """
    by_id = dict(zip(group_ids(tables.groups), tables.groups, strict=True))
    foreign = _reached(tables.others, by_id)
    ours = [number for number in _reached(tables.ours, by_id) if number not in foreign]
    foreign_meters = _meters([*tables.others, *(by_id[number] for number in by_id if number not in ours)])
    our_meters = _meters([*tables.ours, *(by_id[number] for number in ours)])
    meters = []
    for number, line in zip(meter_ids(tables.meters), tables.meters, strict=True):
        new = known is not None and number not in known
        if number == CONTROLLER_METER:
            is_mine = new or (known is None and alone and bool(tables.ours))
        else:
            unmarked = new and number in tables.young and bool(_OUR_FORM.fullmatch(line))
            is_mine = number not in foreign_meters and (number in our_meters or unmarked)
        if is_mine:
            meters.append(number)
    return Owned(tuple(number for number in by_id if number in ours), tuple(meters))


def _reached(flows: Iterable[str], groups: dict[str, str]) -> set[str]:
    """Return the ids of the groups that flows use, and that those groups use."""
    reached: set[str] = set()
    ahead = {number for flow in flows for number in _GROUP.findall(flow)}
    while ahead:
        number = ahead.pop()
        if number in groups and number not in reached:
            reached.add(number)
            ahead.update(_GROUP.findall(groups[number]))
    return reached


def _meters(lines: Iterable[str]) -> set[str]:
    return {number for line in lines for number in _METER.findall(line)}


# ---- reading and writing by ovs-ofctl


def read_tables(tools: Tools, bridge: BridgeSettings) -> Tables:
    """Read what stands in a bridge, over its management socket."""
    flows = tools.read("ovs-ofctl", "-O", bridge.version, *_PLAIN, "dump-flows", bridge.name)
    if bridge.version not in VERSIONS:
        return Tables(flow_lines(flows))
    groups = tools.read("ovs-ofctl", "-O", bridge.version, "--no-names", "dump-groups", bridge.name)
    meters = tools.read("ovs-ofctl", "-O", bridge.version, "dump-meters", bridge.name)
    ages = tools.read("ovs-ofctl", "-O", bridge.version, "meter-stats", bridge.name)
    return Tables(flow_lines(flows), group_lines(groups), meter_lines(meters), young_meters(ages))


_PLAIN = ("--no-names", "--no-stats")


def flow_lines(text: str) -> tuple[str, ...]:
    """Read the output of ``ovs-ofctl --no-stats dump-flows``."""
    return tuple(line.strip() for line in text.splitlines() if "actions=" in line)


def group_lines(text: str) -> tuple[str, ...]:
    """Read the output of ``ovs-ofctl dump-groups``."""
    return tuple(line.strip() for line in text.splitlines() if "group_id=" in line)


def meter_lines(text: str) -> tuple[str, ...]:
    """Read the output of ``ovs-ofctl dump-meters``, which has a line for the meter and one for each of its bands."""
    meters: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("meter="):
            meters.append(line.split())
        elif line.startswith("type=") and meters:
            meters[-1] += line.split()
    return tuple(",".join(words).replace("bands=,", "bands=") for words in meters)


def young_meters(text: str) -> tuple[str, ...]:
    """Return the ids of the meters in the output of ``ovs-ofctl meter-stats`` that are not old enough to be in use."""
    return tuple(number for number, age in _METER_AGE.findall(text) if float(age) < MARKED_AFTER_S)


def delete_ours(bridge: BridgeSettings, tables: Tables, mine: Owned, default: str = "") -> list[Step]:
    """Delete Flowlane's flows, groups and meters in an order in which every packet is forwarded.

    Args:
        default: an entry that is added in the same moment; empty for none.
    """
    ofctl = ("ovs-ofctl", "-O", bridge.version)
    steps: list[Step] = []
    lines = [f"flow add {default}"] if default else []
    lines += [f"flow delete {OUR_COOKIES}"] if tables.ours else []
    lines += [f"group delete group_id={number}" for number in mine.groups]
    if lines and bridge.version >= "OpenFlow14":
        text = "".join(f"{line}\n" for line in lines)
        steps.append(
            Step(
                "delete Flowlane's entries and groups, all in one moment",
                (*ofctl, "bundle", bridge.name, "-"),
                text,
            )
        )
    elif lines:
        if default:
            steps.append(
                Step("forward what no entry matches", (*ofctl, "add-flow", bridge.name, "-"), f"{default}\n")
            )
        steps.append(Step("delete Flowlane's entries", (*ofctl, "del-flows", bridge.name, OUR_COOKIES)))
        steps += [
            Step("delete a group of Flowlane's", (*ofctl, "del-groups", bridge.name, f"group_id={number}"))
            for number in mine.groups
        ]
    steps += [
        Step("delete a meter of Flowlane's", (*ofctl, "del-meter", bridge.name, f"meter={number}"))
        for number in mine.meters
    ]
    return steps


def restore(bridge: BridgeSettings, tables: Tables, mine: Owned, default: str = "") -> list[Step]:
    """Put back what Open vSwitch has deleted of others: meters, then groups and flows in one moment."""
    ofctl = ("ovs-ofctl", "-O", bridge.version)
    meters = dict(zip(meter_ids(tables.meters), tables.meters, strict=True))
    steps = [
        Step("put a meter back", (*ofctl, "add-meter", bridge.name, line))
        for number, line in meters.items()
        if number not in mine.meters
    ]
    groups = [line for line in tables.groups if not set(group_ids([line])) & set(mine.groups)]
    flows = [*tables.others, *([default] if default else [])]
    if bridge.version >= "OpenFlow14":
        text = "".join(f"group add {line}\n" for line in groups) + "".join(
            f"flow add {line}\n" for line in flows
        )
        why = "put the others' groups and entries back, all in one moment"
        steps += [Step(why, (*ofctl, "bundle", bridge.name, "-"), text)] if text else []
        return steps
    if groups:
        text = "".join(f"{line}\n" for line in groups)
        steps.append(Step("put the others' groups back", (*ofctl, "add-groups", bridge.name, "-"), text))
    if flows:
        text = "".join(f"{line}\n" for line in flows)
        steps.append(Step("put the others' entries back", (*ofctl, "add-flows", bridge.name, "-"), text))
    return steps
