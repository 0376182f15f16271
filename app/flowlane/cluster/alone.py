"""A controller that shares its devices with nobody: it leads all of them, once it has what operators ordered."""

from __future__ import annotations

import logging
from typing import Protocol

from flowlane import hub

_LOG = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds after which devices are led without the database: they need a controller more than it."""


class Leads(Protocol):
    """The connections to devices."""

    def lead(self, dpid: int, generation: int) -> None:
        """Lead a device."""


class Alone:
    """Leads every device that connects, after :meth:`begin`."""

    def __init__(self, devices: Leads) -> None:
        self._devices = devices
        self._has_begun = False
        self._waiting: set[int] = set()
        self._timer: hub.Task | None = None

    def start(self) -> None:
        """Begin after :data:`PATIENCE` at the latest."""
        self._timer = hub.spawn_after(PATIENCE, self._begin_without)

    def stop(self) -> None:
        """Wait no more."""
        if self._timer is not None:
            self._timer.kill()

    def begin(self) -> None:
        """Lead the devices that wait, and all that connect from now on; idempotent."""
        if not self._has_begun:
            self._has_begun = True
            for dpid in sorted(self._waiting):
                self._devices.lead(dpid, 0)
            self._waiting.clear()

    def _begin_without(self) -> None:
        if not self._has_begun:
            _LOG.warning(
                "the database has not answered for %g s: devices are led without what it has", PATIENCE
            )
            self.begin()

    def connected(self, dpid: int) -> None:
        """Lead a device that has connected, or have it wait."""
        if self._has_begun:
            self._devices.lead(dpid, 0)
        else:
            self._waiting.add(dpid)

    def disconnected(self, dpid: int) -> None:
        """Note that a device is gone."""
        self._waiting.discard(dpid)

    def demoted(self, dpid: int, floor: int = 0) -> None:
        """Do nothing: no role was asked for."""

    def generation_of(self, dpid: int) -> int:  # noqa: ARG002
        """Return 0: no role is asked for."""
        return 0
