from __future__ import annotations

import pytest
from launcher.options import parse


def test_defaults_give_a_shell() -> None:
    options = parse([])
    assert options.interactive
    assert (options.layout, options.rate, options.min_rate) == ("veth", 10**9, 10**8)


def test_the_command_may_have_options_of_its_own() -> None:
    options = parse(["--queues", "8", "--", "pytest", "--timeout", "3", "--", "x"])
    assert options.command == ("pytest", "--timeout", "3", "--", "x")
    assert options.queues == 8


def test_guarantees_never_exceed_the_uplink() -> None:
    assert parse(["--rate", "20Mbit/s", "--min-rate", "10Mbit/s", "--queues", "8"]).min_rate == 2_500_000


def test_vfs_of_the_uplink_itself_leave_it_one_queue() -> None:
    options = parse(["--layout", "sriov", "--nics", "one", "--queues", "8"])
    assert (options.layout, options.queues) == ("direct", 1)


@pytest.mark.parametrize(
    "words",
    [
        ["--vms", "8"],
        ["--queues", "9"],
        ["--queues", "0"],
        ["--rate", "20"],
        ["--layout", "ring"],
        ["--vm", "2"],
    ],
)
def test_wrong_words_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(words)
    assert stop.value.code == 2
    assert words[0] in capsys.readouterr().err
