"""The OpenFlow listener in place of os-ken's: binds before it starts, guards what it reads, survives errors.

os-ken's own listener has a backlog of 50, so that of some hundred switches that connect at once many wait 1
to 3 s for TCP's next attempt. It opens a second port, 6633, and only logs an error of bind. The rest of
os-ken's connection handling is used as it is.
"""

from __future__ import annotations

import logging
import re
import resource
from collections.abc import Callable
from contextlib import closing
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from os_ken.base import app_manager
from os_ken.controller import controller, ofp_event, ofp_handler
from os_ken.controller.handler import DEAD_DISPATCHER, HANDSHAKE_DISPATCHER, MAIN_DISPATCHER
from os_ken.lib.hub import StreamClient
from os_ken.ofproto import ofproto_parser

from flowlane import hub
from flowlane.errors import ConfigError, ProtocolError
from flowlane.logs import Repeats
from flowlane.southbound.openflow.osken import lazy, tls
from flowlane.southbound.openflow.osken.bindings import Bindings, certificate_of
from flowlane.southbound.openflow.osken.coalescing import CoalescedSocket
from flowlane.southbound.openflow.osken.repairs import repair
from flowlane.southbound.openflow.wire.constants import (
    FEATURES_REPLY,
    FLOW_REMOVED,
    MULTIPART_REPLY,
    PACKET_IN,
)
from flowlane.southbound.openflow.wire.guard import check, read_header

if TYPE_CHECKING:
    import socket

_LOG = logging.getLogger(__name__)
_REPEATS = Repeats(_LOG)
BACKLOG = 1024
"""Connections that may wait for ``accept``: 1,000 switches then connect in 0.2 s instead of some seconds."""

RECEIVE_BUFFER = 64 << 10
"""Bytes of a switch that wait in the kernel at most: some 500 packet-ins, which are worked off within 15 ms.

By default it is megabytes. A switch that sends more than the controller can take would then be answered seconds late;
so it notices at once, and drops the excess, as Open vSwitch does from 100 packet-ins on (ofproto/connmgr.c).
"""

SEGMENT = 1460
"""Bytes of a segment that a switch sends at most, also where the path has longer frames than Ethernet.

On loopback it is 64 kB by default. Then two segments fill the receive buffer, more of them are dropped and sent again
after 0.2 s, and the sender's buffer grows to 4 MB, in which copies of seconds wait (decision 0073).
"""

HANDSHAKE_TIME = 30.0
"""Seconds that a peer has for hello, features and ports, after which the connection is closed."""

MAX_BEFORE = 4 << 20
"""Bytes that a peer may send before its handshake ends, of which os-ken keeps its ports: room for 65,000 of them."""

RESERVED = 256
"""Descriptors, of all that the process may have, that connections of switches leave to others; a quarter at most."""

_ACCEPT_PAUSE = 0.1
_NUMBER = re.compile(r"\d+")
_FROM_NUMBER = re.compile(r"\d.*", re.DOTALL)
Address = tuple[Any, ...]
CONF: Any = app_manager.cfg.CONF


class Listener:
    """Accepts switches over TCP, TLS or both, and connects to the switches of --ofp-switch-address-list.

    Raises:
        ConfigError: an address is malformed or in use, or a key or certificate cannot be read.
    """

    def __init__(self) -> None:
        self._servers: list[tuple[socket.socket, Callable[[Any], Any]]] = []
        self._clients = [_client(address) for address in CONF.ofp_switch_address_list]
        server = _tls()
        self._bindings = _bindings(server)
        if server is None or _tcp_is_wanted():
            self._bind(CONF.ofp_tcp_listen_port, lambda sock: sock)
        if server is not None:
            self._bind(CONF.ofp_ssl_listen_port, server.wrap, server.verifies)

    def __call__(self) -> None:
        """Accept until the green thread is killed; os-ken calls this once."""
        for client in self._clients:
            hub.spawn(
                client.connect_loop, partial(serve, bindings=self._bindings), CONF.ofp_switch_connect_interval
            )
        tasks = [hub.spawn(_accept, server, wrap, self._bindings) for server, wrap in self._servers]
        try:
            while True:
                hub.sleep(3600)
        finally:
            for task in tasks:
                task.kill()
            for server, _wrap in self._servers:
                server.close()

    def _bind(self, port: int, wrap: Callable[[Any], Any], verifies: bool = False) -> None:
        host = CONF.ofp_listen_host
        try:
            server = hub.listen(host, port, BACKLOG, RECEIVE_BUFFER, SEGMENT)
        except OSError as error:
            raise ConfigError(
                f"cannot listen for switches on {host} port {port}: {error.strerror or error}"
            ) from error
        address, number = server.getsockname()[:2]
        _LOG.info("listening for switches on %s port %d", address, number)
        if not verifies and not _is_loopback(address):
            _LOG.warning(
                "everybody who reaches %s port %d may be a switch, and take the place of one; listen where only "
                "switches connect (--ofp-listen-host), or ask for certificates (--ctl-privkey, --ctl-cert, "
                "--ca-certs)",
                address,
                number,
            )
        self._servers.append((server, wrap))


class _Client(StreamClient):  # type: ignore[misc]  # os-ken has no types
    """Connects to a switch that listens; os-ken's tries again for ever without a word."""

    def connect(self) -> Any:
        """Return a socket, or None where the switch does not accept the connection."""
        sock = super().connect()
        if sock is None:
            text = "switch at %s does not accept connections; tried again every %g s"
            _REPEATS.warning(
                ("connect", self.addr), text, _place(self.addr), CONF.ofp_switch_connect_interval
            )
        return sock


def _client(address: str) -> StreamClient:
    try:
        return _Client(controller._split_addr(address))
    except ValueError as error:
        raise ConfigError(f"--ofp-switch-address-list: {error}") from error


def install() -> None:
    """Replace os-ken's listener, message parser and faulty parsers by Flowlane's."""
    repair()
    lazy.install_lazy_tables()
    lazy.install_lazy_multiparts()
    lazy.install_lazy_packets()
    logging.getLogger(ofp_handler.OFPHandler.__name__).addFilter(_is_due)
    app_manager.LOG.addFilter(_is_due_fault)
    ofp_handler.OpenFlowController = Listener
    ofproto_parser.msg = read


def _is_due(record: logging.LogRecord) -> bool:
    """Whether a record of os-ken's handshake is to be logged: a kind of warning about a host once in a while.

    The text begins with the kind; the numbers behind it, such as versions, are the peer's, which has many of them.
    """
    if record.levelno < logging.WARNING:
        return True
    given = record.args if isinstance(record.args, tuple) else ()
    key = [value[0] if isinstance(value, tuple) else _FROM_NUMBER.sub("", str(value)) for value in given]
    return _REPEATS.admits((record.msg, *key), record)


def _is_due_fault(record: logging.LogRecord) -> bool:
    """Whether an exception of os-ken's that a message of a switch has caused is to be logged; those of apps are."""
    if not isinstance(record.args, tuple) or record.args[:1] != (ofp_event.NAME,):
        return True
    return _REPEATS.admits((record.msg, *map(str, record.args)), record)


def _tcp_is_wanted() -> bool:
    """Return whether to listen on TCP beside TLS: only if its port is configured, and is another one."""
    location = CONF.get_location("ofp_tcp_listen_port")
    named = location is not None and location.location.is_user_controlled
    return bool(named and CONF.ofp_tcp_listen_port != CONF.ofp_ssl_listen_port)


def _tls() -> tls.ServerTls | None:
    key, certificate = CONF.ctl_privkey, CONF.ctl_cert
    if key is None and certificate is None:
        return None
    if key is None or certificate is None:
        raise ConfigError("TLS needs both --ctl-privkey and --ctl-cert")
    return tls.ServerTls(tls.Files(key, certificate, CONF.ca_certs), CONF.ciphers)


def _bindings(server: tls.ServerTls | None) -> Bindings:
    bindings = Bindings(CONF.switch_certificate)
    if bindings and not (server is not None and server.verifies):
        raise ConfigError(
            "--switch-certificate needs certificates of switches: give --ctl-privkey, --ctl-cert and --ca-certs"
        )
    return bindings


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _accept(server: socket.socket, wrap: Callable[[Any], Any], bindings: Bindings) -> None:
    """Accept for ever: an error, such as too many open files, does not end it.

    A connection that would take one of the last descriptors is closed: REST, databases and files need them.
    """
    time_slice = hub.TimeSlice()
    while True:
        try:
            sock, address = server.accept()
        except OSError as error:
            _REPEATS.warning("accept", "cannot accept a switch: %s", error)
            hub.sleep(_ACCEPT_PAUSE)
            continue
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if sock.fileno() >= limit - min(RESERVED, limit // 4):
            text = "switch at %s: connection closed: the process may have %d open files; raise LimitNOFILE or ulimit -n"
            _REPEATS.warning("files", text, _place(address), limit)
            sock.close()
        else:
            hub.spawn(_wrap_and_serve, sock, address, wrap, bindings)
        time_slice.check()


def _wrap_and_serve(sock: Any, address: Address, wrap: Callable[[Any], Any], bindings: Bindings) -> None:
    sock.settimeout(CONF.socket_timeout)
    wrapped: Any = None

    def shake_hands() -> None:
        nonlocal wrapped
        wrapped = wrap(sock)

    try:
        if not hub.within(HANDSHAKE_TIME, shake_hands):
            raise TimeoutError(f"no handshake within {HANDSHAKE_TIME:g} s")
    except OSError as error:
        _REPEATS.warning(("tls", address[0]), "switch at %s: TLS failed: %s", _place(address), error)
        sock.close()
        return
    serve(wrapped, address, bindings)


def serve(sock: Any, address: Address, bindings: Bindings | None = None) -> None:
    """Serve one switch until its connection ends; an error of its messages costs this connection only.

    Args:
        bindings: which certificates may be which devices.
    """
    shown, known = certificate_of(sock), Bindings() if bindings is None else bindings
    with closing(controller.Datapath(CoalescedSocket(sock), address)) as datapath:
        datapath.socket.ahead = partial(_take_ahead, datapath)
        datapath.check_id = lambda dpid: known.check(dpid, shown)
        timer = hub.spawn_after(HANDSHAKE_TIME, _end_handshake, datapath)
        try:
            datapath.serve()
        except ProtocolError as error:
            log_refusal(address, error)
        except Exception:
            _REPEATS.warning(
                ("fault", address[0]), "switch at %s: connection closed", _place(address), exc_info=True
            )
        finally:
            timer.kill()
            datapath.socket.ahead = None  # It refers to the connection, which would be a cycle.


def log_refusal(address: Address, error: ProtocolError) -> None:
    """Log why a connection is closed: its switch has sent what cannot be read."""
    _REPEATS.warning(
        ("bytes", address[0], _NUMBER.sub("0", str(error))),
        "switch at %s: %s; connection closed",
        _place(address),
        error,
    )


def _end_handshake(datapath: Any) -> None:
    if datapath.state not in (MAIN_DISPATCHER, DEAD_DISPATCHER):
        _REPEATS.warning(
            ("handshake", datapath.address[0]),
            "switch at %s: no handshake within %g s; connection closed",
            _place(datapath.address),
            HANDSHAKE_TIME,
        )
        datapath.close()


def _place(address: Address) -> str:
    return "{}:{}".format(*address[:2])


def read(datapath: Any, _version: int, kind: int, _length: int, _xid: int, data: bytearray) -> Any:
    """Check and parse a message, in place of ``os_ken.ofproto.ofproto_parser.msg``.

    A message that os-ken cannot parse although the guard has accepted it is left out (None) with a line in
    the log: the connection is worth more than one message.

    Raises:
        ProtocolError: the guard has refused the message; os-ken then closes the connection.
    """
    agreed = None if datapath.state == HANDSHAKE_DISPATCHER else datapath.ofproto.OFP_VERSION
    if datapath.state != MAIN_DISPATCHER and datapath.socket.received > MAX_BEFORE:
        raise ProtocolError(f"more than {MAX_BEFORE >> 20} MB before the end of the handshake")
    whole = bytes(data)
    if kind == MULTIPART_REPLY and _is_known(datapath, whole):
        return None
    message = check(whole, agreed, flows_later=datapath.state == MAIN_DISPATCHER)
    if message is None:
        return None
    parsed = _parse(datapath, message)
    if message[1] == FEATURES_REPLY and parsed is not None:
        datapath.check_id(parsed.datapath_id)
    if parsed is not None and datapath.state == MAIN_DISPATCHER and any(take(parsed) for take in _takers):
        return None
    return parsed


def _parse(datapath: Any, message: bytes) -> Any:
    version, kind, length, xid = read_header(message)
    parser = ofproto_parser._MSG_PARSERS.get(version)
    if parser is None:
        raise ProtocolError(f"OpenFlow version {version} on the wire is not served")
    try:
        for parse_lazily in (lazy.read_packet, lazy.read_multipart):
            parsed = parse_lazily(datapath, message)
            if parsed is not None:
                return parsed
        return parser(datapath, version, kind, length, xid, message)
    except Exception as error:
        _REPEATS.warning(
            ("message", datapath.address[0], kind, type(error)),
            "switch at %s: message of type %d left out: %r",
            _place(datapath.address),
            kind,
            error,
        )
        return None


_takers: list[Callable[[Any], bool]] = []


def offer_first(take: Callable[[Any], bool]) -> None:
    """Have messages of connected switches offered to a function first; os-ken does not see those that it takes."""
    _takers.append(take)


LEAST = 24
"""Bytes of the fixed part of a packet-in with its header (OpenFlow 1.3.5, 7.4.1); that of a flow-removed is longer."""

MOST_AHEAD = 64
"""Messages that are taken together, before others have a turn where that has taken long."""

_AHEAD = frozenset((PACKET_IN, FLOW_REMOVED))

LEAST_REPLY = 16
"""Bytes of a multipart reply without a body (OpenFlow 1.3.5, 7.3.5)."""

_REPLY = bytes((MULTIPART_REPLY,))

_takers_together: list[Callable[[Any, list[bytes]], int]] = []


def offer_together(take: Callable[[Any, list[bytes]], int]) -> None:
    """Have messages about flows that come together offered to a function, with their connection.

    They are packet-ins and flow-removed messages with their headers. It returns how many of them it took: os-ken does
    not see those, the next one is read as every other message. The last function that asked is given them.
    """
    _takers_together.append(take)


_takers_of_replies: list[Callable[[Any, bytes], bool]] = []


def offer_replies(take: Callable[[Any, bytes], bool]) -> None:
    """Have multipart replies that have come completely offered to a function, with their connection, before any check.

    It returns whether it took the reply, which os-ken does not see then. The last function that asked is given them.
    """
    _takers_of_replies.append(take)


def _take_ahead(datapath: Any, buffer: bytearray, start: int) -> int:
    """Take the messages with which a buffer goes on, if it can be; return where the next message begins."""
    if datapath.state != MAIN_DISPATCHER:
        return start
    if buffer[start + 1 : start + 2] == _REPLY:
        end = start + int.from_bytes(buffer[start + 2 : start + 4])
        is_whole = start + LEAST_REPLY <= end <= len(buffer)
        return end if is_whole and _is_known(datapath, bytes(buffer[start:end])) else start
    return _take_flows(datapath, buffer, start) if _takers_together else start


def _is_known(datapath: Any, reply: bytes) -> bool:
    """Offer a multipart reply, which may be malformed; return whether it was taken."""
    is_connected = datapath.state == MAIN_DISPATCHER and len(reply) >= LEAST_REPLY
    return is_connected and any(take(datapath, reply) for take in _takers_of_replies[-1:])


def _take_flows(datapath: Any, buffer: bytearray, start: int) -> int:
    """Take the messages about flows with which a buffer goes on; return where the next message begins."""
    version, at, messages = datapath.ofproto.OFP_VERSION, start, list[bytes]()
    last = len(buffer) - LEAST
    while at <= last and len(messages) < MOST_AHEAD and buffer[at] == version and buffer[at + 1] in _AHEAD:
        end = at + (buffer[at + 2] << 8 | buffer[at + 3])
        if end < at + LEAST or end > len(buffer):
            break
        messages.append(bytes(buffer[at:end]))
        at = end
    taken = _takers_together[-1](datapath, messages) if messages else 0
    return start + sum(map(len, messages[:taken]))
