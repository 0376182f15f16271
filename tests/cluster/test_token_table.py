"""Tokens on a real ovsdb-server: as the command line changes them, and as every controller sees them."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lab.inside.database_servers import DatabaseServers, database

from flowlane import hub, tokens
from flowlane.cli.main import main
from flowlane.cluster import schema
from flowlane.cluster.database import ConflictError, Copy, Transactions, delete, insert
from flowlane.cluster.token_table import SharedTokens, TokenTable
from flowlane.errors import DatabaseError
from flowlane.southbound.ovsdb.remote import read_target
from flowlane.tokens import Token

SECRET = "flowlane_secret"
BOB = Token("bob", tokens.hash_of(SECRET), ("hint:vm1", "read"), 1000.0, 2e10)


@pytest.fixture(scope="module")
def servers() -> Iterator[DatabaseServers]:
    with database() as started:
        yield started


@pytest.fixture
def empty(servers: DatabaseServers) -> DatabaseServers:
    transact(servers, delete("Token", []))
    return servers


def transact(servers: DatabaseServers, operation: Any) -> None:
    transactions = Transactions(read_target(servers.target), 5.0)
    transactions.transact([operation])
    transactions.close()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        hub.sleep(0.01)


class Member:
    """A controller as far as tokens are concerned."""

    def __init__(self, target: str) -> None:
        self.copy = Copy(read_target(target), self.changed)
        self.tokens = SharedTokens(self.copy)

    def changed(self, tables: frozenset[str]) -> None:
        self.tokens.changed(tables)


def test_a_token_counts_on_all_members_until_it_is_removed(
    empty: DatabaseServers, capsys: pytest.CaptureFixture[str]
) -> None:
    members = [Member(empty.target) for _ in range(2)]
    for member in members:
        assert member.tokens.is_in_use, "nobody is admitted before it is known which tokens there are"
        assert "Flowlane's database has the tokens: not connected yet" in member.tokens.problem
        member.copy.start()
    wait_for(lambda: not any(member.tokens.problem for member in members))
    assert [member.tokens.is_in_use for member in members] == [False, False]
    where = ("--database", empty.target)
    assert main(["token", "add", "alice", "--scope", "operate", "--expires", "12h", *where]) == 0
    out, err = capsys.readouterr()
    assert "alice may operate" in err
    secret = out.strip()
    wait_for(lambda: all(member.tokens.find(secret) is not None for member in members))
    assert [member.tokens.is_in_use for member in members] == [True, True]
    assert members[0].tokens.find(f"{secret}x") is None
    assert secret.removeprefix(tokens.PREFIX) not in empty.dump("Token")
    assert secret.encode() not in empty.file(0).read_bytes()
    assert main(["token", "add", "alice", "--scope", "read", *where]) == 1
    assert main(["token", "add", "bob", "--scope", "read", *where]) == 0
    assert main(["token", "list", "--json", *where]) == 0
    items = json.loads(capsys.readouterr().out.partition("\n")[2])["items"]
    assert [(item["name"], item["scopes"]) for item in items] == [("alice", ["operate"]), ("bob", ["read"])]
    assert main(["token", "remove", "alice", *where]) == 0
    wait_for(lambda: all(member.tokens.find(secret) is None for member in members))
    assert main(["token", "remove", "bob", *where]) == 1
    assert "bob is the last token of the database" in capsys.readouterr().err
    assert main(["token", "remove", "bob", "--admit-everybody", *where]) == 0
    wait_for(lambda: not any(member.tokens.is_in_use for member in members))
    for member in members:
        member.copy.stop()


def test_of_two_changes_at_once_one_is_refused(empty: DatabaseServers) -> None:
    tables = [TokenTable(read_target(empty.target)) for _ in range(2)]
    assert [table.load() for table in tables] == [(), ()]
    tables[0].change((), (BOB,))
    with pytest.raises(ConflictError, match="somebody else has changed the tokens meanwhile"):
        tables[1].change((), (BOB._replace(name="carl"),))
    assert tables[1].load() == (BOB,)
    for table in tables:
        table.close()


def test_a_row_that_is_no_token_admits_nobody_and_is_said(
    empty: DatabaseServers, caplog: pytest.LogCaptureFixture
) -> None:
    row = {**BOB._asdict(), "name": "eve", "hash": "plain"}
    transact(empty, insert("Token", row))
    table, member = TokenTable(read_target(empty.target)), Member(empty.target)
    member.copy.start()
    wait_for(lambda: not member.tokens.problem)
    assert member.tokens.is_in_use
    assert "the hash of token eve is not sha256" in caplog.text
    table.change(table.load(), (BOB,))
    wait_for(lambda: member.tokens.find(SECRET) == BOB)
    table.close()
    member.copy.stop()


def test_a_schema_of_an_earlier_version_has_no_tokens_and_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    new = tmp_path / "new"
    new.write_text(schema.text())
    tables = {name: table for name, table in schema.SCHEMA["tables"].items() if name != "Token"}
    with monkeypatch.context() as before:
        before.setattr(schema, "SCHEMA", {**schema.SCHEMA, "version": "1.0.0", "tables": tables})
        old = database()
        servers = old.__enter__()
    try:
        member = Member(servers.target)
        member.copy.start()
        wait_for(lambda: member.copy.is_synchronized)
        assert not member.tokens.is_in_use
        assert "has no table Token" in caplog.text
        table = TokenTable(read_target(servers.target))
        with pytest.raises(ConflictError, match="ovsdb-client convert"):
            table.load()
        table.close()
        subprocess.run(["ovsdb-client", "convert", servers.target, str(new)], check=True)
        wait_for(lambda: not member.copy.absent)
        member.copy.stop()
    finally:
        old.__exit__(None, None, None)
    with pytest.raises(DatabaseError, match=r"database unix:.* connection|No such file"):
        table.load()
