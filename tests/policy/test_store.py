from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from flowlane import policy
from flowlane.core.policy import PolicyOrigin
from flowlane.errors import ConfigError, PolicyError
from flowlane.policy import store

TEXT = "version: 1\nclasses: {a: {}}\ndefault: a\n"
OTHER = "version: 1\nclasses: {b: {}}\ndefault: b\n"
BY_REST = PolicyOrigin("rest", store.hash_of(TEXT), 1000.0, "alice", "10.0.0.5")


def default_class(kept: store.Kept) -> str:
    return kept.policy.classes[0].name


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(OTHER)
    return path


def test_the_hash_is_what_sha256sum_prints() -> None:
    assert (
        store.hash_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # FIPS 180-2, B.1


def test_a_policy_of_rest_survives(tmp_path: Path) -> None:
    store.save(tmp_path, policy.load(TEXT), BY_REST)
    assert store.at_start(tmp_path, None, 5.0) == store.Kept(policy.load(TEXT), BY_REST)


def test_without_anything_it_is_the_built_in_one(tmp_path: Path) -> None:
    for directory in (None, tmp_path, tmp_path / "none"):
        kept = store.at_start(directory, None, 5.0)
        assert kept.policy == policy.default()
        assert kept.origin == PolicyOrigin("built-in", store.hash_of(policy.default_text()), 5.0)


def test_of_a_file_and_a_kept_policy_the_newer_is_in_force(
    tmp_path: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.save(tmp_path, policy.load(TEXT), BY_REST)
    os.utime(file, (999, 999))
    assert store.at_start(tmp_path, file, 5.0).origin == BY_REST
    assert "is not used: it is older than the one that alice from 10.0.0.5 put in force" in caplog.text
    caplog.clear()
    os.utime(file, (1001, 1001))
    kept = store.at_start(tmp_path, file, 5.0)
    assert (default_class(kept), kept.origin.source, kept.origin.time) == ("b", "file", 1001.0)
    assert kept.origin.file == str(file)
    assert "is newer than the one that alice from 10.0.0.5 put in force" in caplog.text


def test_the_same_text_is_that_of_the_file(
    tmp_path: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store.save(tmp_path, policy.load(OTHER), BY_REST._replace(hash=store.hash_of(OTHER)))
    os.utime(file, (999, 999))
    assert store.at_start(tmp_path, file, 5.0).origin.source == "file"
    assert caplog.text == ""


def damaged(**changes: object) -> str:
    data: dict[str, object] = {"version": 1, **BY_REST._asdict(), "text": TEXT}
    return json.dumps({**data, **changes})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (damaged()[:50].encode(), "Unterminated|Expecting"),
        (b"\xff\xfe", "utf-8"),
        (b"[]", "an object with"),
        (damaged(version=2).encode(), "an object with"),
        (damaged(text=5).encode(), "an object with"),
        (damaged(text=OTHER).encode(), "not that of the text"),
        (damaged(time="late").encode(), "could not convert"),
        (damaged(text="nonsense: 1", hash=store.hash_of("nonsense: 1")).encode(), "nonsense"),
    ],
)
def test_a_damaged_policy_is_a_warning_and_is_put_aside(
    tmp_path: Path, file: Path, caplog: pytest.LogCaptureFixture, content: bytes, reason: str
) -> None:
    path = tmp_path / store.FILE_NAME
    path.write_bytes(content)
    assert default_class(store.at_start(tmp_path, file, 5.0)) == "b"
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    caplog_text = record.getMessage()
    assert "cannot be used" in caplog_text
    assert any(part in caplog_text for part in reason.split("|")), caplog_text
    assert not path.exists()
    assert path.with_name("policy.json.refused").read_bytes() == content


def test_a_policy_that_cannot_be_read_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / store.FILE_NAME).mkdir()
    assert store.at_start(tmp_path, None, 5.0).origin.source == "built-in"
    assert "cannot be read: Is a directory" in caplog.text


def test_the_file_given_at_start_has_to_be_right(tmp_path: Path, file: Path) -> None:
    store.save(tmp_path, policy.load(TEXT), BY_REST)
    file.write_text("clases: {}")
    with pytest.raises(PolicyError, match="clases"):
        store.at_start(tmp_path, file, 5.0)
    with pytest.raises(ConfigError, match="cannot be read"):
        store.at_start(tmp_path, tmp_path / "none.yaml", 5.0)
