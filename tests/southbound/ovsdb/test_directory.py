from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flowlane.southbound.ovsdb.directory import Directory, read_file
from flowlane.southbound.ovsdb.remote import Target, TlsFiles

if TYPE_CHECKING:
    from pathlib import Path

GLOBAL = TlsFiles("g.key", "g.crt", "g.ca")


def test_files_come_change_and_go(tmp_path: Path) -> None:
    directory = Directory(str(tmp_path), TlsFiles())
    assert not directory.read()
    (tmp_path / "host1").write_text("# the first\ntcp:10.0.0.1:6640\n")
    (tmp_path / ".host1.swp").write_text("x")
    assert directory.read()
    assert not directory.read()
    assert directory.files["host1"].target == Target("host1", ("tcp:10.0.0.1:6640",))
    (tmp_path / "host1").write_text("target: tcp:10.0.0.11:6640\n")
    (tmp_path / "host2").write_text("unix:/run/2.sock")
    assert directory.read()
    assert [(name, file.target and file.target.text) for name, file in directory.files.items()] == [
        ("host1", "tcp:10.0.0.11:6640"),
        ("host2", "unix:/run/2.sock"),
    ]
    (tmp_path / "host1").unlink()
    assert directory.read()
    assert list(directory.files) == ["host2"]


def test_a_directory_that_cannot_be_read_keeps_its_files(tmp_path: Path) -> None:
    place = tmp_path / "d"
    place.mkdir()
    (place / "h").write_text("tcp:h:1")
    directory = Directory(str(place), TlsFiles())
    directory.read()
    place.rename(tmp_path / "e")
    assert directory.read()
    assert "cannot be read" in directory.problem
    assert not directory.read()
    assert list(directory.files) == ["h"]
    (tmp_path / "e").rename(place)
    assert directory.read()
    assert directory.problem == ""


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "names no target"),
        ("nonsense", "ovsdb remote"),
        ("target: tcp:h:1\ncertifcate: x\n", "did you mean certificate?"),
        ("certificate: x\n", "names no target"),
        ("target: [a]\n", "its values are texts"),
        ("target: {\n", "host:"),
        ("- a\n- b\n", "neither a target nor a mapping"),
        ("tcp:a:1,tcp:b:1", "cluster:A,B,C"),
    ],
)
def test_a_file_that_names_no_target_says_why(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "host").write_text(text)
    read = read_file(tmp_path / "host", TlsFiles())
    assert read.target is None
    assert problem in read.problem
    assert str(tmp_path / "host") in read.problem


def test_files_of_tls_are_its_own_or_everybodys(tmp_path: Path) -> None:
    (tmp_path / "host").write_text("target: ssl:h:6640\nprivate-key: my.key\n")
    target = read_file(tmp_path / "host", GLOBAL).target
    assert target is not None
    assert target.tls == GLOBAL._replace(private_key="my.key")
    assert "needs a private key" in read_file(tmp_path / "host", TlsFiles()).problem
