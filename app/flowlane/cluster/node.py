"""This controller's part in a cluster: the copy of the database, its membership, and what both have to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.cluster.database import Copy
from flowlane.cluster.membership import Membership
from flowlane.cluster.order_store import OrderStore

if TYPE_CHECKING:
    from flowlane.cluster.membership import About, MemberView
    from flowlane.cluster.order_store import Engine
    from flowlane.southbound.openflow.session.sessions import Sessions
    from flowlane.southbound.ovsdb.remote import Target


class Node:
    """One controller of several.

    Args:
        target: Flowlane's own database.
        about: what the others see.
        sessions: the devices that are connected.
        engine: carries out what others ordered.
    """

    def __init__(self, target: Target, about: About, sessions: Sessions, engine: Engine) -> None:
        self.target = target
        self._copy = Copy(target, self._changed)
        self.membership = Membership(target, self._copy, about, sessions, lambda: self.orders.is_taken)
        self.orders = OrderStore(target, self._copy, engine)
        sessions.share(self.membership)

    @property
    def problem(self) -> str:
        """What is wrong with the database; empty for nothing."""
        return "" if self._copy.is_synchronized else self._copy.problem

    def start(self) -> None:
        """Follow the database, and join the other controllers."""
        self._copy.start()
        self.membership.start()
        self.orders.start()

    def stop(self) -> None:
        """Hand the devices over, and leave."""
        self.membership.leave()
        self.orders.stop()
        self._copy.stop()

    def members(self) -> list[MemberView]:
        """List the members by name."""
        return self.membership.views()

    def _changed(self, tables: frozenset[str]) -> None:
        self.orders.changed(tables)
        self.membership.changed(tables)
