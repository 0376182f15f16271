"""``flowlane top``: the lanes and the largest flows, again and again, on a whole terminal or as plain text.

It goes on while the controller is away: what was read last stays, with the reason, until there is an answer again.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import count
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

from rich.console import ConsoleDimensions
from rich.live import Live

from flowlane.cli import keyboard, top_view
from flowlane.cli.arguments import (
    LARGEST_COUNT,
    LONGEST_WATCH,
    SHORTEST_WATCH,
    WATCH,
    add_output,
    format_of,
    seconds,
    whole_number,
)
from flowlane.cli.client import PAGE, Answer, Client, RefusedError, UnreachableError, client_of, get, pages
from flowlane.cli.list_command import FILTERS
from flowlane.cli.lists import find_devices
from flowlane.cli.output import show_data
from flowlane.cli.tables import console, emit, is_terminal
from flowlane.cli.top_view import SORTS, Look, Snapshot, Sort, lanes_of
from flowlane.stdio import print_error

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

FLOWS = 10
"""Flows of a plain text by default."""

FLOWS_OF_SCREEN = 100
"""Flows that are read for a terminal: more than fit on it."""

UNTIL_A_KEY = 3600.0
"""Seconds to wait for a key where nothing else is waited for."""

SCROLLS = {"down": 1, "up": -1, "j": 1, "k": -1, "page down": 5, "page up": -5}
"""Key -> lanes by which it scrolls."""


class Wanted(NamedTuple):
    """What is read: of one device, where one is named, and how many flows in which order."""

    device: str | None
    flows: int
    sort: Sort


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_output(parser, watch=False)
    parser.add_argument("--device", metavar="DEVICE", help=FILTERS["device"])
    parser.add_argument(
        "--sort-by",
        choices=[sort.name for sort in SORTS],
        default=SORTS[0].name,
        help="order of the flows (default rate: the largest first)",
    )
    parser.add_argument(
        "--interval",
        type=seconds(SHORTEST_WATCH, LONGEST_WATCH),
        default=WATCH,
        metavar="SECONDS",
        help=f"read again every so many seconds (default {WATCH:g})",
    )
    parser.add_argument(
        "--count",
        type=whole_number(1, LARGEST_COUNT),
        help="print so many readings as plain text, and end (default: for ever, on the whole terminal if it is one)",
    )
    parser.add_argument(
        "--flows",
        type=whole_number(0, PAGE),
        help=f"flows at most (default: as many as fit on the terminal; {FLOWS} in plain text)",
    )


def run(args: argparse.Namespace) -> int:
    """Show lanes and flows until q or Ctrl-C, or so many readings as ``--count``."""
    client, form = client_of(args), format_of(args)
    on_screen = form is None and args.count is None and is_terminal() and not console().is_dumb_terminal
    flows = (FLOWS_OF_SCREEN if on_screen else FLOWS) if args.flows is None else args.flows
    wanted = Wanted(args.device, flows, next(sort for sort in SORTS if sort.name == args.sort_by))
    first = read(client, wanted)
    if on_screen:
        _Screen(client, wanted, first, args.interval).run()
    else:
        _print(client, wanted, first, args)
    return 0


def read(client: Client, wanted: Wanted) -> Snapshot:
    """Read what is shown.

    Raises:
        UnreachableError, RefusedError: see :func:`flowlane.cli.client.call`.
    """
    status = get(client, "/v1/status")
    devices = find_devices(client, "/v1/devices", wanted.device)
    queues: dict[str, list[Answer]] = {}
    for device in devices:
        with suppress(RefusedError):  # It has gone since.
            queues[device["dpid"]] = get(client, f"/v1/devices/{device['dpid']}/queues")["items"]
    flows: list[Answer] = []
    if wanted.flows:
        query = {"sort": wanted.sort.parameter} | ({"device": wanted.device} if wanted.device else {})
        flows = pages(client, "/v1/flows", query, wanted.flows)["items"]
    return Snapshot(status, lanes_of(devices, queues), tuple(flows))


# ---- plain text, for pipes and files


def _print(client: Client, wanted: Wanted, first: Snapshot, args: argparse.Namespace) -> None:
    """Print one answer after the other; that there is none, and that there is one again, goes to standard error."""
    snapshot: Snapshot | None = first
    problem, form, out = "", format_of(args), console(wide=True)
    for number in count(1):
        if snapshot is not None and form is not None:
            show_data(partial(_as_data, snapshot), form)
        elif snapshot is not None:
            print(time.strftime("%Y-%m-%d %H:%M:%S"))
            emit(out, top_view.tables(snapshot, Look(client.place, "", wanted.sort), out.width))
        if number == args.count:
            return
        time.sleep(args.interval)
        try:
            snapshot = read(client, wanted)
        except (UnreachableError, RefusedError) as error:
            if not problem:
                print_error(f"flowlane top: {error}; trying again every {args.interval:g} s")
            problem, snapshot = str(error), None
        else:
            if problem:
                print_error(f"flowlane top: the controller at {client.place} answers again")
            problem = ""


def _as_data(snapshot: Snapshot) -> Answer:
    lanes = [
        Answer(device=lane.device, port=lane.port, capacity=lane.capacity, queues=list(lane.queues))
        for lane in snapshot.lanes
    ]
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Answer(time=now, status=snapshot.status, lanes=lanes, flows=list(snapshot.flows))


# ---- the whole terminal


class _Reader:
    """Reads in a thread of its own, so that keys are taken while a controller does not answer."""

    def __init__(self, client: Client, wake: Callable[[], None]) -> None:
        self._client, self._wake = client, wake
        self._asked: SimpleQueue[Wanted] = SimpleQueue()
        self.answers: SimpleQueue[tuple[Wanted, Snapshot | str]] = SimpleQueue()
        """What was asked for, and what was read or why nothing could be."""
        threading.Thread(target=self._work, daemon=True).start()

    def ask(self, wanted: Wanted) -> None:
        """Read, after what was asked for before."""
        self._asked.put(wanted)

    def _work(self) -> None:
        while True:
            wanted = self._asked.get()
            try:
                self.answers.put((wanted, read(self._client, wanted)))
            except (UnreachableError, RefusedError) as error:
                self.answers.put((wanted, str(error)))
            self._wake()


class _Screen:
    """What was read last, drawn anew at each answer, key and change of the terminal's size."""

    def __init__(self, client: Client, wanted: Wanted, first: Snapshot, every: float) -> None:
        self._client, self._wanted, self._snapshot, self._every = client, wanted, first, every
        self._look = Look(client.place, time.strftime("%H:%M:%S"), wanted.sort)
        self._pending = 0
        """Answers that are awaited."""
        self._due = time.monotonic() + every

    def run(self) -> None:
        """Show until q."""
        out = console()
        live = Live(console=out, auto_refresh=False, screen=True, vertical_overflow="crop")
        with keyboard.opened() as keys, live:
            reader, key = _Reader(self._client, keys.wake), ""
            while key not in (keyboard.ENDED, keyboard.QUIT):
                self._press(reader, key)
                if not self._look.paused and not self._pending and time.monotonic() >= self._due:
                    self._ask(reader)
                # rich would go by $COLUMNS and $LINES, which do not follow the terminal.
                out.size = ConsoleDimensions(*os.get_terminal_size(sys.stdout.fileno()))
                live.update(top_view.screen(self._snapshot, self._look, *out.size), refresh=True)
                is_waiting = self._look.paused or self._pending
                key = keys.wait(UNTIL_A_KEY if is_waiting else max(0.0, self._due - time.monotonic()))
                while not reader.answers.empty():
                    self._take(*reader.answers.get())

    def _ask(self, reader: _Reader) -> None:
        self._pending += 1
        reader.ask(self._wanted)

    def _take(self, wanted: Wanted, answer: Snapshot | str) -> None:
        """Take an answer; one in an order that is not wanted any more is dropped."""
        self._pending -= 1
        self._due = time.monotonic() + self._every
        if isinstance(answer, str):
            last = f"as of {self._look.clock}, trying again every {self._every:g} s"
            self._look = self._look._replace(problem=f"{last}: {answer}")
        elif wanted == self._wanted:
            self._snapshot = answer
            clock = time.strftime("%H:%M:%S")
            self._look = self._look._replace(problem="", clock=clock, sort=wanted.sort)

    def _press(self, reader: _Reader, key: str) -> None:
        look = self._look
        if key == "c":
            self._look = look._replace(compact=not look.compact)
        elif key == " ":
            self._look = look._replace(paused=not look.paused)
        elif key in SCROLLS:
            last = max(0, len(self._snapshot.lanes) - 1)
            self._look = look._replace(first_lane=min(last, max(0, look.first_lane + SCROLLS[key])))
        for sort in SORTS:
            if key == sort.key and sort != self._wanted.sort:
                self._wanted = self._wanted._replace(sort=sort)
                self._ask(reader)
