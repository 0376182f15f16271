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
"""For the whole test. A boot takes longer than all the rest."""


class Screen:
    """What the program on a terminal has shown, and a keyboard for it."""

    def __init__(self, terminal: int, program: subprocess.Popen[bytes]) -> None:
        self.terminal, self.program = terminal, program
        self.shown = b""
        self._deadline = time.monotonic() + PATIENCE_S

    def wait_for(self, text: bytes) -> None:
        """Read until the text is shown, and forget what came before its end."""
        while text not in self.shown:
            assert self.program.poll() is None, self.shown
            self._read()
        self.shown = self.shown.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def wait_for_end(self) -> int:
        """Read until the program has ended, which cannot write what nobody reads; return its exit status."""
        while (status := self.program.poll()) is None:
            self._read()
        return status

    def _read(self) -> None:
        assert time.monotonic() < self._deadline, self.shown
        if select.select([self.terminal], [], [], 0.2)[0]:
            self.shown += os.read(self.terminal, 65536)


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
    screen = Screen(ours, launcher)
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
        assert screen.wait_for_end() == 3
        assert termios.tcgetattr(theirs) == before
        assert not guests_of(mark)
    finally:
        launcher.kill()
        launcher.wait()
        os.close(theirs)
        os.close(ours)
