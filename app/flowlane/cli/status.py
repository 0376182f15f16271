"""``flowlane status``: the controller's own state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from flowlane.cli.arguments import add_output, format_of
from flowlane.cli.client import Answer, client_of, get
from flowlane.cli.output import show_data
from flowlane.cli.tables import age, line, show

if TYPE_CHECKING:
    import argparse

NOT_READY = 1
"""Exit code when the controller answers, but something that it needs is missing."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_output(parser)


def run(args: argparse.Namespace) -> int:
    """Show the controller's state; the exit code is 0 when it is ready."""
    client = client_of(args)
    ready = False

    def read() -> Answer:
        nonlocal ready
        status = get(client, "/v1/status")
        ready = status["ready"]
        return status

    form = format_of(args)
    if form is not None:
        show_data(read, form, args.watch)
    else:
        show(lambda _width: _table(read()), args.watch)
    return 0 if ready else NOT_READY


def _table(status: Answer) -> Table:
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in _lines(status):
        grid.add_row(line(name), line(value))
    return grid


def _devices(counts: Answer) -> str:
    waiting = f", {counts['waiting']} waiting for their database" if counts["waiting"] else ""
    return f"{counts['connected']} connected of {counts['known']}{waiting}"


def _lines(status: Answer) -> list[tuple[str, str]]:
    devices, by_kind, policy = status["devices"], status["assignments"], status["policy"]
    databases = status["databases"]
    return [
        ("flowlane", f"{status['version']}, up {age(status['started'])}"),
        ("ready", "yes" if status["ready"] else "no"),
        *((f"  {check['name']}", check["problem"] or "ok") for check in status["checks"]),
        ("devices", _devices(devices)),
        ("databases", f"{databases['synchronized']} synchronized of {databases['known']}"),
        ("VMs", str(status["vms"])),
        (
            "flows",
            f"{status['flows']} ({by_kind['physical']} on physical queues, {by_kind['software']} on software "
            f"queues, {by_kind['none']} without a queue)",
        ),
        ("classes", ", ".join(policy["classes"])),
        ("rules", ", ".join(policy["rules"]) or "none"),
        ("strategy", policy["strategy"]),
    ]
