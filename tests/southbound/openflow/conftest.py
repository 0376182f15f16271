"""What tests of the OpenFlow side share."""

from __future__ import annotations

import pytest
from support.openflow.client import VERSIONS

from flowlane.southbound.openflow.osken import repairs


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """Each version of OpenFlow that Flowlane supports, with os-ken repaired as the app repairs it."""
    repairs.repair()
    return str(request.param)
