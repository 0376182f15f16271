"""What tests of several packages share."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from eventlet import patcher
from hypothesis import HealthCheck, settings
from lab.inside import private_ovs

from flowlane import hub

# eventlet's own DNS client takes a third of the time in which flowlane-manager starts, and tests start it often.
os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")

# Before any test imports os-ken: the hub that the product runs on, without patching the test process.
hub.prepare(patch=False)

# A deadline per example, and how long it takes to draw one, measure how busy the machine is, and not the code.
settings.register_profile("flowlane", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("flowlane")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Make temporary folders where they can be seen: a worker on a stage has a /tmp of its own (mininet/private)."""
    if "FLOWLANE_PRIVATE" in os.environ and hasattr(config, "workerinput"):
        config.option.basetemp = None


TIERS = ("ovs", "mininet", "page", "lab")
"""Tiers that a marker chooses; the tier unit has what no marker chooses."""

LONG = (
    "packaging/test_packages.py", "test_manager.py", "test_stdio.py", "test_site.py", "core/test_engine_properties.py",
    "core/allocate/test_properties.py", "test_rest.py", "cli/test_events.py", "northbound/http/test_tls.py",
    "bench/detection/test_detection.py", "bench/placement/test_delay.py", "core/classify/test_changes.py",
    "policy/test_loader.py", "test_architecture.py",
)  # fmt: skip
"""Files that take longest: they begin first, or one worker would be left with them at the end."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files alone in which nothing is of the tier: to import all takes each worker ten seconds."""
    if collection_path.suffix != ".py" or not collection_path.name.startswith("test_"):
        return None
    chosen = config.option.markexpr
    if chosen in TIERS:
        here = chosen in collection_path.parts or f"pytest.mark.{chosen}" in collection_path.read_text()
        return None if here else True
    if all(f"not {tier}" in chosen for tier in TIERS):
        wholly = re.compile(rf"^pytestmark = pytest\.mark\.({'|'.join(TIERS)})$", re.MULTILINE)
        return wholly.search(collection_path.read_text()) is not None or None
    return None


def pytest_collection_finish() -> None:
    """Refuse a test module that patches the process for green threads: workers of pytest-xdist would wait for ever."""
    if patcher.is_monkey_patched("thread"):
        raise pytest.UsageError(
            "a test module calls hub.prepare() as it is imported; run what it needs in a process"
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first."""
    order = {str(Path(__file__).parent / name): number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(str(item.path), len(order)))


@pytest.fixture(scope="module")
def ovs() -> Iterator[private_ovs.PrivateOvs]:
    """One private Open vSwitch for all tests of a module, without bridges; each test adds its own."""
    with private_ovs.running() as switch:
        yield switch


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that is its own authority, for both ends."""
    directory = tmp_path_factory.mktemp("keys")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=flowlane",
         "-keyout", directory / "key.pem", "-out", directory / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    return directory


# A run in the background has SIGINT ignored, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
