"""This controller's part in a cluster: the copy of the database, its membership, and what both have to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.cluster.alone import Alone
from flowlane.cluster.database import Copy
from flowlane.cluster.embedded import EMBEDDED, EmbeddedServer
from flowlane.cluster.membership import Membership
from flowlane.cluster.order_store import OrderStore
from flowlane.cluster.token_table import SharedTokens
from flowlane.errors import ConfigError
from flowlane.southbound.ovsdb.remote import read_target

if TYPE_CHECKING:
    from pathlib import Path

    from flowlane.cluster.membership import About, MemberView
    from flowlane.cluster.order_store import Engine
    from flowlane.southbound.openflow.session.sessions import Sessions
    from flowlane.southbound.ovsdb.remote import TlsFiles


class Node:
    """One controller with a database of Flowlane's own: alone with an embedded one, or one of several.

    Args:
        database: the value of ``--database``.
        directory: the state directory.
        tls: files for ``ssl:``.
        about: what the others see.
        sessions: the devices that are connected.
        engine: carries out what others ordered.

    Raises:
        ConfigError: the target is malformed; an embedded database has no directory, or no ovsdb-server.
    """

    def __init__(
        self,
        database: str,
        directory: Path | None,
        tls: TlsFiles,
        about: About,
        sessions: Sessions,
        engine: Engine,
    ) -> None:
        self._server: EmbeddedServer | None = None
        self.membership: Membership | None = None
        self._alone: Alone | None = None
        if database == EMBEDDED:
            if directory is None:
                raise ConfigError("--database embedded needs --state-dir, where the database is")
            self._server = EmbeddedServer(directory)
            database = self._server.target
        target = read_target(database, tls=tls)
        if target.is_passive:
            raise ConfigError(f"--database {database}: a controller connects to it; give unix:, tcp: or ssl:")
        self._copy = Copy(target, self._changed)
        self.tokens = None if self._server is not None else SharedTokens(self._copy)
        """The tokens that count on all controllers; None: this controller is alone, and has its file."""
        self.orders = OrderStore(target, self._copy, engine, shares_file=self._server is None)
        if self._server is not None:
            self._alone = Alone(sessions)
            sessions.share(self._alone, asks_for_roles=False)
        else:
            self.membership = Membership(target, self._copy, about, sessions, lambda: self.orders.is_taken)
            sessions.share(self.membership)

    @property
    def problem(self) -> str:
        """What is wrong with the database, or with this controller as a member; empty for nothing."""
        if self._copy.problem:
            return f"Flowlane's database: {self._copy.problem}"
        if self.membership is not None and not self.membership.has_lease:
            return "Flowlane's database commits nothing: this controller stands by"
        return ""

    def start(self) -> None:
        """Follow the database, and join the other controllers.

        Raises:
            ConfigError: an embedded database cannot be used.
        """
        if self._server is not None:
            self._server.start()
        self._copy.start()
        self.orders.start()
        if self._alone is not None:
            self._alone.start()
        if self.membership is not None:
            self.membership.start()

    def stop(self) -> None:
        """Hand the devices over, and leave."""
        if self.membership is not None:
            self.membership.leave()
        if self._alone is not None:
            self._alone.stop()
        self.orders.stop()
        self._copy.stop()
        if self._server is not None:
            self._server.stop()

    def note_file(self) -> None:
        """Note that a policy was read from its file and put in force."""
        if self.membership is not None:
            self.orders.keep_policy()

    def members(self) -> list[MemberView]:
        """List the members by name; none where this controller is alone."""
        return [] if self.membership is None else self.membership.views()

    def leader_of(self, dpid: int) -> MemberView | None:
        """Return the other member that leads a device; None: this one does, or none."""
        return None if self.membership is None else self.membership.leader_of(dpid)

    def _changed(self, tables: frozenset[str]) -> None:
        if self.tokens is not None:
            self.tokens.changed(tables)
        self.orders.changed(tables)
        if self._alone is not None:
            self._alone.begin()
        if self.membership is not None:
            self.membership.changed(tables)
