"""``--output`` and ``--sort-by`` of lists, on the controller of the tests."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import yaml
from support.engine.controller import FLOWS

from flowlane.cli import lists
from flowlane.cli import main as cli
from flowlane.cli.client import Answer
from flowlane.cli.output import in_order, natural, unique_names
from flowlane.cli.tables import Column

LISTS = ["databases", "devices", "ports", "queues", "vms", "hosts", "addresses", "flows", "assignments"]
NAMES = {
    "databases": ["host1", "unix:/none"],
    "devices": ["br-nic", r'tor "1"'],
    "ports": ["br-nic/vf0", "br-nic/vf1", "br-nic/uplink", 'tor "1"/up'],
    "queues": [f"br-nic/uplink/{number}" for number in (0, 1, 2, 3, 10)],
    "vms": ["db", "web"],
    "flows": [key.hex() for key, _ in FLOWS],
}
"""List -> what --output name prints."""

Run = Callable[..., str]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], controller_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("FLOWLANE_URL", controller_url)

    def call(*words: str) -> str:
        assert cli.main(words) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return str(out)

    return call


@pytest.mark.parametrize("name", LISTS)
def test_every_list_has_every_format(run: Run, name: str) -> None:
    as_json = json.loads(run(name, "-o", "json"))
    assert as_json.keys() == {"items", "next"}
    without_ages = {
        key: value for key, value in json.loads(run(name, "--json"))["items"][0].items() if "s" not in key
    }
    assert without_ages.items() <= as_json["items"][0].items()
    text = run(name, "-o", "yaml")
    assert text.isascii()
    assert [item.keys() for item in yaml.safe_load(text)["items"]] == [
        item.keys() for item in as_json["items"]
    ]
    assert len(run(name, "-o", "wide").splitlines()[0].split()) >= 4
    names = run(name, "-o", "name").splitlines()
    assert len(names) == len(as_json["items"])
    assert names == NAMES.get(name, names)


@pytest.mark.parametrize("name", [name for name, (place, _) in cli.COMMANDS.items() if "lists:" in place])
def test_no_list_lacks_formats_and_an_order(run: Run, name: str) -> None:
    for form in ("wide", "json", "yaml", "name"):
        run(name, "-o", form)
    columns = getattr(lists, cli.COMMANDS[name][0].partition(":")[2]).columns
    for column in columns:
        assert (
            run(name, "--sort-by", column.head.lower().replace(" ", "-"), "--reverse", "-o", "name")
            is not None
        )


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["status", "-o", "yaml"], "ready: "),
        (["topology", "-o", "yaml"], "devices:\n- "),
        (["policy", "show", "-o", "yaml"], "text: |\n  version: 1\n"),
        (["explain", FLOWS[0][0].hex(), "-o", "yaml"], "- flow: "),
        (["hint", "show", "web", "-o", "yaml"], "vm: uuid-web\n"),
        (["hint", "show", "web", "-o", "name"], ""),
    ],
)
def test_other_commands_have_the_formats_of_data(run: Run, words: list[str], expected: str) -> None:
    assert expected in run(*words)


def test_wide_has_all_columns_where_the_terminal_is_narrow(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("flowlane.cli.tables.is_terminal", lambda: True)
    narrow, wide = run("flows"), run("flows", "-o", "wide")
    assert "IDLE" not in narrow
    assert "IDLE" in wide
    assert FLOWS[0][0].hex() in wide


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["queues", "--sort-by", "load"], None),
        (["flows", "--sort-by", "rate", "--limit", "1"], [FLOWS[0][0].hex()]),
        (["flows", "--sort-by", "RATE", "--reverse", "--limit", "5"], None),
        (["assignments", "--sort-by", "rate", "--limit", "1"], [FLOWS[0][0].hex()]),
        (["vms", "--sort-by", "name", "--reverse"], ["web", "db"]),
        (["queues", "--sort-by", "queue", "--reverse"], [f"br-nic/uplink/{n}" for n in (10, 3, 2, 1, 0)]),
        (["queues", "--sort-by", "flows", "--reverse"], None),
    ],
)
def test_rows_in_order(run: Run, words: list[str], expected: list[str] | None) -> None:
    names = run(*words, "-o", "name").splitlines()
    if expected is not None:
        assert names == expected
    turned = [word for word in words if word != "--reverse"]
    others = run(*turned, *([] if "--reverse" in words else ["--reverse"]), "-o", "name").splitlines()
    assert len(others) == len(names)


def test_amounts_come_with_the_largest_first_and_what_is_not_known_last() -> None:
    column = Column("LOAD", lambda item: str(item["load"]), amount=lambda item: item["load"])
    items = [Answer(load=load) for load in (1, None, 10, 2)]
    assert [item["load"] for item in in_order(items, column, reverse=False)] == [10, 2, 1, None]
    assert [item["load"] for item in in_order(items, column, reverse=True)] == [1, 2, 10, None]


def test_texts_are_sorted_by_the_numbers_in_them() -> None:
    names = ["vm10", "vm2", "VM1", "a", "1", "9" * 5000, "10.0.0.2", "9.0.0.1"]
    assert sorted(names[:4], key=natural) == ["a", "VM1", "vm2", "vm10"]
    assert sorted(names, key=natural)[-1] == "vm10"


def test_a_name_that_is_not_unique_gives_way_to_the_id() -> None:
    items = [Answer(name=name, id=number) for number, name in enumerate(["a", "b", "a", "", None])]
    assert unique_names(items, lambda item: item["name"], lambda item: str(item["id"])) == [
        "0", "b", "2", "3", "4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["flows", "--sort-by", "rat"], "argument --sort-by: 'rat' is no column; did you mean rate?"),
        (["flows", "-o", "xml"], "argument -o/--output: invalid choice: 'xml'"),
        (["flows", "--json", "-o", "yaml"], "not allowed with argument --json"),
        (["status", "-o", "name"], "invalid choice: 'name'"),
        (["flows", "--watch", "-1"], "argument --watch: '-1' is not a number of seconds from 0.1 to 86400"),
    ],
)
def test_what_is_wrong_is_named(capsys: pytest.CaptureFixture[str], words: list[str], error: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert error in capsys.readouterr().err


def test_an_order_needs_a_column(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["flows", "--reverse"]) == 1
    assert "give --sort-by COLUMN too" in capsys.readouterr().err
