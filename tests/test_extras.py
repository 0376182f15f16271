"""A missing package is named before any work begins."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from flowlane import extras
from flowlane.cli.main import main


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a package be missing."""
    found = find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == package else found(name))


ZSTD = bytes.fromhex("28b52ffd")
"""First bytes of a file that zstd has compressed (RFC 8878)."""


@pytest.mark.parametrize(("option", "package"), [("--plot", "matplotlib"), ("--pcap", "zstandard")])
@pytest.mark.parametrize("command", ["plan", "simulate"])
def test_a_missing_package_is_named_before_anything_is_read(
    command: str,
    option: str,
    package: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    without(package, monkeypatch)
    file = tmp_path / "file.png"
    file.write_bytes(ZSTD)
    source = ["--flows", "no-such-file.csv"] if option == "--plot" else []
    code = main([command, "no-such-policy.yaml", *source, option, str(file)])
    assert code == 2
    subject = option if option == "--plot" else f"{file}: zstd"
    assert capsys.readouterr().err == (
        f"flowlane: {subject} needs the Python package {package}, which is not installed; "
        "pip install 'flowlane[plan]' brings it\n"
    )


def test_in_the_debian_package_that_of_debian_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "prefix", extras.PACKAGED)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(extras, "SYSTEM_PACKAGES", str(tmp_path))
    monkeypatch.setitem(extras.EXTRAS, "flowlane_plots", "plan")
    with pytest.raises(extras.MissingPackageError, match="apt install python3-flowlane_plots brings it"):
        extras.require("--plot", "flowlane_plots")
    (tmp_path / "flowlane_plots.py").touch()
    extras.require("--plot", "flowlane_plots")
