from __future__ import annotations

import pytest

from flowlane.errors import ConfigError
from flowlane.southbound.ovsdb.remote import check_remote


@pytest.mark.parametrize(
    "remote", ["unix:/run/db.sock", "tcp:127.0.0.1:6640", "ssl:db.example:6640", "tcp:[::1]:6640"]
)
def test_the_remotes_of_ovs_are_taken(remote: str) -> None:
    assert check_remote(remote) == remote


@pytest.mark.parametrize(
    "remote",
    ["", "unix:", "tcp:", "tcp:host", "tcp::6640", "tcp:h:99999", "http://x", "ptcp:6640", "tcp:h:²"],
)
def test_other_remotes_are_refused(remote: str) -> None:
    with pytest.raises(ConfigError, match="ovsdb remote"):
        check_remote(remote)
