from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowlane import tokens
from flowlane.errors import ConfigError
from flowlane.tokens import Token

SECRET = tokens.new_secret()
ALICE = Token("alice", tokens.hash_of(SECRET), ("operate",), 1.0)


def test_a_token_has_256_random_bits() -> None:
    made = {tokens.new_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(len(secret) == len("flowlane_") + 43 for secret in made)  # 256 bits in base64


def test_the_file_has_only_the_hash(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    tokens.save(file, [ALICE])
    assert SECRET not in file.read_text()
    assert SECRET.removeprefix("flowlane_") not in file.read_text()
    assert tokens.load(file) == (ALICE,)
    assert file.stat().st_mode & 0o007 == 0


def test_a_token_is_found_by_its_secret_until_it_expires() -> None:
    other = Token("bob", tokens.hash_of("flowlane_x"), ("read",), 1.0, expires=100.0)
    known = (other, ALICE)
    assert tokens.find(known, SECRET, 1e9) == ALICE
    assert tokens.find(known, "flowlane_x", 99.0) == other
    assert tokens.find(known, "flowlane_x", 100.0) is None
    assert tokens.find(known, SECRET[:-1], 1.0) is None
    assert tokens.find(known, "", 1.0) is None
    assert tokens.find(known, "\udcff", 1.0) is None


def test_every_token_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long a search takes must not say which token, or how much of it, is right."""
    compared: list[str] = []

    def compare(one: str, other: str) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    known = [ALICE._replace(name=f"t{n}") for n in range(5)]
    tokens.find(known, SECRET, 1.0)
    assert len(compared) == 5


@pytest.mark.parametrize("scope", ["read", "operate", "hint:vm1", "hint:ns/db", "hint:a b"])
def test_scopes(scope: str) -> None:
    assert tokens.check_scope(scope) == scope


@pytest.mark.parametrize("scope", ["", "write", "hint", "hint:", "read:vm1", "hint:a\nb", "Operate"])
def test_wrong_scopes(scope: str) -> None:
    with pytest.raises(ValueError, match="hint:VM"):
        tokens.check_scope(scope)


GOOD = {"name": "a", "hash": ALICE.hash, "scopes": ["read"], "created": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "an object with"),
        ('{"version": 2, "tokens": []}', "an object with"),
        ('{"version": 1}', "'tokens' is missing"),
        (json.dumps({"version": 1, "tokens": [{**GOOD, "scopes": ["all"]}]}), "hint:VM"),
        (json.dumps({"version": 1, "tokens": [{**GOOD, "scopes": []}]}), "no scopes"),
        (json.dumps({"version": 1, "tokens": [{**GOOD, "hash": "secret"}]}), "64 hexadecimal"),
        (json.dumps({"version": 1, "tokens": [{**GOOD, "name": "a\nb"}]}), "no name"),
        (json.dumps({"version": 1, "tokens": [5]}), "no such file"),
        (json.dumps({"version": 1, "tokens": [GOOD] * 1001}), "more than 1000"),
        ("[" * 100_000, "no such file"),
    ],
)
def test_what_is_no_file_of_tokens_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=reason):
        tokens.load(file)
