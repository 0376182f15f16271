"""``--watch``: on a terminal one table in the place of the last, in a pipe one after the other."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n")


@contextmanager
def watching(url: str, *words: str, stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "flowlane.cli.main", *words, "--watch", "0.1", "--url", url]
    process = subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lines_of(stream: IO[str] | None, count: int) -> list[str]:
    assert stream is not None
    return [stream.readline() for _ in range(count)]


@pytest.mark.parametrize("command", ["devices", "queues", "vms", "flows", "assignments", "status"])
def test_a_pipe_gets_one_table_after_the_other(controller_url: str, command: str) -> None:
    with watching(controller_url, command) as process:
        lines = lines_of(process.stdout, 40)
    starts = [number for number, line in enumerate(lines) if TIME.fullmatch(line)]
    assert starts[0] == 0
    assert len(starts) >= 3
    first, second = lines[1 : starts[1]], lines[starts[1] + 1 : starts[2]]
    assert len(first) >= 3
    assert [line.split()[0] for line in first] == [line.split()[0] for line in second]
    assert "\x1b" not in "".join(lines)
    assert not any(re.search(" \n", line) for line in lines), "no blanks at the ends of lines"


@pytest.mark.parametrize("command", ["queues", "status"])
def test_json_comes_again_and_again_too(controller_url: str, command: str) -> None:
    with watching(controller_url, command, "--json") as process:
        assert process.stdout is not None
        text = ""
        texts: list[dict[str, object]] = []
        while len(texts) < 3:
            text += process.stdout.readline()
            if text.endswith("\n}\n"):
                texts.append(json.loads(text))
                text = ""
    assert texts[0].keys() == texts[2].keys()


def test_a_terminal_gets_tables_in_one_place(controller_url: str) -> None:
    ours, theirs = pty.openpty()
    with watching(controller_url, "devices", stdout=theirs):
        os.close(theirs)
        text, deadline = b"", time.monotonic() + 20
        while text.count(b"br-nic") < 3 and time.monotonic() < deadline:
            text += os.read(ours, 4096)
    os.close(ours)
    assert text.count(b"br-nic") >= 3
    assert b"\x1b[?1049h" in text, "the alternate screen"
    assert not re.search(rb"\d{4}-\d\d-\d\d", text)


def test_the_end_of_the_controller_ends_the_watch(controller_url: str) -> None:
    place = controller_url.rpartition(":")[0] + ":1"
    with watching(place, "flows") as process:
        out, err = process.communicate(timeout=30)
    assert (out, process.returncode) == ("", 3)
    assert "does not answer" in err
