"""``./run lab`` without a command, as a user at a terminal sees it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import termios
import time
from pathlib import Path

import pytest
from support.hosts.guests import guests_of

pytestmark = pytest.mark.lab

RUN = Path(__file__).parents[2] / "run"
PROMPT = b"lab:"
PATIENCE_S = 300


class Screen:
    """What the program on a terminal has shown, and a keyboard for it."""

    def __init__(self, terminal: int) -> None:
        self.terminal = terminal
        self.shown = b""

    def wait_for(self, text: bytes) -> None:
        """Read until the text is shown, and forget what came before its end."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self.terminal], [], [], 1)[0]:
                self.shown += os.read(self.terminal, 65536)
        self.shown = self.shown.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())


def test_a_shell_that_is_used_and_left() -> None:
    """Typed words arrive, Ctrl-C ends what runs in the guest and not the lab, `exit` ends it all."""
    ours, theirs = pty.openpty()
    mark = os.getpid() * 100
    before = termios.tcgetattr(theirs)
    launcher = subprocess.Popen(
        [RUN, "lab"],
        env={**os.environ, "LAB_TEST_MARK": str(mark)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    screen = Screen(ours)
    try:
        screen.wait_for(b"leave it with `exit`")
        screen.wait_for(PROMPT)
        screen.type("echo $((6 * 7)) on $(uname -n)\r")
        screen.wait_for(b"42 on lab")
        screen.type("sh -c 'echo $((1 + 1)) seconds; sleep 1000'\r")
        screen.wait_for(b"2 seconds")
        screen.type("\x03")
        screen.wait_for(PROMPT)
        screen.type("ovs-vsctl list-br; which flowlane\r")
        screen.wait_for(b"br0")
        screen.wait_for(b".venv/bin/flowlane")
        screen.type("exit 3\r")
        assert launcher.wait(PATIENCE_S) == 3
        assert termios.tcgetattr(theirs) == before
        assert not guests_of(mark)
    finally:
        launcher.kill()
        os.close(theirs)
        os.close(ours)
