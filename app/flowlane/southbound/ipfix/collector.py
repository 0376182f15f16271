"""The collector: a UDP socket whose datagrams become events, for devices that are connected.

A datagram counts only if it names a device that is connected, and comes from the address from which that device is. A
sender that forges that address could make a flow heavy for :data:`flowlane.core.flow.estimates.SETTLED` s, no more.
"""

from __future__ import annotations

import logging
import socket
import time
from collections import defaultdict
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING

from flowlane import hub
from flowlane.core.events import PacketsSampled
from flowlane.errors import ConfigError, ProtocolError
from flowlane.southbound.ipfix.messages import Reader
from flowlane.southbound.ipfix.observation import dpid_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from flowlane.core.events import SampledPacket

_LOG = logging.getLogger(__name__)

GATHER = 0.005
"""Seconds for which datagrams are gathered, so that many cost less than one by one."""

MOST_AT_ONCE = 256
"""Datagrams that are read together."""

REST = 3
"""Times as long as it read, the collector rests at least: it takes a quarter of the controller's time at most.

What comes meanwhile is lost once the socket's buffer is full. Rates are then too low, and counters show them later.
"""

BUFFER = 1 << 19
"""Bytes of the socket's buffer: some hundred datagrams, no more than are still news when they are read."""

MAX_DATAGRAM = 0xFFFF


class Collector:
    """Receives samples.

    Args:
        host, port: where it listens; an IP address.
        submit: takes the events.
        peer_of: returns address and port from which a device is connected, None when it is not connected.

    Raises:
        ConfigError: the address is in use, or not one of this machine.
    """

    def __init__(
        self,
        host: str,
        port: int,
        submit: Callable[[PacketsSampled], None],
        peer_of: Callable[[int], str | None],
    ) -> None:
        self.datagrams = self.malformed = self.foreign = 0
        """How many datagrams have come; of them malformed ones, and those that no connected device has sent."""
        self._submit, self._peer_of = submit, peer_of
        self._reader = Reader()
        self._task: hub.Task | None = None
        self._told = False
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            self._socket.bind((host, port))
        except (OSError, OverflowError) as error:
            self._socket.close()
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"--ipfix-listen: cannot listen on {host} port {port}: {reason}") from error
        self._socket.setblocking(False)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port on which it listens."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    def counts(self) -> dict[str, int]:
        """Return how many datagrams were read, were malformed, or were of no connected device."""
        read = self.datagrams - self.malformed - self.foreign
        return {"read": read, "malformed": self.malformed, "foreign": self.foreign}

    def start(self) -> None:
        """Start the green thread; idempotent."""
        if self._task is None:
            self._task = hub.spawn(self._collect)

    def stop(self) -> None:
        """Stop the green thread and close the socket."""
        if self._task is not None:
            self._task.kill()
            self._task = None
        self._socket.close()

    def _collect(self) -> None:
        while True:
            hub.wait_readable(self._socket.fileno())
            hub.sleep(GATHER)
            begin = time.monotonic()
            try:
                self.read()
            except Exception:
                _LOG.exception("samples were not handled")
            hub.sleep(REST * (time.monotonic() - begin))

    def read(self) -> None:
        """Read the datagrams that have come, up to :data:`MOST_AT_ONCE`."""
        found: defaultdict[int, list[SampledPacket]] = defaultdict(list)
        peers: dict[int, str] = {}
        for _ in range(MOST_AT_ONCE):
            try:
                data, source = self._socket.recvfrom(MAX_DATAGRAM)
            except OSError:
                break
            self.datagrams += 1
            exporter = _plain(str(source[0]))
            try:
                sampled = self._reader.read(data, exporter)
            except ProtocolError as error:
                self.malformed += 1
                _LOG.debug("datagram from %s: %s", exporter, error)
                continue
            by_device = [(dpid_of(domain, point), packet) for domain, point, packet in sampled]
            for dpid in {dpid for dpid, _ in by_device} - peers.keys():
                peers[dpid] = _host_of(self._peer_of(dpid))
            strangers = [dpid for dpid, _ in by_device if peers[dpid] != exporter]
            if strangers:
                self._note_foreign(exporter, strangers[0])
                continue
            for dpid, packet in by_device:
                found[dpid].append(packet)
        for dpid, packets in found.items():
            self._submit(PacketsSampled(dpid, tuple(packets)))

    def _note_foreign(self, exporter: str, dpid: int) -> None:
        self.foreign += 1
        if not self._told:
            self._told = True
            _LOG.warning(
                "samples of device %016x from %s are ignored: no device with that id is connected from there",
                dpid,
                exporter,
            )


def _host_of(peer: str | None) -> str:
    """Return the address in ``ADDRESS:PORT``; that of this machine for a device that is connected by a Unix socket."""
    if peer is None:
        return ""
    host = peer.rpartition(":")[0].strip("[]")
    return _plain(host) if host else "127.0.0.1"


@lru_cache(maxsize=4096)
def _plain(host: str) -> str:
    """Return an address as text in one form: IPv4 addresses in IPv6 as such."""
    with suppress(ValueError):
        address = ip_address(host)
        return str(getattr(address, "ipv4_mapped", None) or address)
    return host
