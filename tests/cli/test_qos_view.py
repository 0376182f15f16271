from __future__ import annotations

import pytest

from flowlane.cli.qos_view import print_ports
from flowlane.core.model import QueueKind
from flowlane.southbound.findings import Finding, Level
from flowlane.southbound.ovsdb.inventory import PortEntry, QueueEntry


def test_names_that_look_like_markup_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    queue = QueueEntry(0, QueueKind.PHYSICAL, None, 10**9)
    port = PortEntry("[red]x", "br[/0]", "system", (), "linux-htb", 10**9, False, (queue,))
    print_ports([port], {"[red]x": []}, {"[red]x": [Finding(Level.WARNING, "[b]", "w[/]hat", "re[m]edy")]})
    text = capsys.readouterr().out
    for word in (
        "[red]x",
        "br[/0]",
        "linux-htb (not Flowlane's)",
        "1Gbit/s",
        "warning: [b]: w[/]hat",
        "re[m]edy",
    ):
        assert word in text
