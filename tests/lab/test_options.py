from __future__ import annotations

from pathlib import Path

import pytest
from lab.launcher.machine import command_line, names_by_mac, nics
from lab.launcher.options import parse
from lab.launcher.software import Kernel, Qemu, Software


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


def test_only_icount_makes_the_clock_count_instructions(tmp_path: Path) -> None:
    software = Software(Qemu("qemu", (), {}), Kernel(tmp_path, "6.1", tmp_path), tmp_path, None)

    def words(accel: str) -> list[str]:
        return command_line(software, parse(["--accel", accel]), accel, tmp_path, {})

    assert words("icount")[words("icount").index("-icount") + 1] == "shift=1,sleep=off"
    assert "tcg,thread=single" in words("icount"), "the other does not go together with -icount"
    assert "-icount" not in words("tcg") + words("kvm")


def test_the_far_end_outside_the_guest_needs_no_nic_in_it() -> None:
    options = parse(["--far", "host", "--layout", "sriov"])
    names = [nic.name for nic in nics(options.layout, options.far)]
    assert names == ["pf0", "sr0", "vepa0"]
    assert "wire0" not in names_by_mac(options.layout, options.far)
    assert "wire0" in names_by_mac("sriov", parse([]).far)


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
