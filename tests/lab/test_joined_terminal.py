"""The terminal of ``./run lab`` when the guest does not end by itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from lab.launcher import terminal


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a guest that takes what is typed and shows nothing; the keyboard is at its end."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "terminal"))
    listening.listen()
    keyboard = os.open(os.devnull, os.O_RDONLY)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(fileno=lambda: keyboard))
    monkeypatch.setattr(terminal, "LEAVE_S", 0.5)
    yield tmp_path
    listening.close()
    os.close(keyboard)


def joined(guest: Path, process: subprocess.Popen[bytes]) -> threading.Thread:
    task = threading.Thread(target=terminal.attach, args=(guest, process), daemon=True)
    task.start()
    return task


def test_a_guest_whose_shell_has_ended_is_left_though_it_stays(guest: Path) -> None:
    with subprocess.Popen(["sleep", "100"]) as process:
        try:
            task = joined(guest, process)
            task.join(1.5)
            assert task.is_alive(), "its shell runs"
            (guest / "status").write_text("3")
            task.join(20)
            assert not task.is_alive()
        finally:
            process.kill()
