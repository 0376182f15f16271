"""Two kinds of tests live here: those that boot a guest, and (in guest/) those that run inside one."""

from __future__ import annotations

import os

import pytest
from lab.launcher.cache import cache_folder
from lab.launcher.main import SCRIPTS
from lab.launcher.software import prepare

INSIDE = os.environ.get("FLOWLANE_LAB") == "1"

collect_ignore_glob = ["test_*.py"] if INSIDE else ["guest/*"]


@pytest.fixture(scope="session")
def lab_software() -> None:
    """Fetch QEMU, the kernel and the guest's tools, so that the first boot is as quick and quiet as the others."""
    prepare(cache_folder(), SCRIPTS, refresh=False, say=print)


@pytest.fixture(autouse=True)
def everything_to_boot_with(request: pytest.FixtureRequest) -> None:
    if not INSIDE and request.node.get_closest_marker("lab"):
        request.getfixturevalue("lab_software")
