"""The policy that was put in force over REST, kept in the state directory; which policy is in force at start."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from flowlane import state_files
from flowlane.core.policy import PolicyOrigin
from flowlane.errors import ConfigError, PolicyError
from flowlane.policy.loader import default, load, load_file

if TYPE_CHECKING:
    from flowlane.core.policy import Policy

FILE_NAME = "policy.json"
"""Name of the file in the state directory."""

REFUSED_SUFFIX = ".refused"
"""Added to the name of a kept policy that cannot be used, so that the next one does not replace it."""

_VERSION = 1
_LOG = logging.getLogger(__name__)


class Kept(NamedTuple):
    """A policy with what is known of where it came from."""

    policy: Policy
    origin: PolicyOrigin


def hash_of(text: str) -> str:
    """Return the hash by which a policy is named: SHA-256 of its text in UTF-8, in hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def save(directory: Path, policy: Policy, origin: PolicyOrigin) -> None:
    """Keep a policy; blocks until the disk has it.

    Raises:
        OSError: the file cannot be written.
    """
    data = {"version": _VERSION, **origin._asdict(), "text": policy.text}
    state_files.replace(directory / FILE_NAME, json.dumps(data, indent=2).encode() + b"\n")


def at_start(directory: Path | None, file: Path | None, started: float) -> Kept:
    """Return the policy to begin with: of the file and the kept one the newer, else the built-in one.

    What is kept and cannot be read is a warning, never an error: the controller has to start.

    Args:
        directory: the state directory; None: there is none.
        file: the file given at start; None: none was given.
        started: Unix time of the start, in seconds.

    Raises:
        ConfigError: the file given at start cannot be read.
        PolicyError: the file given at start is refused.
    """
    kept = None if directory is None else _load_kept(directory)
    given = None if file is None else _load_given(file)
    if given is None:
        return kept or _built_in(started)
    if kept is None or kept.policy.text == given.policy.text:
        return given
    if given.origin.time > kept.origin.time:
        _LOG.warning(
            "policy %s is newer than the one that %s put in force over REST, which is not used any more",
            file,
            who(kept.origin),
        )
        return given
    _LOG.warning(
        "policy %s is not used: it is older than the one that %s put in force over REST; to use it, touch it",
        file,
        who(kept.origin),
    )
    return kept


def at_reload(file: Path, in_force: Policy, origin: PolicyOrigin) -> Kept | None:
    """Return the policy of the file where it is to be used instead of the one in force; else None, and log why.

    Raises:
        ConfigError: the file cannot be read.
        PolicyError: the file is refused.
    """
    given = _load_given(file)
    if given.policy.text == in_force.text:
        _LOG.info("policy %s has not changed", file)
        return None
    if origin.source == "rest" and given.origin.time <= origin.time:
        _LOG.warning(
            "policy %s is not used: it is older than the one that %s put in force over REST; to use it, touch it",
            file,
            who(origin),
        )
        return None
    return given


def who(origin: PolicyOrigin) -> str:
    """Name who put a policy in force over REST, and from where."""
    return f"{origin.by or 'somebody without a token'} from {origin.address or 'an unknown address'}"


def _built_in(started: float) -> Kept:
    policy = default()
    return Kept(policy, PolicyOrigin("built-in", hash_of(policy.text), started))


def _load_given(file: Path) -> Kept:
    policy = load_file(file)
    try:
        modified = file.stat().st_mtime
    except OSError as error:
        raise ConfigError(f"policy file {file} cannot be read: {error.strerror or error}") from error
    return Kept(policy, PolicyOrigin("file", hash_of(policy.text), modified, file=str(file)))


def _load_kept(directory: Path) -> Kept | None:
    path = directory / FILE_NAME
    try:
        return _read_kept(json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except OSError as error:
        _LOG.warning("the policy kept in %s cannot be read: %s", path, error.strerror or error)
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"field {error} is missing" if isinstance(error, KeyError) else str(error)
    except PolicyError as error:
        reason = "; ".join(str(problem) for problem in error.problems)
    aside = path.with_name(path.name + REFUSED_SUFFIX)
    with suppress(OSError):
        path.replace(aside)
    _LOG.warning("the policy kept in %s cannot be used, and is now %s: %s", path, aside, reason)
    return None


def _read_kept(data: Any) -> Kept:
    if not isinstance(data, dict) or data.get("version") != _VERSION or not isinstance(data["text"], str):
        raise ValueError(f'an object with "version": {_VERSION} and a string "text" is expected')
    text = data["text"]
    if data["hash"] != hash_of(text):
        raise ValueError("the hash is not that of the text")
    origin = PolicyOrigin("rest", data["hash"], float(data["time"]), str(data["by"]), str(data["address"]))
    return Kept(load(text, "kept policy"), origin)
