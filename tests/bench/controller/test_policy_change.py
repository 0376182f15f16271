"""Policies are replaced while clients read over HTTP; each piece of work is measured meanwhile."""

from __future__ import annotations

import re
import subprocess
import sys


def test_clients_read_while_policies_are_replaced() -> None:
    """In a process of its own: the bench patches its process for green threads."""
    words = ("--devices", "3", "--flows", "60", "--vms", "5", "--rest", "--minutes", "0.05")
    command = [sys.executable, "-m", "bench.controller.policy_change", *words]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=True).stdout
    lines = [line for line in printed.splitlines() if not line.startswith("policy ")]
    first, *pieces = lines
    assert re.match(r"[1-9]\d* policies;", first), printed
    answered = set(re.findall(r"'([^']+) (\d+)'", first))
    assert {status for _, status in answered} == {"200"}
    assert {"one flow", "/metrics", "/v1/events", "/v1/status"} <= {path for path, _ in answered}
    took = [float(piece.split()[0]) for piece in pieces]
    assert took == sorted(took, reverse=True)
    assert took[-1] > 0
