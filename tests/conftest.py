"""What tests of several packages share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import openvswitch
import pytest
from hypothesis import settings

from flowlane import hub

# Before any test imports os-ken: the hub that the product runs on, without patching the test process.
hub.prepare(patch=False)

# A deadline per example measures how busy the machine is, and not the code.
settings.register_profile("flowlane", deadline=None)
settings.load_profile("flowlane")


@pytest.fixture(scope="module")
def ovs() -> Iterator[openvswitch.PrivateOvs]:
    """One private Open vSwitch for all tests of a module, without bridges; each test adds its own."""
    with openvswitch.running() as switch:
        yield switch


# A run in the background has SIGINT ignored, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
