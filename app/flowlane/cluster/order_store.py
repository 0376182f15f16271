"""Orders of operators and the policy in the database: written by the controller that REST gave them, taken by all.

What REST changed is in force at once, and written behind it in order. What others wrote is compared with
what is in force, when it comes and once a second: an order for a device that is not here yet waits for it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from flowlane import hub, orders
from flowlane.cluster.database import ConflictError, Transactions, delete, insert
from flowlane.core.events import PolicyReplaced
from flowlane.core.policy import PolicyOrigin
from flowlane.errors import DatabaseError, PolicyError
from flowlane.logs import Repeats
from flowlane.orders import Change, Order

if TYPE_CHECKING:
    from flowlane.cluster.database import Copy, Operation
    from flowlane.core.events import Event
    from flowlane.core.policy import Policy
    from flowlane.core.state.device import State
    from flowlane.southbound.ovsdb.remote import Target

_LOG = logging.getLogger(__name__)
_REPEATS = Repeats(_LOG)

WRITE_WITHIN = 3.0
"""Seconds for one try to write."""

LOOK = 1.0
"""Seconds between two comparisons with what is in force."""

SHOWN_WITHIN = 5.0
"""Seconds in which the copy shows what was written, unless another controller has written over it."""

_POLICY = ("policy", "")
_RETRY, _NEXT_LOOK = 0.2, 0.01


class Engine(Protocol):
    """What carries orders out."""

    @property
    def state(self) -> State:
        """The engine's state, for reading only."""

    def carry_out(self, event: Event) -> None:
        """Carry out an event that is not written again."""

    def compile_policy(self, text: str) -> Policy:
        """Compile a policy."""


class OrderStore:
    """The orders and the policy that controllers have in common.

    Args:
        shares_file: whether a policy from a file is written as well, for other controllers.

    Attributes:
        is_taken: whether what the database had at first is in force.
    """

    def __init__(self, target: Target, copy: Copy, engine: Engine, *, shares_file: bool = True) -> None:
        self.is_taken = False
        self._shares_file = shares_file
        self._copy, self._engine = copy, engine
        self._transactions = Transactions(target, WRITE_WITHIN)
        self._known: dict[orders.Key, Order] = {}
        """The orders that are in force here, or wait for their device."""
        self._pins_in_force: set[orders.Key] = set()
        self._pending: deque[Change] = deque()
        self._is_policy_due = False
        self._unseen: dict[orders.Key, float] = {}
        """Keys of what was written and the copy does not show yet -> until when it is waited for."""
        self._wake = hub.Flag()
        self._tasks: list[hub.Task] = []

    def start(self) -> None:
        """Begin to write, and to compare."""
        self._tasks = [hub.spawn(self._write_forever), hub.spawn(self._look_forever)]

    def stop(self) -> None:
        """Write what waits, if the database is there; then do nothing more."""
        for task in self._tasks:
            task.kill()
        try:
            while self._pending:
                self._transactions.transact(self._operations(self._pending.popleft()))
        except DatabaseError as error:
            _LOG.warning("an order was not written to the database: %s", error)
        self._transactions.close()

    def note(self, event: Event) -> None:
        """Note an event that REST gave and that has been carried out."""
        change = orders.change_of(event, self._engine.state, self._known.values(), time.time())
        if change.put or change.delete:
            for order in change.put:
                self._known[order.key] = order
            for key in change.delete:
                self._known.pop(key, None)
            self._pending.append(change)
            self._wake.set()

    # ---- the policy

    def keep_policy(self) -> bool:
        """Have the policy in force written; return whether the database has it, which is waited for a while."""
        self._is_policy_due = True
        self._wake.set()
        deadline = time.monotonic() + WRITE_WITHIN
        while self._is_policy_due and time.monotonic() < deadline:
            hub.sleep(_NEXT_LOOK)
        return not self._is_policy_due

    def has_policy(self, origin: PolicyOrigin) -> bool:
        """Whether the database has the policy of an origin."""
        return any(row["hash"] == origin.hash for row in self._copy.rows["Policy"].values())

    # ---- what others have written

    def changed(self, tables: frozenset[str]) -> None:
        """Take in changes of the copy."""
        if not self.is_taken or "Policy" in tables:
            self._take_policy()
        if not self.is_taken or "Order" in tables:
            self._take_orders()
        self.is_taken = True

    def _take_policy(self) -> None:
        in_force = self._engine.state.policy_origin
        if self._is_policy_due or not self._is_shown(_POLICY, self.has_policy(in_force)):
            return
        row = next(iter(self._copy.rows["Policy"].values()), None)
        is_ours_newer = not self.is_taken and in_force.source == "file"
        if row is None or (is_ours_newer and in_force.time > row["time"] and in_force.hash != row["hash"]):
            if not self.is_taken and in_force.source in (
                ("rest", "file") if self._shares_file else ("rest",)
            ):
                self._is_policy_due = True
                self._wake.set()
            return
        if row["hash"] == in_force.hash:
            return
        origin = PolicyOrigin(**{name: row[name] for name in PolicyOrigin._fields})
        try:
            policy = self._engine.compile_policy(row["text"])
        except PolicyError as error:
            _REPEATS.warning(("policy", origin.hash), "the policy of the database is refused: %s", error)
            return
        self._engine.carry_out(PolicyReplaced(policy, origin))
        _LOG.info("policy %s of the database is in force", origin.hash[:12])

    def _take_orders(self) -> None:
        rows = {order.key: order for order in map(_order, self._copy.rows["Order"].values())}
        waiting = {order.key for change in self._pending for order in change.put}
        waiting.update(key for change in self._pending for key in change.delete)
        for key in [key for key in self._unseen if key != _POLICY]:
            if not self._is_shown(key, rows.get(key) == self._known.get(key)):
                waiting.add(key)
        for key in self._known.keys() - rows.keys() - waiting:
            self._undo(self._known.pop(key))
        for key, order in rows.items():
            if key not in waiting and self._known.get(key) != order:
                self._known[key] = order
                self._put_in_force(order)

    def _is_shown(self, key: orders.Key, is_equal: bool) -> bool:
        """Whether the copy is as new as what was written here last, as far as one key is concerned."""
        if not is_equal and time.monotonic() < self._unseen.get(key, 0.0):
            return False
        self._unseen.pop(key, None)
        return True

    def _undo(self, order: Order) -> None:
        self._pins_in_force.discard(order.key)
        try:
            self._engine.carry_out(orders.undone(order))
        except orders.NOT_OURS as error:
            _REPEATS.warning(("row", order.key), "order %s of the database is ignored: %r", order.key, error)

    def _put_in_force(self, order: Order) -> None:
        wall = time.time()
        if orders.is_over(order, wall):
            return
        try:
            event = orders.missing(order, self._engine.state, wall)
            if event is not None:
                self._engine.carry_out(event)
        except orders.NOT_OURS as error:
            _REPEATS.warning(("row", order.key), "order %s of the database is ignored: %r", order.key, error)

    def _look_forever(self) -> None:
        while True:
            hub.sleep(LOOK)
            try:
                self._look()
            except Exception:
                _LOG.exception("the orders of the database were not compared")

    def _look(self) -> None:
        """Put in force what waited for its device; delete what has expired, and pins that the engine has ended."""
        if self._copy.is_synchronized and self.is_taken:
            self._take_policy()
            self._take_orders()
        wall, ended = time.time(), []
        for key, order in list(self._known.items()):
            if orders.is_over(order, wall):
                ended.append(key)
                continue
            if order.kind == orders.PIN:
                if self._is_in_force(order):
                    self._pins_in_force.add(key)
                elif key in self._pins_in_force:
                    ended.append(key)
                    continue
            self._put_in_force(order)
        for key in ended:
            del self._known[key]
            self._pins_in_force.discard(key)
        if ended:
            self._pending.append(Change((), tuple(ended)))
            self._wake.set()

    def _is_in_force(self, order: Order) -> bool:
        try:
            return orders.is_in_force(order, self._engine.state)
        except orders.NOT_OURS:
            return False

    # ---- writing

    def _write_forever(self) -> None:
        while True:
            self._wake.wait()
            while self._pending or self._is_policy_due:
                try:
                    self._write()
                except ConflictError as error:
                    _LOG.error("the database refuses an order: %s", error)
                    self._is_policy_due = False
                    self._pending.clear()
                except DatabaseError as error:
                    _REPEATS.warning("write", "an order is not written to the database yet: %s", error)
                    hub.sleep(_RETRY)

    def _write(self) -> None:
        until = time.monotonic() + SHOWN_WITHIN
        if self._pending:
            change = self._pending[0]
            self._transactions.transact(self._operations(change))
            self._unseen.update(dict.fromkeys((*change.delete, *(order.key for order in change.put)), until))
            self._pending.popleft()
        if self._is_policy_due:
            state = self._engine.state
            origin = state.policy_origin
            row = {**origin._asdict(), "text": state.policy.text}
            self._transactions.transact([delete("Policy", []), insert("Policy", row)])
            self._unseen[_POLICY] = until
            self._is_policy_due = self._engine.state.policy_origin != origin

    def _operations(self, change: Change) -> list[Operation]:
        keys = [*change.delete, *(order.key for order in change.put)]
        return [
            *(delete("Order", [["kind", "==", kind], ["name", "==", name]]) for kind, name in keys),
            *(insert("Order", order._asdict()) for order in change.put),
        ]


def _order(row: dict[str, Any]) -> Order:
    return Order(row["kind"], row["name"], row["content"], row["expires"])
