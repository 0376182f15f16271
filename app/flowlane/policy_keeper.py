"""Keeps the policy in force in the state directory, while others are served."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING

from flowlane import hub
from flowlane.policy import store

if TYPE_CHECKING:
    from pathlib import Path

    from flowlane.core.policy import PolicyOrigin
    from flowlane.core.state.device import State

_LOG = logging.getLogger(__name__)
_NEXT_LOOK = 0.01
"""Seconds between two looks at whether another policy has been written."""


class PolicyKeeper:
    """Writes policies that came over REST, one at a time, and always the one that is in force by then.

    Args:
        directory: the state directory; None: there is none.
        first: origin of the policy that the controller began with.
    """

    def __init__(self, directory: Path | None, first: PolicyOrigin) -> None:
        self._directory = directory
        self._kept = first
        """Origin of the policy that is in force after a restart now."""
        self._is_writing = False
        if directory is not None and not os.access(directory, os.W_OK | os.X_OK):
            _LOG.warning(
                "policies put in force over REST will be lost at a restart: %s is not writable", directory
            )

    def is_kept(self, origin: PolicyOrigin) -> bool:
        """Return whether the policy of an origin is in force again after a restart."""
        return origin == self._kept

    def note(self, origin: PolicyOrigin) -> None:
        """Note that a policy was read from its file: it is in force after a restart, too."""
        self._kept = origin

    def keep(self, state: State) -> bool:
        """Write the policy in force; return whether it is in force again after a restart."""
        origin = state.policy_origin
        whom = store.who(origin)
        if self._directory is None:
            _LOG.warning(
                "policy %s of %s is lost at a restart: there is no --state-dir to keep it in",
                origin.hash[:12],
                whom,
            )
            return False
        while self._is_writing:
            hub.sleep(_NEXT_LOOK)
        if self.is_kept(state.policy_origin):
            return True
        self._is_writing = True
        try:
            origin = state.policy_origin
            hub.in_thread(partial(store.save, self._directory, state.policy, origin))
        except OSError as error:
            _LOG.warning(
                "policy %s of %s is lost at a restart: it cannot be written to %s: %s",
                origin.hash[:12],
                whom,
                self._directory / store.FILE_NAME,
                error.strerror or error,
            )
            return False
        finally:
            self._is_writing = False
        self._kept = origin
        _LOG.info("policy %s of %s is kept in %s", origin.hash[:12], whom, self._directory / store.FILE_NAME)
        return True
