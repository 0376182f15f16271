"""The committed bundle is what its sources give: ``npm ci`` and ``vite build`` make the same bytes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.page

ROOT = Path(__file__).parents[2]
SOURCES, BUNDLE = ROOT / "app" / "page", ROOT / "app" / "flowlane" / "northbound" / "static"
SECONDS = 300


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources in a place of their own, with the packages of the lock file."""
    folder = tmp_path_factory.mktemp("build") / "app" / "page"
    shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns("node_modules"))
    npm(folder, "ci", "--no-audit", "--no-fund")
    return folder


def npm(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["npm", *words], cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_bundle_is_built_from_its_sources(built: Path) -> None:
    npm(built, "run", "build")
    fresh, committed = contents(built.parent / "flowlane" / "northbound" / "static"), contents(BUNDLE)
    assert sorted(fresh) == sorted(committed)
    differing = [name for name in fresh if fresh[name] != committed[name]]
    assert differing == [], "run: cd app/page && npm ci && npm run build"


def test_its_types_agree(built: Path) -> None:
    npm(built, "run", "check")


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((SOURCES / "package-lock.json").read_text())
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []
    assert all(package.get("integrity") for name, package in lock["packages"].items() if name)
    assert not re.search(r"^\s*(//|registry)", (SOURCES / ".npmrc").read_text(), re.MULTILINE)
