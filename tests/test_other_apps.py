"""What is said of os-ken apps that run beside Flowlane."""

from __future__ import annotations

from typing import Any

import pytest
from support.apps.ryu_style_app import RyuStyle

from flowlane import other_apps
from flowlane.app import Flowlane
from flowlane.errors import ConfigError


def an_app(*versions: int, base: type[Any] = object) -> type[Any]:
    return type("App", (base,), {"OFP_VERSIONS": versions or None})


def said(caplog: pytest.LogCaptureFixture, **apps: type[Any]) -> list[str]:
    caplog.clear()
    other_apps.check({"flowlane.app": Flowlane, **apps})
    return caplog.messages


def test_an_app_of_few_versions_is_named_with_what_flowlane_loses(caplog: pytest.LogCaptureFixture) -> None:
    (text,) = said(caplog, old=an_app(4))
    assert text.startswith(
        "app old supports OpenFlow 1.3 only: every switch is used by a version that all apps"
    )
    assert "Flowlane does without 1.4, 1.5" in text
    assert said(caplog, new=an_app(4, 5, 6), any=an_app()) == []


def test_an_app_that_takes_packets_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    (versions, packets) = said(caplog, learning=RyuStyle)
    assert "does without 1.4" in versions
    assert "app learning handles packet-ins: Flowlane has switches send copies of packets" in packets


def test_apps_without_flowlane_are_none_of_our_business(caplog: pytest.LogCaptureFixture) -> None:
    other_apps.check({"old": an_app(4), "learning": RyuStyle})
    assert caplog.messages == []


def test_apps_without_a_version_in_common_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"no OpenFlow version in common \(flowlane.app: 1.3, 1.4, 1.5; old: 1.0\)"
    ):
        other_apps.check({"flowlane.app": Flowlane, "old": an_app(1)})
