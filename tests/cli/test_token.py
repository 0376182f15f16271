from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowlane import tokens
from flowlane.cli import token as command
from flowlane.cli.main import main


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "tokens.json"
    monkeypatch.setenv("FLOWLANE_TOKENS", str(path))
    return path


def test_a_token_is_printed_alone(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "add", "alice", "--scope", "read", "--scope", "hint:vm 1", "--expires", "12h"]) == 0
    out, err = capsys.readouterr()
    found = tokens.find(tokens.load(file), out.strip(), 0.0)
    assert found is not None
    assert (found.name, found.scopes, found.hinted_vms) == ("alice", ("read", "hint:vm 1"), ("vm 1",))
    assert found.expires is not None
    assert found.expires - found.created == 12 * 3600
    assert out.strip() not in err
    assert "alice may read, hint:vm 1" in err


def test_tokens_are_listed_and_removed(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("alice", "bob"):
        assert main(["token", "add", name, "--scope", "operate"]) == 0
    capsys.readouterr()
    assert main(["token", "list", "--json"]) == 0
    items = json.loads(capsys.readouterr().out)["items"]
    assert [(item["name"], item["scopes"], item["expires"]) for item in items] == [
        ("alice", ["operate"], None),
        ("bob", ["operate"], None),
    ]
    assert main(["token", "list"]) == 0
    assert "NAME" in capsys.readouterr().out
    assert main(["token", "list", "-o", "name", "--sort-by", "name", "--reverse"]) == 0
    assert capsys.readouterr().out == "bob\nalice\n"
    assert main(["token", "remove", "alice"]) == 0
    assert [token.name for token in tokens.load(file)] == ["bob"]
    capsys.readouterr()
    assert main(["token", "remove", "bobby"]) == 1
    assert "has no token 'bobby'; did you mean bob?" in capsys.readouterr().err
    assert main(["token", "remove", "bob"]) == 0
    assert "REST admits nobody" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["add", "alice"], 2, "--scope"),
        (["add", "alice", "--scope", "write"], 2, "read, operate, or hint:VM"),
        (["add", "a b", "--scope", "read"], 2, "is no name"),
        (["add", "alice", "--scope", "read", "--expires", "0s"], 2, "duration"),
        (["add", "alice", "--scope", "read", "--expires", "999999999h"], 1, "at most 87600h"),
        (["list"], 1, "cannot be read: No such file"),
        (["list", "--tokens", "/none/tokens.json"], 1, "cannot be read: No such file"),
        (["add", "alice", "--scope", "read", "--tokens", "/none/tokens.json"], 1, "directory /none"),
    ],
)
def test_what_is_wrong_is_said(
    file: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, text: str
) -> None:
    try:
        assert main(["token", *words]) == code
    except SystemExit as end:
        assert end.code == code
    assert text in capsys.readouterr().err
    assert not file.exists()


def test_a_name_is_used_once(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["token", "add", "alice", "--scope", "read"]) == 0
    assert main(["token", "add", "alice", "--scope", "operate"]) == 1
    assert "there is a token alice already" in capsys.readouterr().err
    assert [token.scopes for token in tokens.load(file)] == [("read",)]


def test_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLOWLANE_TOKENS", raising=False)
    monkeypatch.setattr(command, "STATE_DIRECTORY", tmp_path / "none")
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    with pytest.raises(Exception, match="give --tokens FILE"):
        command._file(None)
    monkeypatch.setattr(command, "STATE_DIRECTORY", tmp_path)
    assert command._file(None) == tmp_path / "tokens.json"
    monkeypatch.setenv("STATE_DIRECTORY", "/a:/b")
    assert command._file(None) == Path("/a/tokens.json")
    monkeypatch.setenv("FLOWLANE_TOKENS", "/c")
    assert command._file(None) == Path("/c")
    assert command._file(Path("/d")) == Path("/d")
