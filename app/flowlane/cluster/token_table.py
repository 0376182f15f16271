"""Tokens of REST in the database that controllers share: what admits requests, and what ``flowlane token`` changes.

A row has what a line of the file of tokens has (:mod:`flowlane.tokens`): the SHA-256 of a token, never the token. A
token counts on every controller from the moment its row is there.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from flowlane import tokens
from flowlane.cluster import schema
from flowlane.cluster.database import ConflictError, Transactions, delete, insert, only_if_names, select
from flowlane.errors import DatabaseError
from flowlane.logs import Repeats
from flowlane.tokens import Token

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from flowlane.cluster.database import Copy
    from flowlane.southbound.ovsdb.remote import Target

_LOG = logging.getLogger(__name__)
_REPEATS = Repeats(_LOG)

WITHIN = 5.0
"""Seconds for one transaction of a command."""

TABLE = "Token"


def read(rows: Iterable[Mapping[str, Any]]) -> tuple[Token, ...]:
    """Read the tokens of rows, by name; one that is none is left out, and the log says so."""
    found = []
    for row in rows:
        try:
            found.append(tokens.read_token({**row, "scopes": sorted(row["scopes"])}))
        except (ValueError, KeyError, TypeError) as error:
            _REPEATS.warning(
                ("row", str(row.get("name"))), "a token of Flowlane's database does not count: %s", error
            )
    return tuple(sorted(found))


class SharedTokens:
    """The tokens of the copy of the database, for the checks of REST.

    Until the first copy has come nobody knows which tokens there are, so nobody is admitted by them. Afterwards the
    last copy counts while the database is away.
    """

    def __init__(self, copy: Copy) -> None:
        self._copy = copy
        self._tokens: tuple[Token, ...] = ()
        self._is_taken = False

    def changed(self, tables: frozenset[str]) -> None:
        """Take in changes of the copy."""
        if not self._is_taken or TABLE in tables:
            before = len(self._tokens) if self._is_taken else None
            self._tokens = read(self._copy.rows[TABLE].values())
            self._is_taken = True
            if self._copy.rows[TABLE] and len(self._tokens) != before:
                _LOG.info("REST needs a token of Flowlane's database, which has %d", len(self._tokens))
            elif not self._copy.rows[TABLE] and before != 0:
                _LOG.info(
                    "Flowlane's database has no token: without a file of tokens everybody who reaches REST may do "
                    "everything (flowlane token add NAME --scope SCOPE --database TARGET)"
                )

    @property
    def problem(self) -> str:
        """Why it is not known which tokens there are; empty once it is."""
        return "" if self._is_taken else f"Flowlane's database has the tokens: {self._copy.problem}"

    @property
    def is_in_use(self) -> bool:
        """Whether requests need a token: also where no row is one."""
        return not self._is_taken or bool(self._copy.rows[TABLE])

    def find(self, secret: str) -> Token | None:
        """Find a token that counts now."""
        return tokens.find(self._tokens, secret, time.time())


class TokenTable:
    """The tokens of the database, for one command.

    Args:
        target: the database.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._transactions = Transactions(target, WITHIN)
        self._names: list[str] = []
        """Of all rows that were read, those included that are no tokens."""

    def load(self) -> tuple[Token, ...]:
        """Read the tokens, by name.

        Raises:
            DatabaseError: the database cannot be reached, or has no such table.
        """
        for _ in self._target.remotes:
            try:
                rows = self._transact(select(TABLE))[0]["rows"]
                self._names = [str(row["name"]) for row in rows]
                return read(schema.from_json(TABLE, row) for row in rows)
            except ConflictError:
                raise
            except DatabaseError as error:
                problem = error
        raise problem

    def change(self, before: Sequence[Token], after: Sequence[Token]) -> None:
        """Replace tokens, unless somebody else has added or removed one since they were read.

        Args:
            before: what :meth:`load` has returned.

        Raises:
            DatabaseError: nothing was changed, or the database did not reply.
        """
        gone = [token for token in before if token not in after]
        self._transact(
            only_if_names(TABLE, self._names),
            *(delete(TABLE, [["name", "==", token.name]]) for token in gone),
            *(insert(TABLE, token._asdict()) for token in after if token not in before),
        )

    def close(self) -> None:
        """Close the connection."""
        self._transactions.close()

    def _transact(self, *operations: Any) -> list[Any]:
        try:
            return self._transactions.transact(operations)
        except ConflictError as error:
            text = str(error)
            if text.startswith("timed out"):
                text = "somebody else has changed the tokens meanwhile; try again"
            elif f"No table named {TABLE}" in text:
                text = "its schema is of an earlier version of Flowlane; ovsdb-client convert mends it"
            raise ConflictError(f"database {self._target.name}: {text}") from error
        except DatabaseError as error:
            raise DatabaseError(f"database {self._target.name}: {error}") from error
