"""Keeps orders of operators (hints, pins by hand, cordons, roles) in a file of the state directory over restarts.

What REST changed is in force at once, and written behind it. After a restart an order is in force again as soon as what
it is about is there: its device, or its flow. Without a state directory, and where a database has the orders
(:mod:`flowlane.cluster.order_store`), nothing is kept here.
"""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Protocol

from flowlane import hub, orders, state_files
from flowlane.core.events import DeviceUp
from flowlane.logs import Repeats
from flowlane.orders import Order

if TYPE_CHECKING:
    from pathlib import Path

    from flowlane.core.events import Event
    from flowlane.core.state.device import State

_LOG = logging.getLogger(__name__)
_REPEATS = Repeats(_LOG)

FILE_NAME = "orders.json"
LOOK = 0.5
"""Seconds between two comparisons of the orders with what is in force."""

RETRY = 5.0
"""Seconds until a file that could not be written is tried again."""

MOST_BYTES = 1 << 26
"""A file that is longer is not read: ten times what all orders take that REST accepts."""


ASIDE = ".unreadable"
"""What the name of a file that cannot be read gets at its end: somebody may mend it."""


class Engine(Protocol):
    """What carries orders out."""

    @property
    def state(self) -> State:
        """The engine's state, for reading only."""

    def carry_out(self, event: Event) -> None:
        """Carry out an event that is not written again."""


class OrderKeeper:
    """The orders that came over REST, and their file.

    Args:
        directory: the state directory.
    """

    def __init__(self, directory: Path, engine: Engine) -> None:
        self._path, self._engine = directory / FILE_NAME, engine
        self._known: dict[orders.Key, Order] = {order.key: order for order in _read(self._path)}
        self._pins_in_force: set[orders.Key] = set()
        self._wake = hub.Flag()
        self._is_dirty = False
        self._tasks: list[hub.Task] = []

    def start(self) -> None:
        """Put in force what needs no device; begin to write, and to compare."""
        self.look()
        self._tasks = [hub.spawn(self._write_forever), hub.spawn(self._look_forever)]

    def stop(self) -> None:
        """Write what is not written yet; then do nothing more."""
        for task in self._tasks:
            task.kill()
        if self._is_dirty:
            self._write(self._text(), waits=False)

    def note(self, event: Event) -> None:
        """Note an event that has been carried out: an order of REST, or a device that is there now."""
        if isinstance(event, DeviceUp):
            self.look()
            return
        change = orders.change_of(event, self._engine.state, self._known.values(), time.time())
        for order in change.put:
            self._known[order.key] = order
        deleted = [self._known.pop(key) for key in change.delete if key in self._known]
        if change.put or deleted:
            self._mark()

    def _mark(self) -> None:
        self._is_dirty = True
        self._wake.set()

    def look(self) -> None:
        """Put in force what is missing; forget what has expired, and pins that the engine has ended."""
        wall, state = time.time(), self._engine.state
        for key, order in list(self._known.items()):
            try:
                if orders.is_over(order, wall) or self._has_ended(order):
                    del self._known[key]
                    self._pins_in_force.discard(key)
                    self._mark()
                elif (event := orders.missing(order, state, wall)) is not None:
                    self._engine.carry_out(event)
            except orders.NOT_OURS as error:
                _REPEATS.warning(key, "order %s in %s is ignored: %r", key, self._path, error)

    def _has_ended(self, order: Order) -> bool:
        """Whether a pin was in force, and the engine has ended it."""
        if order.kind != orders.PIN:
            return False
        if orders.is_in_force(order, self._engine.state):
            self._pins_in_force.add(order.key)
            return False
        return order.key in self._pins_in_force

    def _look_forever(self) -> None:
        while True:
            hub.sleep(LOOK)
            try:
                self.look()
            except Exception:
                _LOG.exception("the orders in %s were not compared", self._path)

    def _write_forever(self) -> None:
        while True:
            self._wake.wait()
            while self._is_dirty:
                self._is_dirty = False
                if not self._write(self._text()):
                    self._is_dirty = True
                    hub.sleep(RETRY)

    def _text(self) -> bytes:
        rows = [order._asdict() for _, order in sorted(self._known.items())]
        return json.dumps({"version": 1, "orders": rows}, indent=1).encode()

    def _write(self, data: bytes, *, waits: bool = True) -> bool:
        """Write the file; return whether that has worked.

        Args:
            waits: others are served meanwhile.
        """
        return state_files.try_replace(self._path, lambda: data, "orders", waits=waits)


def _read(path: Path) -> list[Order]:
    """Read the orders of a file; what cannot be read is left out, and said so; a file that cannot be is set aside."""
    try:
        if not path.exists():
            return []
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it is longer than {MOST_BYTES} bytes")
        rows = list(json.loads(path.read_bytes())["orders"])
    except OSError as error:
        _LOG.warning("the orders in %s are ignored: %s", path, error)
        return []
    except orders.NOT_OURS as error:
        _LOG.warning("the orders in %s are ignored: %s; the file is %s now", path, error, _set_aside(path))
        return []
    found = []
    for row in rows:
        try:
            expires = row["expires"] if row["expires"] is None else float(row["expires"])
            found.append(Order(str(row["kind"]), str(row["name"]), str(row["content"]), expires))
        except orders.NOT_OURS as error:
            _REPEATS.warning(path, "an order in %s is ignored: %.200r: %.200r", path, row, error)
    return found


def _set_aside(path: Path) -> Path:
    """Rename a file that cannot be read, which the next order would replace; return where it is."""
    aside = path.with_name(path.name + ASIDE)
    try:
        path.replace(aside)
    except OSError:
        return path
    return aside
