"""What an experiment in the lab has outside the guest: it is there when the guest starts, and gone afterwards."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from lab import outside


def test_a_program_that_ends_at_once_is_told_with_its_words(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no such policy >&2; exit 3"]
    with (
        pytest.raises(outside.OutsideError, match="no such policy"),
        outside.running(command, outside.free_ports().rest, tmp_path / "log"),
    ):
        pytest.fail("the block was entered")


def test_a_program_runs_for_the_length_of_the_block(tmp_path: Path) -> None:
    port = outside.free_ports().rest
    command = [
        "python3",
        "-c",
        f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(99)",
    ]
    with outside.running(command, port, tmp_path / "log"):
        socket.create_connection(("127.0.0.1", port)).close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.lab  # iperf3 comes with that tier
def test_the_far_end_sends_requests_back(tmp_path: Path) -> None:
    ports = outside.free_ports()
    with (
        outside.far_end(ports, tmp_path / "log"),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker,
    ):
        asker.settimeout(10)
        asker.sendto(b"request", ("127.0.0.1", ports.echo))
        assert asker.recv(100) == b"request"
