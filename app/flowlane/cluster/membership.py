"""A controller as a member of several: its beats, the devices that it claims, hands over, and takes from dead members.

What is to be done is decided by :mod:`flowlane.core.leadership`. A member leads a device while the database names it as
the leader *and* its lease runs; without a lease it stands by at once, whatever the database says.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from flowlane import hub
from flowlane.cluster.database import Transactions, delete, insert, only_if, row_is, update
from flowlane.core import leadership
from flowlane.core.leadership import NOBODY, Member, Sighting
from flowlane.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flowlane.cluster.database import Copy, Operation
    from flowlane.southbound.ovsdb.remote import Target

_LOG = logging.getLogger(__name__)

BEAT_WITHIN = 0.6
"""Seconds for the transaction of a beat, after which another server is tried."""

WORK_WITHIN = 2.0
"""Seconds for another transaction."""

AWAY_FOR = 1.0
"""Seconds for which a device may be away from its leader before another member leads it."""

STALE = 2.0
"""Seconds without a new beat of one's own in the copy after which the copy is taken from another server."""

RECLAIM_AFTER = 3.0
"""Seconds after which a leader asks again for a device that has another primary controller."""

_LOOK = 0.05


class Devices(Protocol):
    """The connections to devices."""

    def lead(self, dpid: int, generation: int) -> None:
        """Lead a device from now on, or once it is connected, with this generation id."""

    def stand_by(self, dpid: int, generation: int, why: str) -> None:
        """Change nothing of a device any more."""


class About(NamedTuple):
    """What others see of a member. ``url``: where its REST is; empty: nobody else can reach it."""

    name: str
    url: str
    version: str


class MemberView(NamedTuple):
    """A member, for people. ``age``: seconds since its last beat was seen. ``leads``: dpids."""

    name: str
    url: str
    version: str
    started: float
    is_own: bool
    age: float
    connected: int
    leads: tuple[int, ...]


class Membership:
    """This controller among the members.

    Args:
        target: the database.
        copy: follows the database; :meth:`changed` has to be called with its changes.
        about: what others see.
        devices: are led, or stand by.
        is_ready: whether what operators ordered has been taken from the database: nothing is led before.
    """

    def __init__(
        self, target: Target, copy: Copy, about: About, devices: Devices, is_ready: Callable[[], bool]
    ) -> None:
        self.own = NOBODY
        """Id of the own row; empty while this controller is no member."""
        self.leading: dict[int, int] = {}
        """dpid -> generation id, of the devices that are led now."""
        self._copy, self._about, self._devices, self._is_ready = copy, about, devices, is_ready
        self._beats, self._transactions = Transactions(target, BEAT_WITHIN), Transactions(target, WORK_WITHIN)
        self._beat, self._sent = 0, float("-inf")
        self._seen: dict[str, Sighting] = {}
        self._reconnected_at = 0.0
        """When this controller became a member, or took the copy from another server."""
        self._connected: set[int] = set()
        self._gone: dict[int, float] = {}
        """dpid -> when its connection ended, for :data:`AWAY_FOR` seconds."""
        self._given_up: dict[int, int] = {}
        """dpid -> generation id, of devices that were handed over: the copy may still name this member."""
        self._demoted: dict[int, tuple[int, float]] = {}
        """dpid -> (least generation id with which to ask again, when), of devices that another has taken."""
        self._members: dict[str, Member] = {}
        self._changed_at = time.monotonic()
        self._is_due = True
        self._wake = hub.Flag()
        self._tasks: list[hub.Task] = []
        self._started = time.time()

    def start(self) -> None:
        """Become a member as soon as the database can be reached."""
        self._tasks = [hub.spawn(task) for task in (self._beat_forever, self._guard, self._work_forever)]

    def stop(self) -> None:
        """Do nothing more; the others see no beat."""
        for task in self._tasks:
            task.kill()
        self._beats.close()
        self._transactions.close()

    def leave(self) -> None:
        """Hand all devices over and end the membership."""
        self.stop()
        own, self.own = self.own, NOBODY
        led = dict(self.leading)
        self._stand_by_all("this controller ends")
        if own:
            members = {name: member for name, member in self._alive().items() if name != own}
            leaders = dict.fromkeys(led, NOBODY)
            chosen = leadership.shares(members, leaders, reshare=False)
            rows = self._rows_by_dpid()
            changes = [self._hand_over(rows[dpid], chosen[dpid], own) for dpid in led if dpid in rows]
            try:
                self._transactions.transact([*(part for change in changes for part in change), _end_of(own)])
            except DatabaseError as error:
                _LOG.warning("the other controllers are not told of the end: %s", error)
            self._transactions.close()

    # ---- what the connections report

    def connected(self, dpid: int) -> None:
        """Note that a device is connected."""
        self._gone.pop(dpid, None)
        if dpid not in self._connected:
            self._connected.add(dpid)
            self._mark_due()

    def disconnected(self, dpid: int) -> None:
        """Note that the connection to a device has ended; for a moment it may come back."""
        if dpid in self._connected:
            self._gone[dpid] = time.monotonic()

    def demoted(self, dpid: int, floor: int = 0) -> None:
        """Note that a device has another primary controller, with a newer generation id.

        Args:
            floor: the least generation id that the device accepts; 0: unknown.
        """
        if dpid in self.leading and dpid not in self._demoted:
            text = "device %016x has another primary controller; it is left to it, and asked again in %g s"
            _LOG.warning(text, dpid, RECLAIM_AFTER)
            generation = self.leading.pop(dpid)
            after = 0.0 if floor else RECLAIM_AFTER
            self._demoted[dpid] = max(floor, generation), time.monotonic() + after
            self._given_up[dpid] = max(generation, self._given_up.get(dpid, generation))
            self._devices.stand_by(dpid, generation, "another controller leads it")
            self._mark_due()

    def generation_of(self, dpid: int) -> int:
        """Return the last generation id of a device; 0 for none."""
        found = self._rows_by_dpid().get(dpid)
        return 0 if found is None else int(found[1]["generation"])

    def changed(self, tables: frozenset[str]) -> None:
        """Take in changes of the copy."""
        now = time.monotonic()
        if "Member" in tables:
            rows = self._copy.rows["Member"]
            beats = {name: int(row["beat"]) for name, row in rows.items()}
            self._seen = leadership.sightings(self._seen, beats, self.own, now)
            members = {name: _member(row) for name, row in rows.items()}
            if members.keys() != self._members.keys():
                self._changed_at = now
            if members != self._members:
                self._members = members
                self._mark_due()
            if leadership.dead(self._seen, self.own):
                self._mark_due()
        if "Device" in tables:
            self._mark_due()
        self._follow(now)

    # ---- for people

    @property
    def has_lease(self) -> bool:
        """Whether this member may lead now."""
        return bool(self.own) and leadership.holds_lease(self._sent, time.monotonic())

    def leader_of(self, dpid: int) -> MemberView | None:
        """Return the other member that leads a device; None: this one does, or none."""
        if dpid in self.leading:
            return None
        found = self._rows_by_dpid().get(dpid)
        leader = NOBODY if found is None else found[1]["leader"] or NOBODY
        row = self._copy.rows["Member"].get(leader)
        return None if row is None or leader == self.own else self._view(leader, row, ())

    def views(self) -> list[MemberView]:
        """List the members by name."""
        led: dict[str, list[int]] = {}
        for row in self._copy.rows["Device"].values():
            led.setdefault(row["leader"] or NOBODY, []).append(int(row["dpid"], 16))
        rows = self._copy.rows["Member"].items()
        views = [self._view(name, row, tuple(sorted(led.get(name, ())))) for name, row in rows]
        return sorted(views, key=lambda view: (view.name, view.started))

    def _view(self, name: str, row: Mapping[str, Any], leads: tuple[int, ...]) -> MemberView:
        age = time.monotonic() - self._seen[name].at if name in self._seen else 0.0
        return MemberView(
            row["name"],
            row["url"],
            row["version"],
            row["started"],
            name == self.own,
            age,
            len(row["devices"]),
            leads,
        )

    # ---- beats and the lease

    def _beat_forever(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self._send_beat()
            except DatabaseError as error:
                _LOG.debug("a beat was not committed: %s", error)
            except Exception:
                _LOG.exception("a beat was not handled")
            hub.sleep(max(_LOOK, leadership.BEAT - (time.monotonic() - began)))

    def _send_beat(self) -> None:
        if not self.own:
            if not (self._copy.is_synchronized and self._is_ready()):
                return
            self._join()
        self._beat += 1
        sent = time.monotonic()
        changed = self._beats.transact([update("Member", row_is(self.own), {"beat": self._beat})])
        if changed[0].get("count") != 1:
            _LOG.warning("the other controllers have taken this one for dead; it joins them again")
            self.own = NOBODY
            self._stand_by_all("the other controllers have taken this one for dead")
            return
        had_lease, self._sent = self.has_lease, sent
        now = time.monotonic()
        if not had_lease or now - self._changed_at < leadership.SETTLE + 2 * leadership.BEAT:
            self._mark_due()
        self._forget_gone(now)
        self._follow(now)

    def _join(self) -> None:
        self._beat += 1
        row = {
            **self._about._asdict(),
            "started": self._started,
            "beat": self._beat,
            "leaving": False,
            "devices": {_text(dpid) for dpid in self._connected},
        }
        self.own = str(self._beats.transact([insert("Member", row)])[0]["uuid"][1])
        self._reconnected_at = time.monotonic()
        _LOG.info("this controller is member %s", self._about.name)
        self._given_up.clear()
        self._demoted.clear()
        self._mark_due()

    def _guard(self) -> None:
        """Stand by as soon as the lease is over."""
        while True:
            hub.sleep(_LOOK)
            if self.leading and not self.has_lease:
                _LOG.warning("no beat was committed for %g s: this controller stands by", leadership.LEASE)
                self._stand_by_all("this controller cannot reach its database")
            self._check_copy(time.monotonic())

    def _check_copy(self, now: float) -> None:
        """Go on with another server where the copy does not show one's own beats."""
        seen = self._seen.get(self.own)
        last = max(self._reconnected_at, seen.at if seen is not None else 0.0)
        if self.own and self._copy.is_synchronized and now - last > STALE:
            self._reconnected_at = now
            self._copy.reconnect()

    def _stand_by_all(self, why: str) -> None:
        for dpid, generation in list(self.leading.items()):
            del self.leading[dpid]
            self._devices.stand_by(dpid, generation, why)

    def _follow(self, now: float) -> None:
        """Lead what the database says, while the lease runs."""
        if not self.own or not leadership.holds_lease(self._sent, now):
            return
        mine = {
            dpid: row["generation"]
            for dpid, (_name, row) in self._rows_by_dpid().items()
            if row["leader"] == self.own and row["generation"] > self._given_up.get(dpid, -1)
        }
        for dpid in self.leading.keys() - mine.keys():
            self._devices.stand_by(dpid, self.leading.pop(dpid), "another controller leads it")
        for dpid, generation in mine.items():
            if self.leading.get(dpid) != generation:
                self.leading[dpid] = generation
                self._demoted.pop(dpid, None)
                self._devices.lead(dpid, generation)

    # ---- claims and hand-overs

    def _mark_due(self) -> None:
        self._is_due = True
        self._wake.set()

    def _work_forever(self) -> None:
        while True:
            self._wake.wait()
            if not self._is_due or not self.has_lease:
                continue
            self._is_due = False
            try:
                self._work()
            except DatabaseError as error:
                # Another member was faster, or the server is gone; what is to be done is seen anew.
                _LOG.debug("not committed: %s", error)
                hub.sleep(_LOOK)
                self._mark_due()
            except Exception:
                _LOG.exception("claims of devices were not handled")

    def _work(self) -> None:
        self._publish_devices()
        for name in leadership.dead(self._seen, self.own):
            self._bury(name)
        rows, alive = self._rows_by_dpid(), self._alive()
        leaders = {dpid: row["leader"] or NOBODY for dpid, (_name, row) in rows.items()}
        is_settled = time.monotonic() - self._changed_at >= leadership.SETTLE
        work = leadership.work(self.own, alive, leaders, reshare=is_settled)
        self._commit([self._claim(rows[dpid]) for dpid in work.claims])
        for dpid in work.hand_overs:
            self._given_up[dpid] = rows[dpid][1]["generation"]
            if dpid in self.leading:
                self._devices.stand_by(
                    dpid, self.leading.pop(dpid), "it is handed over to another controller"
                )
        self._commit([self._hand_over(rows[dpid], to, self.own) for dpid, to in work.hand_overs.items()])
        self._take_back(rows, set(work.hand_overs))

    def _publish_devices(self) -> None:
        """Write which devices are connected, and a row for each that is new."""
        texts = {_text(dpid) for dpid in self._connected}
        row = self._copy.rows["Member"].get(self.own)
        if row is not None and row["devices"] != texts:
            self._transactions.transact([update("Member", row_is(self.own), {"devices": texts})])
        known = {row["dpid"] for row in self._copy.rows["Device"].values()}
        new = [insert("Device", {"dpid": text, "generation": 0, "leader": None}) for text in texts - known]
        if new:
            self._transactions.transact(new)

    def _bury(self, name: str) -> None:
        """Delete the row of a dead member, if it has not beaten since; its devices are without a leader then."""
        row, seen = self._copy.rows["Member"].get(name), self._seen.get(name)
        if row is None or seen is None:
            return
        self._transactions.transact([only_if("Member", name, {"beat": seen.beat}), _end_of(name)])
        _LOG.warning("controller %s has sent no beat for %g s: it is dead", row["name"], leadership.EXPIRE)
        self._seen.pop(name, None)
        self._mark_due()

    def _claim(self, found: tuple[str, dict[str, Any]]) -> list[Operation]:
        return self._hand_over(found, self.own, NOBODY)

    def _take_back(self, rows: Mapping[int, tuple[str, dict[str, Any]]], handed: set[int]) -> None:
        """Lead again what was given up, and what a device gave to another, where the database names this member."""
        now = time.monotonic()
        again = []
        for dpid, generation in self._given_up.items():
            found = rows.get(dpid)
            floor, due = self._demoted.get(dpid, (0, 0.0))
            if found is None or dpid in handed or found[1]["generation"] > generation:
                continue
            if found[1]["leader"] == self.own and due <= now and dpid in self._connected:
                again.append(self._hand_over(found, self.own, self.own, floor))
        self._commit(again)

    def _hand_over(
        self, found: tuple[str, dict[str, Any]], to: str, leader: str, floor: int = 0
    ) -> list[Operation]:
        """Return the operations that give a device to a member, if nobody has changed its leader meanwhile."""
        name, row = found
        before = {"generation": row["generation"], "leader": leader or None}
        generation = leadership.next_generation(max(row["generation"], floor), time.time())
        after = {"generation": generation, "leader": to or None}
        return [only_if("Device", name, before), update("Device", row_is(name), after)]

    def _commit(self, changes: Iterable[list[Operation]]) -> None:
        operations = [operation for change in changes for operation in change]
        if operations:
            self._transactions.transact(operations)

    def _alive(self) -> dict[str, Member]:
        gone = set(leadership.dead(self._seen, self.own))
        return {name: member for name, member in self._members.items() if name not in gone}

    def _rows_by_dpid(self) -> dict[int, tuple[str, dict[str, Any]]]:
        return {int(row["dpid"], 16): (name, row) for name, row in self._copy.rows["Device"].items()}

    def _forget_gone(self, now: float) -> None:
        for dpid, since in list(self._gone.items()):
            if now - since >= AWAY_FOR:
                del self._gone[dpid]
                self._connected.discard(dpid)
                self._mark_due()
        if any(due <= now for _floor, due in self._demoted.values()):
            self._mark_due()


def _end_of(name: str) -> Operation:
    return delete("Member", row_is(name))


def _member(row: Mapping[str, Any]) -> Member:
    return Member(frozenset(int(text, 16) for text in row["devices"]), row["leaving"])


def _text(dpid: int) -> str:
    return f"{dpid:016x}"
