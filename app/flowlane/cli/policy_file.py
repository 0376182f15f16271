"""The POLICY argument of commands: a policy file, ``-`` for standard input, nothing for the built-in policy."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from flowlane import policy
from flowlane.errors import ConfigError

if TYPE_CHECKING:
    from flowlane.core.policy import Policy

HELP = "policy file; - reads standard input"


def read_policy(name: str | None) -> Policy:
    """Read a policy.

    Args:
        name: a file's name, ``-`` for standard input, or None for the built-in policy.

    Raises:
        PolicyError: the policy is refused.
        ConfigError: the file cannot be read.
    """
    if name is None:
        return policy.default()
    if name == "-":
        return policy.load_stream(_standard_input(), "standard input")
    return policy.load_file(name)


def read_bytes(name: str) -> bytes:
    """Read a policy as it is written, to send it to a controller.

    Raises:
        OSError, ConfigError: it cannot be read.
    """
    return _standard_input().read() if name == "-" else Path(name).read_bytes()


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise ConfigError("policy: standard input is closed; give a file's name")
    return sys.stdin.buffer
