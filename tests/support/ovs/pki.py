"""Authorities and certificates of ovs-pki, as docs/guides/tls.md makes them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


def authority(pki: Path, kind: str) -> Path:
    return pki / "pki" / f"{kind}ca" / "cacert.pem"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Authorities for controllers and switches, a certificate of each, and one that nobody has signed."""
    directory = tmp_path_factory.mktemp("pki")
    where = ("-d", str(directory / "pki"), "-l", str(directory / "log"))

    def ovs_pki(*words: str) -> None:
        subprocess.run(["ovs-pki", *where, *words], check=True, capture_output=True, cwd=directory)

    ovs_pki("init")
    ovs_pki("-u", "req+sign", "ctl", "controller")
    ovs_pki("-u", "req+sign", "host1", "switch")
    ovs_pki("-u", "req", "stranger")
    ovs_pki("-u", "self-sign", "stranger")
    return directory
