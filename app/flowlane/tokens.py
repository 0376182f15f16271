"""Tokens of REST: the file that has them, what they may do, and how one is recognized.

A token is 256 random bits, of which the file has the SHA-256 only. A slow hash, as for passwords, would protect
nothing here: nobody can guess 256 bits (NIST SP 800-63B, 5.1.1.2, on secrets of 112 bits and more).
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from flowlane import state_files
from flowlane.errors import ConfigError

READ, OPERATE, HINT = "read", "operate", "hint"
"""Scopes: read everything; change everything; give hints for one VM, as ``hint:VM``."""

FILE_NAME = "tokens.json"
"""Name of the file in the state directory."""

PREFIX = "flowlane_"
"""What every token begins with, so that it is recognized where it should not be (in a log, in a repository)."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
MAX_TOKENS = 1000
_BYTES = 32
_VERSION = 1


class Token(NamedTuple):
    """A token as the file has it. Times are Unix time in seconds; ``expires`` None: never."""

    name: str
    hash: str
    scopes: tuple[str, ...]
    created: float
    expires: float | None = None

    @property
    def hinted_vms(self) -> tuple[str, ...]:
        """The VMs, by id, name or ``vm-uuid``, for which it may give hints."""
        return tuple(scope.partition(":")[2] for scope in self.scopes if scope.startswith(f"{HINT}:"))


def new_secret() -> str:
    """Make a token: what its user has to send."""
    return PREFIX + secrets.token_urlsafe(_BYTES)


def hash_of(secret: str) -> str:
    """Return what the file has of a token."""
    return f"sha256:{hashlib.sha256(secret.encode('utf-8', 'surrogatepass')).hexdigest()}"


def find(tokens: Iterable[Token], secret: str, now: float) -> Token | None:
    """Find a token that has not expired. The time that it takes does not depend on which one it is.

    Args:
        now: Unix time in seconds.
    """
    wanted, found = hash_of(secret), None
    for token in tokens:
        if hmac.compare_digest(token.hash, wanted):
            found = token
    return found if found is not None and (found.expires is None or now < found.expires) else None


def check_scope(text: str) -> str:
    """Return a scope as it is.

    Raises:
        ValueError: it is none; the text says what is accepted.
    """
    kind, colon, vm = text.partition(":")
    if text in (READ, OPERATE) or (kind == HINT and colon and vm and vm.isprintable()):
        return text
    raise ValueError(f"{READ}, {OPERATE}, or {HINT}:VM with a VM's id, name or vm-uuid")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let nobody else change the file of tokens meanwhile.

    Raises:
        ConfigError: there is no such directory.
    """
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(f"directory {path.parent} of the tokens: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def load(path: Path) -> tuple[Token, ...]:
    """Read the file of tokens.

    Raises:
        ConfigError: it cannot be read, or is no file of tokens; the text says where.
    """
    try:
        data: object = json.loads(path.read_text("utf-8"))
        return _read(data)
    except OSError as error:
        raise ConfigError(f"file of tokens {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = f"field {error} is missing" if isinstance(error, KeyError) else str(error)
        raise ConfigError(f"file of tokens {path} is no such file: {reason}") from error


def _read(data: object) -> tuple[Token, ...]:
    if not isinstance(data, dict) or data.get("version") != _VERSION or not isinstance(data["tokens"], list):
        raise ValueError(f'an object with "version": {_VERSION} and a list "tokens" is expected')
    if len(data["tokens"]) > MAX_TOKENS:
        raise ValueError(f"it has more than {MAX_TOKENS} tokens")
    return tuple(read_token(item) for item in data["tokens"])


def read_token(item: Any) -> Token:
    """Read a token from the fields that a file, or a row of a database, has of it.

    Raises:
        ValueError, KeyError, TypeError: they are not those of a token.
    """
    name, hash_, scopes, expires = item["name"], item["hash"], item["scopes"], item.get("expires")
    if not (isinstance(name, str) and NAME.fullmatch(name)):
        raise ValueError(f"{name!r} is no name of a token")
    if not (isinstance(hash_, str) and re.fullmatch("sha256:[0-9a-f]{64}", hash_)):
        raise ValueError(f"the hash of token {name} is not sha256: and 64 hexadecimal digits")
    if not (isinstance(scopes, list) and scopes and all(isinstance(scope, str) for scope in scopes)):
        raise ValueError(f"token {name} has no scopes")
    created = float(item["created"])
    return Token(
        name,
        hash_,
        tuple(check_scope(scope) for scope in scopes),
        created,
        None if expires is None else float(expires),
    )


def save(path: Path, tokens: Sequence[Token]) -> None:
    """Write the file of tokens.

    Raises:
        ConfigError: it cannot be written.
    """
    data = {
        "version": _VERSION,
        "tokens": [{**token._asdict(), "scopes": list(token.scopes)} for token in tokens],
    }
    try:
        state_files.replace(path, json.dumps(data, indent=2).encode() + b"\n")
    except OSError as error:
        raise ConfigError(f"file of tokens {path} cannot be written: {error.strerror or error}") from error
