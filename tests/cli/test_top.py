"""``flowlane top`` as a process: on a terminal, in a pipe, and while the controller is away."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyte
import pytest
from support.rest.server import running

from flowlane.cli import main as cli

WITHIN = 20.0
"""Seconds that a change of the screen may take."""


class Terminal:
    """A terminal of so many columns and lines with a program in it; what it shows is pyte's matter."""

    def __init__(self, words: list[str], columns: int = 100, lines: int = 30) -> None:
        self.ours, self._theirs = pty.openpty()
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._written = b""
        self.resize(columns, lines)
        self._before = termios.tcgetattr(self._theirs)
        command = [sys.executable, "-m", "flowlane.cli.main", "top", "--interval", "0.2", *words]
        self.process = subprocess.Popen(
            command, stdin=self._theirs, stdout=self._theirs, stderr=subprocess.PIPE, start_new_session=True
        )

    @property
    def text(self) -> str:
        """What the terminal shows."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        os.write(self.ours, keys)

    def until(self, condition: Callable[[str], bool]) -> str:
        """Wait until what the terminal shows meets a condition; return that."""
        deadline = time.monotonic() + WITHIN
        while not condition(self.text):
            assert time.monotonic() < deadline, self.text
            self._read(0.1)
        return self.text

    def _read(self, seconds: float) -> bool:
        if not select.select([self.ours], [], [], seconds)[0]:
            return False
        data = os.read(self.ours, 65536)
        self._written += data
        self._stream.feed(data)
        return True

    def end(self) -> tuple[int, str]:
        """Wait for the end; return the exit code and what was written to standard error."""
        deadline = time.monotonic() + WITHIN
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read(0.1)
        while self._read(0):
            pass
        assert self.process.stderr is not None
        return self.process.wait(1), self.process.stderr.read().decode()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        os.close(self.ours)
        os.close(self._theirs)

    def is_restored(self) -> bool:
        """Whether the first screen, the cursor and the line discipline are back."""
        is_first = self._written.rfind(b"\x1b[?1049l") > self._written.rfind(b"\x1b[?1049h") > -1
        return is_first and not self.screen.cursor.hidden and termios.tcgetattr(self._theirs) == self._before


@contextmanager
def terminal(url: str, *words: str, columns: int = 100, lines: int = 30) -> Iterator[Terminal]:
    made = Terminal(["--url", url, *words], columns, lines)
    try:
        yield made
    finally:
        made.close()


def test_keys_choose_the_order_and_end_it(controller_url: str) -> None:
    with terminal(controller_url) as top:
        first = top.until(lambda text: "q quit" in text)
        assert "FLOWS by rate" in first
        assert "br-nic uplink: " in first
        assert "tcp 10.0.0.1:1234 > 192.0.2.1:80" in first
        top.press(b"b")
        top.until(lambda text: "FLOWS by bytes" in text)
        top.press(b"c")
        top.until(lambda text: "c full" in text)
        top.press(b"\x1b[B")
        top.press(b" ")
        top.until(lambda text: "paused" in text.splitlines()[0])
        top.press(b"q")
        assert top.end() == (0, "")
        assert top.is_restored()


def test_it_follows_the_size_of_the_terminal(controller_url: str) -> None:
    with terminal(controller_url, columns=100, lines=30) as top:
        top.until(lambda text: "q quit" in text and "AGE" in text)
        top.resize(50, 15)
        os.kill(top.process.pid, signal.SIGWINCH)
        narrow = top.until(lambda text: "q quit" in text and "AGE" not in text and "…" in text)
        assert narrow.startswith("flowlane 0.")
        assert len([line for line in narrow.splitlines() if line.startswith("flowlane 0.")]) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_terminal_is_as_it_was_after_a_signal(controller_url: str, number: int, code: int) -> None:
    with terminal(controller_url) as top:
        top.until(lambda text: "q quit" in text)
        os.kill(top.process.pid, number)
        assert top.end() == (code, "")
        assert top.is_restored()


def test_it_survives_a_restart_of_the_controller() -> None:
    with running() as server:
        port = server.url.rpartition(":")[2]
        with terminal(server.url, columns=160) as top:
            top.until(lambda text: "q quit" in text)
            server.stop()
            lost = top.until(lambda text: "does not answer" in text)
            assert "br-nic uplink: " in lost, "what was read last stays"
            assert "trying again every 0.2 s" in lost
            with running(f"port={port}"):
                top.until(lambda text: "q quit" in text and "does not answer" not in text)
                top.press(b"q")
                assert top.end() == (0, "")


def test_a_pipe_gets_plain_text_again_and_again_and_a_word_when_the_controller_is_away() -> None:
    command = [sys.executable, "-m", "flowlane.cli.main", "top", "--interval", "0.2", "--count", "12"]
    with running() as server:
        process = subprocess.Popen(
            [*command, "--url", server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(20)]
        server.stop()
        rest, errors = process.communicate(timeout=60)
    text = "".join(lines) + rest
    assert process.returncode == 0
    assert "\x1b" not in text
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\nflowlane 0.1.0 at ", text)
    assert errors.count("\n") == 1, "one line, not one for each try"
    assert re.match(r"flowlane top: controller at .* does not answer .*; trying again every 0.2 s\n", errors)


def test_json_has_the_same(controller_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["top", "--count", "1", "--json", "--flows", "2", "--url", controller_url]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer.keys() == {"time", "status", "lanes", "flows"}
    assert [(lane["device"], lane["port"], len(lane["queues"])) for lane in answer["lanes"]] == [
        ("br-nic", "uplink", 5)
    ]
    assert [flow["src_port"] for flow in answer["flows"]] == [1234, 1235]


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["--url", "127.0.0.1:1"], 3, "does not answer"),
        (["--device", "br-nik"], 1, "there is no device 'br-nik'; did you mean br-nic?"),
    ],
)
def test_what_is_wrong_at_the_beginning_ends_it(
    controller_url: str, capsys: pytest.CaptureFixture[str], words: list[str], code: int, error: str
) -> None:
    assert cli.main(["top", "--count", "1", "--url", controller_url, *words]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert error in err
