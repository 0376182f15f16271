"""Boots one guest for each layout and runs the tests of guest/ in it: the kernel's counters are the judge there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
LAYOUTS = ("veth", "sriov")
ALONE = ROOT / ".run" / "alone"
"""Tests that passed only when they were run alone, for ``./run test`` to show."""
TIMEOUT_S = 1500
"""For a machine that does other things as well; alone, a suite takes a fifth of it."""


class Suite(NamedTuple):
    """A guest that runs the tests: its launcher, and the folder that it leaves its results in."""

    launcher: subprocess.Popen[bytes]
    out: Path


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Suite]]:
    """All guests at once: each keeps one CPU busy, and most machines have two."""
    base = Path(os.environ.get("FLOWLANE_LAB_OUT", tmp_path_factory.mktemp("lab")))
    started = {layout: start(layout, base / layout) for layout in LAYOUTS}
    yield started
    for suite in started.values():
        suite.launcher.terminate()
    for suite in started.values():
        suite.launcher.wait(60)


def start(layout: str, out: Path) -> Suite:
    out.mkdir(parents=True, exist_ok=True)
    boot = [str(ROOT / "lab/boot"), "--layout", layout, "--queues", "8", "--out", str(out)]
    command = [
        *("env", "LAB_ONCE_MORE=yes"),
        *(str(ROOT / "run"), "test-in-lab", "--junitxml=/run/lab/out/junit.xml"),
    ]
    with (out / "shown").open("wb") as shown:
        return Suite(
            subprocess.Popen(
                [*boot, "--timeout", str(TIMEOUT_S), "--", *command], cwd=ROOT, stdout=shown, stderr=shown
            ),
            out,
        )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_suite(layout: str, suites: dict[str, Suite]) -> None:
    launcher, out = suites[layout]
    assert launcher.wait(TIMEOUT_S + 600) == 0, (out / "shown").read_text()[-9000:]
    passed_alone = out / "alone"
    if passed_alone.exists():
        with ALONE.open("a") as file:
            file.write(passed_alone.read_text().replace("\n", f" in the lab ({layout})\n"))
    suite = ElementTree.parse(out / "junit.xml").find("testsuite")
    assert suite is not None
    counts = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    assert counts["tests"] > 0
    assert {**counts, "tests": 0} == {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
