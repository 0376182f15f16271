"""Boots one guest for each layout and runs the tests of guest/ in it: the kernel's counters are the judge there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 1500
"""For a machine that does other things as well; alone, a suite takes a fifth of it."""


@pytest.mark.parametrize("layout", ["veth", "sriov"])
def test_suite(layout: str, tmp_path: Path) -> None:
    out = Path(os.environ.get("FLOWLANE_LAB_OUT", tmp_path)) / layout
    boot = [
        str(ROOT / "lab/boot"),
        "--layout",
        layout,
        "--queues",
        "8",
        "--out",
        str(out),
        "--timeout",
        str(TIMEOUT_S),
    ]
    command = [str(ROOT / "run"), "test-in-lab", "--junitxml=/run/lab/out/junit.xml"]
    done = subprocess.run(
        [*boot, "--", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S + 600,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    suite = ElementTree.parse(out / "junit.xml").find("testsuite")
    assert suite is not None
    counts = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    assert counts["tests"] > 0
    assert {**counts, "tests": 0} == {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
