"""What the repository promises to a newcomer: its folders, its licence, its commands."""

from __future__ import annotations

import configparser
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "name",
    ["setup.cfg", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "app/flowlane", "topologies", "mininet",
     "tests", "docs/decisions", "run", ".ci/run", "packaging/deb", "packaging/systemd", "packaging/container",
     "CONTRIBUTING.md", "SECURITY.md", ".github/PULL_REQUEST_TEMPLATE.md", ".github/ISSUE_TEMPLATE/bug.md",
     ".pre-commit-config.yaml", ".editorconfig"],
)  # fmt: skip
def test_it_is_there(name: str) -> None:
    assert (ROOT / name).exists()


def test_pyproject_holds_only_the_build_system() -> None:
    assert set(tomllib.loads((ROOT / "pyproject.toml").read_text())) == {"build-system"}


def test_licence_is_what_the_metadata_say() -> None:
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    assert metadata["metadata"]["license"] == "Apache-2.0"
    assert (
        "Apache License\n                           Version 2.0, January 2004"
        in (ROOT / "LICENSE").read_text()
    )


def test_help_names_every_chore() -> None:
    shown = subprocess.run([ROOT / "run", "help"], cwd="/", check=True, capture_output=True, text=True).stdout
    for chore in ("demo", "test", "check", "setup", "lab", "deb"):
        assert f"\n  {chore} " in shown


def test_unknown_chore_is_refused() -> None:
    answer = subprocess.run([ROOT / "run", "dance"], cwd="/", check=False, capture_output=True, text=True)
    assert answer.returncode != 0
    assert "no chore named 'dance'" in answer.stderr


def shipped() -> dict[str, bytes]:
    """Every file of the repository and what is in it."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    return {name: (ROOT / name).read_bytes() for name in names}


def test_every_shell_script_is_checked() -> None:
    """``./run check`` gives each of them to shellcheck."""
    listed = subprocess.run(
        [
            "bash",
            "-c",
            'root=$PWD; . scripts/common.sh; . scripts/test.sh; printf "%s\\n" "${shell_scripts[@]}"',
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    shebang = re.compile(rb"#!\S*(/| )(ba|da|busybox )?sh\b")
    scripts = [name for name, text in shipped().items() if name.endswith(".sh") or shebang.match(text)]
    assert sorted(listed) == sorted(scripts)


def test_shipped_files_name_no_machine() -> None:
    """The path of somebody's checkout in a file that everybody gets is a mistake."""
    texts = shipped()
    assert [name for name, text in texts.items() if str(ROOT).encode() in text] == []
