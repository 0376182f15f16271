"""An OpenFlow proxy between a switch and its controller: counts messages, and refuses some in the switch's place.

A real switch cannot be made to refuse what it supports (groups, meters, actions). The proxy replies to such a
message with the error of a switch that does not, and does not pass the message on.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

TYPES = {14: "flow-mod", 15: "group-mod", 18: "multipart request", 20: "barrier", 29: "meter-mod"}
TYPES |= {1: "error", 10: "packet-in", 11: "flow-removed", 19: "multipart reply"}
FLOW_MOD, GROUP_MOD, METER_MOD = 14, 15, 29
ADD = 0
_ERROR = 1


class Error(NamedTuple):
    """Type and code of an error (OpenFlow 1.3.5 section 7.4.4)."""

    kind: int
    code: int


OUT_OF_METERS = Error(12, 10)
OUT_OF_GROUPS = Error(6, 3)
BAD_EXPERIMENTER = Error(2, 2)

Refuse = Callable[[bytes], Error | None]
"""Returns the error that a message of the controller gets; None: pass it on."""

NICIRA = struct.pack("!I", 0x2320)


def refuse_nothing(_message: bytes) -> Error | None:
    """Pass every message on."""
    return None


Watch = Callable[[bool, bytes], None]
"""Gets every message, and whether it is the controller's."""


def watch_nothing(_from_controller: bool, _message: bytes) -> None:
    """Look at no message."""


Rewrite = Callable[[bytes], bytes]
"""Returns what the controller gets in place of a message of the switch."""


def rewrite_nothing(message: bytes) -> bytes:
    """Pass a message on as it is."""
    return message


def refuse_meters(message: bytes) -> Error | None:
    """Refuse new meters but the one for copies (OFPM_CONTROLLER)."""
    kind, command = message[1], int.from_bytes(message[8:10], "big")
    meter_id = int.from_bytes(message[12:16], "big")
    return OUT_OF_METERS if kind == METER_MOD and command == ADD and meter_id < 0xFFFF0000 else None


def refuse_groups(message: bytes) -> Error | None:
    """Refuse new groups and changes of groups."""
    return OUT_OF_GROUPS if message[1] == GROUP_MOD and message[9] != 2 else None


def refuse_extensions(message: bytes) -> Error | None:
    """Refuse Open vSwitch's own actions, as a switch with OpenFlow's only."""
    if message[1] not in (FLOW_MOD, GROUP_MOD):
        return None
    at = message.find(NICIRA)
    return BAD_EXPERIMENTER if at >= 4 and message[at - 4 : at - 2] == b"\xff\xff" else None


class Proxy:
    """Accepts a switch on ``port`` and connects to the controller, at a TCP port of this machine, for it."""

    def __init__(self, controller: int, refuse: Refuse) -> None:
        self.refuse = refuse
        self.watch: Watch = watch_nothing
        self.rewrite: Rewrite = rewrite_nothing
        self.counts: dict[str, int] = {}
        self.refused: list[bytes] = []
        self._controller = controller
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def count(self, *names: str) -> int:
        """Count the messages of these types in both directions so far; see TYPES."""
        return sum(self.counts.get(name, 0) for name in names)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._server.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                switch, _ = self._server.accept()
                try:
                    controller = socket.create_connection(("127.0.0.1", self._controller))
                except OSError:
                    switch.close()
                    continue
                self._open += [switch, controller]
                to_controller = threading.Lock()
                for source, target, checked in ((switch, controller, False), (controller, switch, True)):
                    threading.Thread(
                        target=self._pump, args=(source, target, checked, to_controller), daemon=True
                    ).start()

    def _pump(
        self, source: socket.socket, target: socket.socket, checked: bool, to_controller: threading.Lock
    ) -> None:
        """Pass messages on.

        Args:
            checked: whether they are the controller's, some of which are refused.
            to_controller: held while bytes are sent towards the controller, errors of the proxy included.
        """
        buffer = b""
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                buffer += piece
                passed = []
                while len(buffer) >= 8 and len(buffer) >= (length := int.from_bytes(buffer[2:4], "big")):
                    message, buffer = buffer[:length], buffer[length:]
                    name = TYPES.get(message[1], str(message[1]))
                    self.counts[name] = self.counts.get(name, 0) + 1
                    if not checked:
                        message = self.rewrite(message)
                    self.watch(checked, message)
                    error = self.refuse(message) if checked else None
                    if error is None:
                        passed.append(message)
                    else:
                        # An error comes after the messages that were sent before the refused one.
                        self.refused.append(message)
                        body = struct.pack("!HH", *error) + message[:64]
                        head = struct.pack("!BBH4s", message[0], _ERROR, 8 + len(body), message[4:8])
                        with to_controller:
                            source.sendall(head + body)
                if passed and checked:
                    target.sendall(b"".join(passed))
                elif passed:
                    with to_controller:
                        target.sendall(b"".join(passed))
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def running(controller: int, refuse: Refuse = refuse_nothing) -> Iterator[Proxy]:
    """Run a proxy for the controller at a TCP port of this machine."""
    proxy = Proxy(controller, refuse)
    try:
        yield proxy
    finally:
        proxy.close()
