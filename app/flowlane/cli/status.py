"""``flowlane status``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from flowlane.cli.client import connect, get
from flowlane.cli.listing import add_output
from flowlane.cli.tables import age, show, show_json

if TYPE_CHECKING:
    import argparse

NOT_READY = 1
"""Exit code when the controller answers, but something that it needs is missing."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Show the controller's state; the exit code is 0 when it is ready."""
    client = connect(args.url)
    if args.json:
        status = get(client, "/v1/status")
        show_json(status)
        return 0 if status["ready"] else NOT_READY
    seen: dict[str, Any] = {}

    def render(width: int) -> Table:  # noqa: ARG001  (two narrow columns fit any terminal)
        seen.update(get(client, "/v1/status"))
        return _table(seen)

    show(render, args.watch)
    return 0 if seen["ready"] else NOT_READY


def _table(status: dict[str, Any]) -> Table:
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(style="bold")
    made.add_column(overflow="fold")
    for name, value in _lines(status):
        made.add_row(name, value)
    return made


def _lines(status: dict[str, Any]) -> list[tuple[str, str]]:
    devices, placed, policy = status["devices"], status["assignments"], status["policy"]
    return [
        ("flowlane", f"{status['version']}, up {age(status['started'])}"),
        ("ready", "yes" if status["ready"] else "no"),
        *((f"  {check['name']}", check["problem"] or "ok") for check in status["checks"]),
        ("devices", f"{devices['connected']} connected of {devices['known']}"),
        ("VMs", str(status["vms"])),
        (
            "flows",
            f"{status['flows']} ({placed['physical']} on physical queues, {placed['software']} on software "
            f"queues, {placed['none']} without a queue)",
        ),
        ("classes", ", ".join(policy["classes"])),
        ("rules", ", ".join(policy["rules"]) or "none"),
        ("strategy", policy["strategy"]),
    ]
