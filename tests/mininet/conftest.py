"""Fixtures of the tests with real hosts and packets."""

from __future__ import annotations

import fcntl
from typing import TYPE_CHECKING

import pytest
from support.hosts.network import ROOT, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.hosts.network import Controller, Network

ALL_VERSIONS = "OpenFlow13,OpenFlow14,OpenFlow15"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever stands in this folder is of the tier mininet."""
    for item in items:
        if item.path.parent.name == "mininet":
            item.add_marker(pytest.mark.mininet)


@pytest.fixture
def host_of_eight(tmp_path: Path) -> Iterator[tuple[Network, Controller]]:
    """8 VMs, an uplink with 4 queues, a remote end, and a controller that drives it."""
    with running(tmp_path, "single-host.yaml", (0, 1, 2, 3), ALL_VERSIONS) as parts:
        yield parts


@pytest.fixture
def small(tmp_path: Path) -> Iterator[tuple[Network, Controller]]:
    """2 VMs, an uplink with 2 queues, a remote end, and a controller that drives it."""
    with running(tmp_path, "small.yaml", (0, 1), ALL_VERSIONS) as parts:
        yield parts


@pytest.fixture
def no_other_demo() -> Iterator[None]:
    """Hold back other workers' demos: a checkout runs one, and ends one that was kept when the next begins."""
    folder = ROOT / ".run"
    folder.mkdir(exist_ok=True)
    with (folder / "demo-of-tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
