"""Tests that failed beside others are run once more, and only what fails then, too, has failed."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest
from scripts import recheck

FILE = """
    import os, pathlib, pytest

    HERE = pathlib.Path(__file__).parent

    def runs(name):
        count = HERE / name
        with count.open("a") as file:
            file.write(".")
        return len(count.read_text())

    def test_right():
        assert runs("right") == 1

    @pytest.mark.parametrize("what", {kinds!r})
    def test_now_and_then(what):
        number = runs(what)
        assert what == "twice" or (what != "never" and number > 1)
"""


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], Path, Path]:
    """A pytest command, its cache, and the file of tests that passed alone."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # A start takes a tenth of the time.
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        str(tmp_path / "test_it.py"),
        "-c",
        str(tmp_path / "pytest.ini"),
    ]
    return command, tmp_path / "cache", tmp_path / "alone"


def write(tmp_path: Path, *kinds: str) -> None:
    (tmp_path / "test_it.py").write_text(dedent(FILE.format(kinds=kinds)))


def count(tmp_path: Path, name: str) -> int:
    return len((tmp_path / name).read_text())


def test_what_passes_is_run_once(tmp_path: Path, tried: tuple[list[str], Path, Path]) -> None:
    command, cache, alone = tried
    write(tmp_path, "twice")
    assert recheck.run(command, command, cache, alone) == 0
    assert (count(tmp_path, "twice"), alone.exists()) == (1, False)


def test_what_passes_alone_is_named(tmp_path: Path, tried: tuple[list[str], Path, Path]) -> None:
    command, cache, alone = tried
    write(tmp_path, "once", "twice")
    assert recheck.run(command, command, cache, alone) == 0
    assert [line.rpartition("::")[2] for line in alone.read_text().splitlines()] == [
        "test_now_and_then[once]"
    ]
    assert (count(tmp_path, "once"), count(tmp_path, "twice"), count(tmp_path, "right")) == (2, 1, 1)


def test_what_fails_alone_has_failed(tmp_path: Path, tried: tuple[list[str], Path, Path]) -> None:
    command, cache, alone = tried
    write(tmp_path, "once", "never")
    assert recheck.run(command, command, cache, alone) == 1
    assert not alone.exists()


def test_many_failures_are_no_chance(tmp_path: Path, tried: tuple[list[str], Path, Path]) -> None:
    command, cache, alone = tried
    write(tmp_path, "once", "once2", "once3")
    assert recheck.run(command, command, cache, alone, 2) == 1
    assert count(tmp_path, "once") == 1


def test_a_run_that_is_broken_is_not_repeated(tmp_path: Path, tried: tuple[list[str], Path, Path]) -> None:
    command, cache, alone = tried
    (tmp_path / "test_it.py").write_text("1 / 0\n")
    assert recheck.run(command, command, cache, alone) == 2
    assert not alone.exists()


def test_the_command_line_has_both_commands(tmp_path: Path, tried: tuple[list[str], Path, Path]) -> None:
    command, cache, alone = tried
    write(tmp_path, "once")
    words = ["--cache", str(cache), "--alone", str(alone), "--", *command, "--", *command, "-x"]
    assert recheck.main(words) == 0
    assert "test_now_and_then[once]" in alone.read_text()
