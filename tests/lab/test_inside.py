"""Boots one guest for each layout and runs the tests of guest/ in it: the kernel's counters are the judge there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
LAYOUTS = ("veth", "sriov")
TIMEOUT_S = 1500
"""For a machine that does other things as well; alone, a suite takes a fifth of it."""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_suite(layout: str, tmp_path: Path) -> None:
    """One guest for each layout; with two workers both run at once, each keeping one CPU busy."""
    out = Path(os.environ.get("FLOWLANE_LAB_OUT", tmp_path)) / layout
    out.mkdir(parents=True, exist_ok=True)
    boot = [str(ROOT / "lab/boot"), "--layout", layout, "--queues", "8", "--out", str(out)]
    command = [str(ROOT / "run"), "test-in-lab", "--junitxml=/run/lab/out/junit.xml"]
    with (out / "shown").open("wb") as shown:
        launcher = subprocess.Popen(
            [*boot, "--timeout", str(TIMEOUT_S), "--", *command], cwd=ROOT, stdout=shown, stderr=shown
        )
        try:
            status = launcher.wait(TIMEOUT_S + 600)
        finally:
            launcher.terminate()
            launcher.wait(60)
    assert status == 0, (out / "shown").read_text()[-9000:]
    suite = ElementTree.parse(out / "junit.xml").find("testsuite")
    assert suite is not None
    counts = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    assert counts["tests"] > 0
    assert {**counts, "tests": 0} == {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
