from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from scripts import audit

ROOT = Path(__file__).parents[2]
VULNERABLE: dict[str, Any] = {
    "name": "webob",
    "version": "1.8.7",
    "vulns": [{"id": "PYSEC-2024-188", "aliases": ["CVE-2024-42353"], "fix_versions": ["1.8.8"]}],
}
FINE = {"name": "rich", "version": "14.0", "vulns": []}
SKIPPED = {"name": "ovs", "skip_reason": "Dependency not found on PyPI"}


def test_what_the_package_needs_is_audited_and_not_what_its_tests_need() -> None:
    names = audit.installed("flowlane")
    assert {"os-ken", "eventlet", "webob", "pyyaml", "urllib3", "greenlet"} <= names.keys()
    assert names.keys().isdisjoint({"pytest", "flowlane", "atheris"})


def test_a_vulnerability_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = audit.read({"dependencies": [VULNERABLE, FINE, SKIPPED]})
    assert audit.summary(found) == [
        "webob 1.8.7: PYSEC-2024-188, fixed in 1.8.8",
        "2 packages audited; 1 could not be audited: 1 vulnerabilities",
    ]
    monkeypatch.setattr(audit, "ACCEPTED", {"CVE-2024-42353": "why"})
    assert audit.read({"dependencies": [VULNERABLE, FINE]}) == (2, 0, ())


def test_without_advisories_it_says_so_and_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_network(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 1, stdout="", stderr="ConnectionError")

    monkeypatch.setattr(subprocess, "run", no_network)
    assert audit.main() == 0
    assert capsys.readouterr().out.startswith("NOT AUDITED: none of ")


def test_what_is_accepted_is_written_down() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    assert [name for name in audit.ACCEPTED if name not in text] == []
