"""While the database is away nothing that stands in a switch changes, whether the controller is restarted or not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.inside import private_ovs
from lab.inside.manager import launched
from lab.inside.namespaces import network_of_its_own
from lab.inside.private_ovs import PrivateOvs
from support.ovs.hosts import Host, host
from support.ovs.standing import Standing, settled, standing

pytestmark = pytest.mark.ovs

BRIDGE, DPID, VM, UPLINK = "flw-away", 0x72, "flw-vm", "flw-up"
MAC, OTHER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
POLICY = """
version: 1
port-security: strict
classes: {slow: {limit: 2Mbit/s, limit-scope: vm}}
rules: [{name: slow, match: {vm: vm1, protocol: udp}, class: slow}]
"""


@pytest.fixture(scope="module")
def taps() -> Iterator[PrivateOvs]:
    with network_of_its_own(), private_ovs.running(system=True) as switch:
        yield switch


class Remote:
    """A socket of the database for the controller alone: without a database Open vSwitch serves no controller."""

    def __init__(self, ovs: PrivateOvs) -> None:
        self._ovs, self.path = ovs, ovs.directory / "controller.sock"

    @property
    def target(self) -> str:
        return f"unix:{self.path}"

    def open(self) -> None:
        self._ovs.database_control("ovsdb-server/add-remote", f"p{self.target}")

    def close(self) -> None:
        self._ovs.database_control("ovsdb-server/remove-remote", f"p{self.target}")


@pytest.fixture
def remote(taps: PrivateOvs) -> Iterator[Remote]:
    made = Remote(taps)
    made.open()
    yield made
    made.close()


@pytest.fixture
def running(taps: PrivateOvs, remote: Remote, tmp_path: Path) -> Iterator[Host]:
    with host(taps, tmp_path, POLICY, ovsdb=remote.target) as made:
        made.vm_and_uplink(BRIDGE, DPID, VM, UPLINK)
        set_address(taps, MAC)
        taps.set_queues(UPLINK, {number: {} for number in range(4)})
        of_mac = f"dl_src={MAC}"
        made.wait(lambda: of_mac in str(standing(taps, BRIDGE)), "the VM is not known")
        made.wait(lambda: all(len(part) > 1 for part in standing(taps, BRIDGE)), "no groups, no meters")
        yield made


def set_address(ovs: PrivateOvs, mac: str) -> None:
    """Write the address of the VM to the database."""
    ovs.vsctl("set", "Interface", VM, f'external_ids:attached-mac="{mac}"')


def device(running: Host) -> dict[str, object]:
    items = running.rest("/v1/devices")["items"]
    return dict(items[0]) if items else {"waits_for": "a connection", "connected": False}


def stays(running: Host, before: Standing, seconds: float) -> None:
    """Watch that nothing changes for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert standing(running.ovs, BRIDGE) == before
        time.sleep(0.2)


def test_a_controller_that_restarts_while_the_database_is_away_changes_nothing(
    running: Host, remote: Remote
) -> None:
    before = settled(running.ovs, BRIDGE)
    running.manager.process.kill()
    running.manager.process.wait()
    remote.close()
    with launched(*running.options, f"--ofp-tcp-listen-port={running.port}") as running.manager:
        running.wait(lambda: device(running)["waits_for"] == "database", "it does not wait", 30)
        assert not device(running)["connected"]
        status = running.rest("/v1/status")
        assert (status["devices"]["waiting"], status["ready"]) == (1, False)
        stays(running, before, 2.0)
        remote.open()
        running.wait(lambda: device(running)["connected"], "it waits for ever", 60)
        assert device(running)["waits_for"] is None
        assert settled(running.ovs, BRIDGE) == before


def test_a_database_that_comes_back_changed_changes_only_that(running: Host, remote: Remote) -> None:
    before = settled(running.ovs, BRIDGE)
    remote.close()
    set_address(running.ovs, OTHER_MAC)
    stays(running, before, 2.0)
    remote.open()
    running.wait(lambda: OTHER_MAC in str(standing(running.ovs, BRIDGE)), "the address is not taken in", 60)
    after = settled(running.ovs, BRIDGE)
    assert str(after).replace(OTHER_MAC, MAC) == str(before)
