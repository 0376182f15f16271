"""What tests of several packages share."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
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
