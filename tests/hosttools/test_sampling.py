"""Plans of the rows that send samples of packets to the controller."""

from __future__ import annotations

import pytest

from flowlane.errors import RequestError
from flowlane.hosttools.bridge_settings import BridgeSettings
from flowlane.hosttools.sampling import CollectorSet, plan, remove, target_of

BRIDGE = BridgeSettings("br0", "1", "system", "", (), (), {})
OURS = CollectorSet("u1", ("127.0.0.1:4739",), at_once=True, ours=True)


@pytest.mark.parametrize(
    ("given", "controller", "target"),
    [
        ("", "tcp:10.0.0.1:6653", "10.0.0.1:4739"),
        ("", "ssl:10.0.0.1", "10.0.0.1:4739"),
        ("", "tcp:[fd00::1]:6653", "[fd00::1]:4739"),
        ("", "unix:/run/flowlane.sock", "127.0.0.1:4739"),
        ("10.0.0.9:99", "tcp:controller", "10.0.0.9:99"),
    ],
)
def test_samples_go_to_the_controllers_address_or_where_they_are_sent(
    given: str, controller: str, target: str
) -> None:
    assert target_of(given, controller) == target


@pytest.mark.parametrize(
    ("given", "controller"), [("", "tcp:controller"), ("host:1", "tcp:1.1.1.1"), ("1", "")]
)
def test_a_target_that_is_no_address_is_refused(given: str, controller: str) -> None:
    with pytest.raises(RequestError, match="--sampling"):
        target_of(given, controller)


def test_rows_are_made_once_and_made_anew_where_they_differ() -> None:
    (made,) = plan(BRIDGE, None, "127.0.0.1:4739")
    assert "cache_max_flows=0" in made.command
    assert plan(BRIDGE, OURS, "127.0.0.1:4739") == []
    for present in (OURS._replace(at_once=False), OURS._replace(targets=("10.0.0.1:1",))):
        removed, again = plan(BRIDGE, present, "127.0.0.1:4739")
        assert removed.command[1:] == ("destroy", "Flow_Sample_Collector_Set", "u1")
        assert again == made


def test_rows_of_others_stay() -> None:
    others = OURS._replace(ours=False)
    assert remove(others) == remove(None) == []
    with pytest.raises(RequestError, match="not Flowlane's"):
        plan(BRIDGE, others, "127.0.0.1:4739")
