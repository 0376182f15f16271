from __future__ import annotations

import os
from pathlib import Path

import pytest

from flowlane import state_files


def test_a_new_file_is_for_its_owner_and_group(tmp_path: Path) -> None:
    file = tmp_path / "state"
    state_files.replace(file, b"one")
    assert file.read_bytes() == b"one"
    assert file.stat().st_mode & 0o777 == state_files.DEFAULT_MODE
    assert [item.name for item in tmp_path.iterdir()] == ["state"]


def test_a_file_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.write_bytes(b"one")
    file.chmod(0o604)
    state_files.replace(file, b"two")
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"two", 0o604)


def test_what_root_makes_belongs_to_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _fd, user, group: given.append((user, group)))
    state_files.replace(tmp_path / "state", b"one")
    directory = tmp_path.stat()
    assert given == [(directory.st_uid, directory.st_gid)]


def test_the_content_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    rename, sync = Path.replace, os.fsync

    def fsync(descriptor: int) -> None:
        steps.append("fsync")
        sync(descriptor)

    def replace(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    state_files.replace(tmp_path / "state", b"one")
    assert steps == ["fsync", "rename", "fsync"]


def test_after_a_failure_the_old_content_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "state"
    state_files.replace(file, b"one")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        state_files.replace(file, b"two")
    assert file.read_bytes() == b"one"
    assert [item.name for item in tmp_path.iterdir()] == ["state"]
