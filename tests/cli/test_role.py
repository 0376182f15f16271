"""``flowlane role``, against a controller of its own: the role changes what its ports are."""

from __future__ import annotations

import json

import pytest
from support.rest.server import running

from flowlane.cli import main as cli


def test_a_role_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    with running() as server:
        url = ("--url", server.url)
        assert cli.main(["role", "br-nic", "switch", *url]) == 0
        assert capsys.readouterr().out == "br-nic has role switch, by hand\n"
        assert cli.main(["role", "br-nic", "auto", "-o", "json", *url]) == 0
        assert json.loads(capsys.readouterr().out)["role_source"] != "rest"
        assert cli.main(["role", "br-nik", "nic", *url]) == 1
        assert "there is no device 'br-nik'; did you mean br-nic?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["role", "br-nic", "router"])
    assert "invalid choice: 'router'" in capsys.readouterr().err
