"""Keeps what devices do not have of their flows (reasons, rates, times) in a file of the state directory over restarts.

The file is written behind everything else: flows are packed some at a time, while switches are served in between, and a
native thread writes. It has a length and a checksum; a file that is torn, of another version or of another policy's
gates is ignored. Where it cannot be written, nothing else is affected. See :mod:`flowlane.core.flow.kept`.
"""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING
from zlib import crc32

from flowlane import hub, state_files
from flowlane.core.flow.kept import KeptFlow, keep
from flowlane.core.model import Reason
from flowlane.logs import Repeats

if TYPE_CHECKING:
    from pathlib import Path

    from flowlane.core.state.device import Device, State

_LOG = logging.getLogger(__name__)
_REPEATS = Repeats(_LOG)

FILE_NAME = "flows.state"
LOOK, AT_LEAST = 0.5, 5.0
"""Seconds between two looks at what has changed, and between two files where only rates have."""

SHARE = 50
"""A look is as many times its own processor time apart from the next one: it takes 2 % of the controller at most."""

SLICE = 128
"""Flows that are packed while others wait: some 0.5 ms."""

MOST_FLOWS = 200_000
"""Flows that are kept; of more the rest has the reason ``adopted`` after a restart."""

MOST_BYTES = MOST_FLOWS * 128
"""A file that is longer is not read."""

KEPT_FOR = 600.0
"""Seconds after the start for which a device may connect and find what is kept of its flows."""

_HEAD = struct.Struct("!8sId")
_DEVICE = struct.Struct("!QI")
_FLOW = struct.Struct("!BiBBBHfddd")
_MAGIC = b"flwflow1"
_REASONS = frozenset(map(int, Reason))


def pack_flow(key: bytes, kept: KeptFlow, now: float) -> bytes:
    """Write a flow as bytes; times are seconds before ``now``."""
    queue_id, reason, dscp, pcp, gate_state, gate_since, rate, first_seen, since = kept
    ages = (now - gate_since if gate_since else -1.0), now - first_seen, now - since
    return _FLOW.pack(len(key), queue_id, reason, dscp, pcp, gate_state, rate, *ages) + key


def pack_file(devices: dict[int, tuple[int, list[bytes]]], policy: str, wall: float) -> bytes:
    """Put a file together.

    Args:
        devices: dpid -> number of flows, and pieces of :func:`pack_flow`.
        policy: hash of the policy in force, by whose gates ``gate_state`` is.
        wall: Unix time of the ages in it.
    """
    name = policy.encode()[:255]
    parts = [bytes((len(name),)), name]
    for dpid, (count, pieces) in devices.items():
        parts += [_DEVICE.pack(dpid, count), *pieces]
    body = b"".join(parts)
    return _HEAD.pack(_MAGIC, crc32(body), wall) + body


def read_file(data: bytes, policy: str, now: float, wall: float) -> dict[int, dict[bytes, KeptFlow]]:
    """Read a file: dpid -> key of a flow -> what is kept of it.

    Raises:
        ValueError: it is none, or torn.
    """
    try:
        magic, checksum, written = _HEAD.unpack_from(data)
        body = memoryview(data)[_HEAD.size :]
        if magic != _MAGIC or crc32(body) != checksum:
            raise ValueError("it is torn, or of another version")
        position = 1 + body[0]
        same_policy = bytes(body[1:position]).decode() == policy
        passed = min(max(0.0, wall - written), 1e9)
        devices: dict[int, dict[bytes, KeptFlow]] = {}
        while position < len(body):
            dpid, count = _DEVICE.unpack_from(body, position)
            position += _DEVICE.size
            flows = devices.setdefault(dpid, {})
            for _ in range(count):
                length, queue_id, reason, dscp, pcp, gates, rate, *ages = _FLOW.unpack_from(body, position)
                position += _FLOW.size
                key = bytes(body[position : position + length])
                position += length
                watched, first_seen, since = (now - passed - age for age in ages)
                if ages[0] < 0 or not same_policy:
                    watched = 0.0
                if reason in _REASONS and len(flows) < MOST_FLOWS:
                    flows[key] = KeptFlow(
                        queue_id,
                        reason,
                        dscp,
                        pcp,
                        gates if same_policy else 0,
                        watched,
                        rate,
                        first_seen,
                        since,
                    )
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"it is malformed: {error}") from error
    return devices


class FlowKeeper:
    """What is kept of flows, and its file.

    Args:
        directory: the state directory.
        state: the engine's, for reading, but for ``kept``.
        clock: that of the engine.
    """

    def __init__(self, directory: Path, state: State, clock: Callable[[], float]) -> None:
        self._path, self._state, self._clock = directory / FILE_NAME, state, clock
        self._written, self._written_at = 0, float("-inf")
        self._until = clock() + KEPT_FOR
        self._task: hub.Task | None = None

    def start(self) -> None:
        """Read the file; begin to write it."""
        self._read()
        self._task = hub.spawn(self._look_forever)

    def stop(self) -> None:
        """Write what there is; then do nothing more."""
        if self._task is not None:
            self._task.kill()
        self._written_at = float("-inf")
        make = self._collect(lambda: None)
        if make is not None:
            self._write(make, waits=False)

    def look(self) -> None:
        """Write the file if places of flows have changed, or it is old."""
        if self._clock() >= self._until:
            self._state.kept.clear()
        make = self._collect(hub.give_way)
        if make is not None and self._write(make, waits=True):
            self._written_at = self._clock()

    def _look_forever(self) -> None:
        while True:
            began = time.thread_time()
            try:
                self.look()
            except Exception:
                _LOG.exception("what is known of flows was not written to %s", self._path)
            hub.sleep(max(LOOK, SHARE * (time.thread_time() - began)))

    def _collect(self, give_way: Callable[[], object]) -> Callable[[], bytes] | None:
        """Pack all flows, and return what makes the file of them; None where the file has them as they are.

        Args:
            give_way: called after every :data:`SLICE` flows.
        """
        state, now, wall = self._state, self._clock(), time.time()
        places, room = 0, MOST_FLOWS
        found: dict[int, tuple[int, list[bytes]]] = {}
        for dpid in [*state.devices.keys() | state.kept.keys()]:
            flows = _flows_of(state, dpid)
            count, pieces, piece = 0, [], bytearray()
            for key, kept in flows:
                if count == room:
                    break
                count += 1
                piece += pack_flow(key, kept, now)
                places = hash((places, key, kept.queue_id, kept.reason))
                if count % SLICE == 0:
                    pieces.append(bytes(piece))
                    piece.clear()
                    give_way()
            room -= count
            if count:
                found[dpid] = count, [*pieces, bytes(piece)]
        if places == self._written and now - self._written_at < AT_LEAST:
            return None
        self._written = places
        return partial(pack_file, found, state.policy_origin.hash, wall)

    def _write(self, make: Callable[[], bytes], *, waits: bool) -> bool:
        lost = "reasons and rates of flows"
        return state_files.try_replace(self._path, make, lost, waits=waits, durable=False)

    def _read(self) -> None:
        try:
            if not self._path.exists():
                return
            if self._path.stat().st_size > MOST_BYTES:
                raise ValueError(f"it is longer than {MOST_BYTES} bytes")
            policy = self._state.policy_origin.hash
            self._state.kept = read_file(self._path.read_bytes(), policy, self._clock(), time.time())
        except (OSError, ValueError) as error:
            _LOG.warning("what is known of flows in %s is ignored: %s", self._path, error)


def _flows_of(state: State, dpid: int) -> Iterator[tuple[bytes, KeptFlow]]:
    """Yield the flows of a device, which may come and go meanwhile; those of the last run that may yet be found too."""
    device = state.devices.get(dpid)
    kept = state.kept.get(dpid, {})
    there = device.flows.rows if device is not None else {}
    yield from [(key, flow) for key, flow in kept.items() if key not in there]
    if device is not None:
        yield from _present(device)


def _present(device: Device) -> Iterator[tuple[bytes, KeptFlow]]:
    flows = device.flows
    for row in range(flows.used):
        key = flows.keys[row]
        if key is not None:
            yield key, keep(device, row)
