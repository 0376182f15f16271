"""Access to REST, with a controller as a process: who can reach it, tokens, and the policy after a restart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
from pathlib import Path

import pytest
from lab.inside.manager import launched

from flowlane.composition import Composition
from flowlane.options import RestSettings, Settings

POLICY = b"version: 1\nclasses: {kept: {}}\ndefault: kept\n"
SETTINGS = Settings("127.0.0.1", 0, (), None)


def flowlane(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flowlane.cli.main", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **variables}, check=False
    )


def test_tokens_and_the_policy_survive_a_restart(tmp_path: Path) -> None:
    state, file = tmp_path / "state", tmp_path / "policy.yaml"
    file.write_text("version: 1\nclasses: {given: {}}\ndefault: given\n")
    os.utime(file, (1000, 1000))
    (tmp_path / "new.yaml").write_bytes(POLICY)
    options = f"--state-dir={state}", f"--policy={file}"
    with launched(*options) as manager:
        url = f"http://127.0.0.1:{manager.rest_port}"
        assert "for this machine only; no token is needed" in manager.log
        assert manager.rest("/v1/policy")["origin"]["source"] == "file"
        made = flowlane("token", "add", "alice", "--scope", "operate", "--tokens", f"{state}/tokens.json")
        secret = made.stdout.strip()
        assert not [item for item in state.iterdir() if secret.encode() in item.read_bytes()]
        refused = flowlane("policy", "replace", str(tmp_path / "new.yaml"), "--url", url)
        assert (refused.returncode, "a token is needed" in refused.stderr) == (1, True)
        assert "flowlane token add makes one" in refused.stderr
        (tmp_path / "secret").write_text(f"{secret}\n")
        words = ("policy", "replace", str(tmp_path / "new.yaml"), "--url", url)
        assert flowlane(*words, "--token-file", str(tmp_path / "secret")).returncode == 0
        assert "the policy was replaced by alice from 127.0.0.1: rest" in manager.log
    with launched(*options) as manager:
        url = f"http://127.0.0.1:{manager.rest_port}"
        assert "a token is needed" in manager.log
        assert "is not used: it is older than the one that alice from 127.0.0.1 put in force" in manager.log
        shown = flowlane("policy", "show", "--json", "--url", url, FLOWLANE_TOKEN=secret)
        view = json.loads(shown.stdout)
        assert view["text"].encode() == POLICY
        assert (view["origin"]["by"], view["origin"]["kept"]) == ("alice", True)
        assert view["hash"][:12] in manager.log
        assert flowlane("status", "--url", url, FLOWLANE_TOKEN="wrong").returncode == 1
        with pytest.raises(urllib.error.HTTPError, match="401"):
            manager.rest("/v1/status")


def announced(settings: Settings, caplog: pytest.LogCaptureFixture) -> str:
    caplog.clear()
    caplog.set_level("INFO")
    made = Composition(settings)
    made.start()
    made.stop()
    return caplog.text


def test_it_is_said_who_can_reach_rest(caplog: pytest.LogCaptureFixture, keys: Path, tmp_path: Path) -> None:
    text = announced(SETTINGS, caplog)
    assert "REST on http://127.0.0.1:" in text
    assert "for this machine only; no token is needed" in text
    assert "WARNING" not in text
    everywhere = SETTINGS._replace(wsapi_host="0.0.0.0")
    text = announced(everywhere, caplog)
    assert "everybody who reaches 0.0.0.0 port" in text
    assert "can be read on the way; give --rest-cert" in text
    files = str(keys / "cert.pem"), str(keys / "key.pem"), None
    text = announced(everywhere._replace(rest=RestSettings(files, (), tmp_path / "tokens.json")), caplog)
    assert "REST on https://0.0.0.0:" in text
    assert "a token is needed" in text
    assert "there is no file of tokens" in text
    assert "REST: everybody" not in text
