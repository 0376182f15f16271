"""Meters of one device: which flows share one, its id, its rate and burst.

The *owner* of a meter is what it limits: one flow, one VM's flows of a class, or a whole class. Ids are the lowest
free ones, so the same events give the same ids, and an owner keeps its meter as long as a flow uses it. Meters that
stand with the rules, of whole classes and of VMs, stay whether flows use them or not, and have ids of their own range,
so that they are the same ones after a restart, however many flows there were before. A meter that does not change is
not written again: Open vSwitch's userspace datapath would fill its token bucket anew each time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from heapq import heappop, heappush
from zlib import crc32

from flowlane.core.model import MeterSpec
from flowlane.core.policy import LimitScope, TrafficClass

BURST_SECONDS = 0.3
"""Default burst in seconds of the rate.

After a loss that ends in a retransmission timeout TCP is silent for 0.2 s (Linux, TCP_RTO_MIN) and a round trip.
A bucket that is full before that wastes what the flow may send. Over 10 s a burst adds 3 % to what passes.
Measured: docs/operators/policy.md.
"""

SUPER_PACKET = 65_536 * 8
"""Bits of the largest packet that a host hands over as one (GSO_MAX_SIZE); a bucket that is smaller drops it whole."""

SLOW_BURST_SECONDS = 0.45
"""Seconds of a low rate that a burst has at most in order to hold a super-packet: over 10 s it adds less than 5 %."""

KEPT = 16
"""One part in so many of a device's meters is kept for VMs that have few."""

_MANY = 4096
"""A device with so many meters has free ones between those of flows (the lowest) and those of classes (the highest)."""

MIN_BURST = 10 * 1514 * 8
"""Bits: ten full frames. A burst below one frame drops everything (Launchpad 2153122)."""

Owner = tuple[str, int, int]
"""(class name, VM number or -1, row or -1): a name outlives the policy that numbered the classes."""


def owner_of(traffic_class: TrafficClass, vm_number: int, row: int) -> Owner:
    """Find the owner of the meter for a flow of this class."""
    if traffic_class.limit_scope is LimitScope.CLASS:
        return class_owner(traffic_class)
    if traffic_class.limit_scope is LimitScope.VM:
        return vm_owner(traffic_class, vm_number)
    return traffic_class.name, vm_number, row


def class_owner(traffic_class: TrafficClass) -> Owner:
    """Make the owner that is all flows of a class together."""
    return traffic_class.name, -1, -1


def scope_of(owner: Owner) -> LimitScope:
    """Find the scope of the limit that an owner's meter enforces."""
    if not is_shared(owner):
        return LimitScope.FLOW
    return LimitScope.CLASS if _is_class(owner) else LimitScope.VM


def is_shared(owner: Owner) -> bool:
    """Whether several flows are under the meter: those of a VM, or of a whole class."""
    return owner[2] == -1


def vm_owner(traffic_class: TrafficClass, vm_number: int) -> Owner:
    """Make the owner that is all flows of one VM in a class together."""
    return traffic_class.name, vm_number, -1


def _is_class(owner: Owner) -> bool:
    return owner[1] == -1


def size_of(traffic_class: TrafficClass, meter_id: int) -> MeterSpec:
    """Size a meter for a class's limit: at least 1 kbit/s, a meter's unit (OpenFlow 1.3.5, A.3.4.5)."""
    assert traffic_class.rate_limit is not None
    rate = max(traffic_class.rate_limit, 1000)
    return _spec(meter_id, rate, max(traffic_class.burst or default_burst(rate), 1000))


MOST_SHARED = 1 << 14
"""Meters that devices share: ids are the lowest free ones, so that devices under one policy have the same ones.

Each device's own were 250,000 objects for 500 devices with 500 limited flows each, made anew with each limit that
changes, and the collector looked at all of them at once.
"""


@lru_cache(MOST_SHARED)
def _spec(meter_id: int, rate: int, burst: int) -> MeterSpec:
    return MeterSpec(meter_id, rate, burst)


def default_burst(rate: int) -> int:
    """Return the default burst (bits) of a limit (bit/s): TCP reaches 95 % of it, UDP passes it by less than 5 %."""
    super_packet = min(SUPER_PACKET, int(rate * SLOW_BURST_SECONDS))
    return max(int(rate * BURST_SECONDS), super_packet, MIN_BURST)


def _whole(value: int) -> int:
    """Round up to whole kbit, a meter's unit."""
    return -(-value // 1000) * 1000


@dataclass(slots=True)
class MeterPool:
    """Meters of one device.

    Attributes:
        limit: how many the device can have, 0: none.
        room: how many it had when it refused another one; None: it refused none.
        users: meter id -> how many flows use it.
        standing_owners: owners of meters that stand with the rules: of whole classes, and of VMs.
        replaced: ids of meters of pins whose owners have one that stands with the rules now.
        of_vm: VM number -> how many meters its owners have.
        free: ids that were released; some may have been adopted since.
        reserved: ids of meters that are not ours.
        released: meters that were ours, by their ids: the device may still have them.
    """

    limit: int = 0
    room: int | None = None
    ids: dict[Owner, int] = field(default_factory=dict)
    users: dict[int, int] = field(default_factory=dict)
    specs: dict[int, MeterSpec] = field(default_factory=dict)
    standing_owners: set[Owner] = field(default_factory=set)
    replaced: set[int] = field(default_factory=set)
    free: list[int] = field(default_factory=list)
    highest: int = 0
    of_vm: dict[int, int] = field(default_factory=dict)
    reserved: set[int] = field(default_factory=set)
    released: dict[int, MeterSpec] = field(default_factory=dict)

    @property
    def is_full(self) -> bool:
        """Whether the device has no meter left, by its limit or by what it refused; replaced ones it still has."""
        return len(self.ids) + len(self.replaced) >= self.capacity

    @property
    def capacity(self) -> int:
        """How many meters we can have: as many as the device reported and others left, or as it took (``room``)."""
        limit = self.limit - sum(meter_id <= self.limit for meter_id in self.reserved)
        return limit if self.room is None else min(limit, self.room)

    def has_meter_for(self, owner: Owner, given_back: Owner | None) -> bool:
        """Whether :meth:`acquire` would give the owner a meter, once a flow has given ``given_back`` back."""
        if owner in self.ids:
            return True
        if _is_class(owner):
            return False
        meter_id = (
            self.ids.get(given_back)
            if given_back is not None and given_back not in self.standing_owners
            else None
        )
        freed = meter_id is not None and self.users[meter_id] == 1
        return len(self.ids) - freed < self.capacity

    def is_for_others(self, owner: Owner) -> bool:
        """Whether a new meter for an owner would be of those that are kept for VMs with few meters.

        The last sixteenth is for VMs that have less than a sixteenth themselves.
        """
        part = self.capacity // KEPT
        return 0 < part <= self.of_vm.get(owner[1], 0) and self.capacity - len(self.ids) <= part

    def acquire(self, owner: Owner, traffic_class: TrafficClass) -> tuple[MeterSpec | None, bool]:
        """Use the owner's meter for one more flow; it is made when there is none.

        Returns:
            The meter and whether it is new; (None, False) when the device has no meter left.
        """
        meter_id = self.ids.get(owner)
        if meter_id is not None:
            self.users[meter_id] += 1
            return self.specs[meter_id], False
        if self.is_full or _is_class(owner):
            return None, False
        meter_id = self._next_free()
        self._put(owner, meter_id, traffic_class, 1)
        return self.specs[meter_id], True

    def add_standing(self, owner: Owner, traffic_class: TrafficClass) -> bool:
        """Make a meter that stands with the rules, until it is removed; return False when no meter is left.

        A meter of pins that the owner has is replaced by one of another id.
        """
        if self.is_full:
            return False
        users = self._replace(owner) if owner in self.ids else 0
        meter_id = self._highest_free() if _is_class(owner) else self._free_near(owner)
        self._put(owner, meter_id, traffic_class, users)
        self.standing_owners.add(owner)
        return True

    def _replace(self, owner: Owner) -> int:
        users = self.users[self.ids[owner]]
        self.replaced.add(self._remove(owner))
        return users

    def remove_standing(self, owner: Owner) -> int | None:
        """Remove a meter that stands with the rules as soon as no flow uses it; return its id when that is now."""
        self.standing_owners.discard(owner)
        return None if self.users[self.ids[owner]] else self._remove(owner)

    def adopt(self, owner: Owner, meter_id: int, traffic_class: TrafficClass) -> bool:
        """Adopt a meter found in a device for an owner; return False when the owner has another or it is used."""
        if self.ids.get(owner) == meter_id:
            self.users[meter_id] += 1
            return True
        if owner in self.ids or meter_id in self.users or not 0 < meter_id <= self.limit or _is_class(owner):
            return False
        if meter_id in self.reserved:
            return False
        self._put(owner, meter_id, traffic_class, 1)
        return True

    def release(self, owner: Owner) -> int | None:
        """Use the owner's meter for one flow less; return its id when it was the last, so that it can be deleted."""
        meter_id = self.ids.get(owner)
        if meter_id is None:
            return None
        self.users[meter_id] -= 1
        return None if self.users[meter_id] or owner in self.standing_owners else self._remove(owner)

    def resize(self, owner: Owner, traffic_class: TrafficClass) -> MeterSpec | None:
        """Size the owner's meter for its class's present limit; None when nothing changes."""
        meter_id = self.ids[owner]
        spec = size_of(traffic_class, meter_id)
        if self.specs[meter_id] == spec:
            return None
        self.specs[meter_id] = spec
        return spec

    def owner_with(self, meter_id: int) -> Owner | None:
        """Return the owner of a meter; None when no owner has it."""
        return next((owner for owner, number in self.ids.items() if number == meter_id), None)

    def is_ours(self, found: MeterSpec) -> bool:
        """Whether a meter that was found in the device is one that we have put there, as far as can be told."""
        ours = self.specs.get(found.meter_id) or self.released.get(found.meter_id)
        if ours is None or not found.rate:
            return False
        return found.rate == _whole(ours.rate) and found.burst in (0, _whole(ours.burst))

    def renumber(self, owner: Owner) -> MeterSpec | None:
        """Give an owner a meter of another id, since its id is reserved; None when no other is left."""
        if len(self.ids) > self.capacity:
            return None
        old = self.ids[owner]
        users, spec = self.users.pop(old), self.specs.pop(old)
        new = self._highest_free() if owner in self.standing_owners else self._next_free()
        self.ids[owner], self.users[new], self.specs[new] = new, users, spec._replace(meter_id=new)
        return self.specs[new]

    def _next_free(self) -> int:
        while self.free:
            meter_id = heappop(self.free)
            if meter_id not in self.users and meter_id not in self.reserved:
                return meter_id
        self.highest += 1
        while self.highest in self.users or self.highest in self.reserved:
            self.highest += 1
        return self.highest

    def _highest_free(self) -> int:
        taken = self.users.keys() | self.reserved | self.replaced
        return next(number for number in range(self.limit, 0, -1) if number not in taken)

    def _free_near(self, owner: Owner) -> int:
        """Return a free id that depends on the owner alone where there are many: after a restart it is the same one."""
        if self.limit < _MANY:
            return self._highest_free()
        meter_id = self.limit // 2 + crc32(f"{owner[0]} {owner[1]}".encode()) % (self.limit // 4)
        while meter_id in self.users or meter_id in self.reserved or meter_id in self.replaced:
            meter_id += 1
        return meter_id

    def _put(self, owner: Owner, meter_id: int, traffic_class: TrafficClass, users: int) -> None:
        self.ids[owner], self.users[meter_id] = meter_id, users
        self.of_vm[owner[1]] = self.of_vm.get(owner[1], 0) + 1
        self.specs[meter_id] = size_of(traffic_class, meter_id)

    def _remove(self, owner: Owner) -> int:
        meter_id = self.ids.pop(owner)
        self.of_vm[owner[1]] -= 1
        if not self.of_vm[owner[1]]:
            del self.of_vm[owner[1]]
        self.released[meter_id] = self.specs.pop(meter_id)
        del self.users[meter_id]
        if meter_id <= self.highest:
            heappush(self.free, meter_id)
        return meter_id
