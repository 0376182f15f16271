from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from flowlane import policy as policies
from flowlane.cli.policy_file import read_bytes, read_policy
from flowlane.errors import ConfigError, PolicyError


def test_a_file_standard_input_or_the_built_in_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("version: 1\nclasses: {a: {}}\n")
    assert [item.name for item in read_policy(str(path)).classes] == ["default", "a"]
    assert read_policy(None) == policies.default()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    assert read_policy("-") == read_policy(str(path))


def test_the_bytes_are_not_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"version: 1 # \xff\r\n")
    assert read_bytes(str(path)) == path.read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff\r\n")))
    assert read_bytes("-") == b"\xff\r\n"


def test_what_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"policy file .*none\.yaml cannot be read: No such file"):
        read_policy(str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_policy(str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"version: 2")))
    with pytest.raises(PolicyError, match=r"^standard input:1"):
        read_policy("-")
    monkeypatch.setattr(sys, "stdin", None)
    for read in (read_policy, read_bytes):
        with pytest.raises(ConfigError, match="standard input is closed"):
            read("-")
