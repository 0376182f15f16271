"""Plans of what ``flowlane attach`` and ``detach`` change of a bridge's row."""

from __future__ import annotations

import json

import pytest

from flowlane.errors import RequestError
from flowlane.hosttools.attachment import (
    DEFAULT_TARGET,
    KEY,
    Record,
    added_versions,
    attach_notes,
    check_target,
    find_attached,
    forget,
    missing_default,
    plan_attach,
    read_record,
)
from flowlane.hosttools.bridge_settings import BridgeSettings, ControllerSettings
from flowlane.hosttools.bridge_tables import DEFAULT_FLOW, Tables

MINE = ControllerSettings("u1", DEFAULT_TARGET, primary=False, connection_mode="out-of-band")
BY_HAND = MINE._replace(primary=True, connection_mode="")
OTHER = ControllerSettings("u2", "tcp:10.0.0.9:6653", primary=True)
PLAIN = BridgeSettings("br0", "1", "system", "", (), (), {})
RECORD = Record(DEFAULT_TARGET, ("OpenFlow10",), "", ("1",))
ATTACHED = PLAIN._replace(controllers=(MINE,), external_ids={KEY: RECORD.text()})
OURS = ("cookie=0xf10a100000000000, priority=0 actions=NORMAL",)


@pytest.mark.parametrize(
    "record", [RECORD, Record("tcp:h"), Record("tcp:h", (), "priority=0 actions=NORMAL", ())]
)
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    assert read_record({KEY: record.text()}) == record


@pytest.mark.parametrize("text", ["", "yes", "[]", "{}", '{"target": "t", "meters": 3}', "null"])
def test_what_is_no_record_is_none(text: str) -> None:
    assert read_record({KEY: text}) is None


def test_the_first_time_adds_a_service_controller_and_records_what_there_was() -> None:
    (step,) = plan_attach(PLAIN, Tables((DEFAULT_FLOW,), (), ("meter=4,kbps",)), DEFAULT_TARGET)
    words = step.command
    assert "type=service" in words and "connection_mode=out-of-band" in words
    assert not [word for word in words if word.startswith(("protocols", "fail_mode"))]
    stored = json.loads(
        next(word for word in words if word.startswith(f"external_ids:{KEY}=")).partition("=")[2]
    )
    assert read_record({KEY: stored}) == Record(DEFAULT_TARGET, None, DEFAULT_FLOW, ("4",))
    assert plan_attach(ATTACHED, Tables(), DEFAULT_TARGET) == []


def test_another_target_takes_the_place_of_the_first_and_the_record_stays() -> None:
    (step,) = plan_attach(ATTACHED, Tables(OURS), "tcp:10.0.0.1")
    assert step.command[1:6] == ("remove", "Bridge", "br0", "controller", "u1")
    stored = json.loads(next(word for word in step.command if KEY in word).partition("=")[2])
    assert read_record({KEY: stored}) == RECORD._replace(target="tcp:10.0.0.1")


@pytest.mark.parametrize(
    ("protocols", "controllers", "added"),
    [
        ((), (), ()),
        (("OpenFlow10",), (), ("OpenFlow13", "OpenFlow14", "OpenFlow15")),
        (("OpenFlow13",), (), ("OpenFlow14", "OpenFlow15")),
        (("OpenFlow13",), (OTHER,), ()),
        (("OpenFlow10",), (OTHER,), ("OpenFlow13", "OpenFlow14", "OpenFlow15")),
    ],
)
def test_versions_are_added_where_others_do_not_suffer(
    protocols: tuple[str, ...], controllers: tuple[ControllerSettings, ...], added: tuple[str, ...]
) -> None:
    assert added_versions(PLAIN._replace(protocols=protocols, controllers=controllers)) == added


@pytest.mark.parametrize(
    "target", ["tcp:127.0.0.1", "tcp:[::1]:6653", "ssl:host.example:6653", "unix:/run/x.sock"]
)
def test_a_target(target: str) -> None:
    assert check_target(target) == target


@pytest.mark.parametrize("target", ["", "127.0.0.1", "ptcp:6653", "tcp:", 'tcp:"x"', "tcp:a b", "tcp:h:x"])
def test_no_target(target: str) -> None:
    with pytest.raises(RequestError, match="tcp:HOST"):
        check_target(target)


@pytest.mark.parametrize(
    ("bridge", "entries", "targets", "uuids", "deletes_all", "alone"),
    [
        (ATTACHED, True, (), ["u1"], False, True),
        (ATTACHED._replace(controllers=(MINE, OTHER)), True, (), ["u1"], False, False),
        (PLAIN._replace(controllers=(BY_HAND,)), True, (), ["u1"], True, True),
        (PLAIN._replace(controllers=(BY_HAND,)), False, (), [], False, False),
        (PLAIN._replace(controllers=(BY_HAND, OTHER)), True, (DEFAULT_TARGET,), ["u1"], False, False),
        (PLAIN, True, (), [], False, True),
        (PLAIN, False, (DEFAULT_TARGET,), [], False, True),
    ],
)
def test_flowlanes_controllers_are_found(
    bridge: BridgeSettings,
    entries: bool,
    targets: tuple[str, ...],
    uuids: list[str],
    deletes_all: bool,
    alone: bool,
) -> None:
    found = find_attached(bridge, entries, targets)
    assert [entry.uuid for entry in found.controllers] == uuids
    assert (found.deletes_all, found.alone) == (deletes_all, alone)


def test_which_of_several_is_never_guessed() -> None:
    both = PLAIN._replace(controllers=(BY_HAND, OTHER))
    with pytest.raises(RequestError, match="--controller, one of tcp:127"):
        find_attached(both, True)
    with pytest.raises(RequestError, match="has no controller tcp:x"):
        find_attached(both, True, ("tcp:x",))


@pytest.mark.parametrize(
    ("bridge", "flows", "default"),
    [
        (ATTACHED, OURS, ""),
        (ATTACHED, (*OURS, DEFAULT_FLOW), ""),
        (PLAIN, OURS, DEFAULT_FLOW),
        (PLAIN._replace(fail_mode="secure"), OURS, DEFAULT_FLOW),
        (PLAIN._replace(fail_mode="secure"), (*OURS, "priority=1,ip actions=NORMAL"), ""),
        (PLAIN._replace(fail_mode="secure", controllers=(OTHER,)), OURS, ""),
        (
            ATTACHED._replace(external_ids={KEY: RECORD._replace(default="priority=0 actions=drop").text()}),
            OURS,
            "priority=0 actions=drop",
        ),
    ],
)
def test_an_entry_for_the_rest_comes_back_where_there_was_one(
    bridge: BridgeSettings, flows: tuple[str, ...], default: str
) -> None:
    assert missing_default(bridge, Tables(flows), find_attached(bridge, False)) == default


def test_protocols_go_back_and_what_an_operator_has_added_meanwhile_stays() -> None:
    bridge = ATTACHED._replace(
        protocols=("OpenFlow10", "OpenFlow11", "OpenFlow13", "OpenFlow14", "OpenFlow15")
    )
    (step,) = forget(bridge, find_attached(bridge, True))
    assert step.command[-1] == "protocols=OpenFlow10,OpenFlow11"
    assert forget(PLAIN, find_attached(PLAIN, True)) == []


def test_notes_say_what_an_operator_should_know() -> None:
    bridge = PLAIN._replace(datapath_type="netdev", controllers=(OTHER,), protocols=("OpenFlow10",))
    text = "\n".join(attach_notes(bridge, DEFAULT_TARGET))
    for part in ("not scheduled", "10.0.0.9", "standalone", "connect anew", "in-band"):
        assert part in text
    assert "primary" in attach_notes(PLAIN._replace(controllers=(BY_HAND,)), DEFAULT_TARGET)[0]
