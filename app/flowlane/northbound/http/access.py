"""Who may do what over REST: names of the host, requests that browsers send for other sites, tokens and their scopes.

There are no cookies, so a browser adds nothing to a request by itself that would let another site act for its user.
What it can do without a token, where none is needed, the checks of ``Host``, ``Origin`` and ``Sec-Fetch-Site`` prevent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit

from flowlane import tokens, wsgi
from flowlane.errors import ConfigError
from flowlane.northbound.http.problems import ProblemError

if TYPE_CHECKING:
    from webob import Request

    from flowlane.core.state.device import State
    from flowlane.tokens import Token

_LOG = logging.getLogger(__name__)

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))
"""Methods that change nothing (RFC 9110, 9.2.1)."""

SIMPLE_TYPES = frozenset(("application/x-www-form-urlencoded", "multipart/form-data", "text/plain"))
"""Media types that a page of any site can send without asking (Fetch standard, CORS-safelisted request-header)."""

OWN_SITE = frozenset(("same-origin", "none"))
"""Values of ``Sec-Fetch-Site`` of requests that no other site has caused (W3C Fetch Metadata)."""

REALM = 'Bearer realm="flowlane"'
ANY_HOST = "*"
"""In the place of a name: the ``Host`` header is not checked."""

LOG_EVERY = 60.0
"""Seconds between two lines in the log about requests that were refused."""


class Scope(StrEnum):
    """What a route asks of a token."""

    PUBLIC = "public"
    """No token is needed."""
    READ = "read"
    VM = "vm"
    """``read``, or ``hint`` for the VM of the path."""
    HINT = "hint"
    """``operate``, or ``hint`` for the VM of the path."""
    OPERATE = "operate"


class Caller(NamedTuple):
    """Who sent a request.

    ``name``: of the token, else of the client's certificate; empty where neither is needed. ``address``: its IP
    address. ``is_admitted`` says, for long answers, whether it still may read them.
    """

    name: str = ""
    address: str = ""
    is_admitted: Callable[[], bool] = lambda: True


NOBODY = Caller()


class Tokens(Protocol):
    """Where tokens are, beside the file: the database that controllers share."""

    @property
    def problem(self) -> str:
        """Why it is not known which tokens there are; empty once it is."""

    @property
    def is_in_use(self) -> bool:
        """Whether requests need a token."""

    def find(self, secret: str) -> Token | None:
        """Find a token that counts now."""


class TokenFile:
    """The tokens of a file, which is read again when it has changed.

    A file that cannot be used has no tokens: nobody is admitted, and the log says why.

    Args:
        is_required: tokens are needed also while there is no such file.
    """

    def __init__(self, path: Path | None, is_required: bool = False) -> None:
        self.path = path
        self._is_required = is_required
        self._seen: tuple[int, ...] | None = None
        self._tokens: tuple[Token, ...] = ()
        self._exists = False
        self._problem = ""
        self._read()

    @property
    def is_in_use(self) -> bool:
        """Whether requests need a token."""
        self._read()
        return self._exists or self._is_required

    def find(self, secret: str) -> Token | None:
        """Find a token that counts now."""
        self._read()
        return tokens.find(self._tokens, secret, time.time())

    def _read(self) -> None:
        if self.path is None:
            return
        try:
            status = self.path.stat()
            seen = (
                status.st_ino,
                status.st_size,
                status.st_mtime_ns,
                status.st_mode,
                status.st_uid,
                status.st_gid,
            )
        except FileNotFoundError:
            self._exists, self._seen, self._tokens = False, None, ()
            self._note(f"there is no file of tokens {self.path}" if self._is_required else "")
            return
        except OSError as error:
            self._exists, self._seen, self._tokens = True, None, ()
            self._note(f"file of tokens {self.path} cannot be read: {error.strerror or error}")
            return
        if seen == self._seen:
            return
        self._exists, self._seen, self._tokens, problem = True, seen, (), ""
        try:
            self._tokens = tokens.load(self.path)
            _LOG.info("REST needs a token of %s, which has %d", self.path, len(self._tokens))
        except ConfigError as error:
            problem = str(error)
        self._note(problem)

    def _note(self, problem: str) -> None:
        if problem and problem != self._problem:
            _LOG.warning("%s: REST admits nobody until that is mended", problem)
        self._problem = problem


class Access:
    """The checks that a request passes before its handler gets it.

    Args:
        token_file: the tokens; None: no token is needed.
        hosts: names by which the controller is called, beside IP addresses and names of loopback.
        shared: tokens that count as well.
    """

    def __init__(
        self, token_file: TokenFile | None = None, hosts: Iterable[str] = (), shared: Tokens | None = None
    ) -> None:
        self._tokens, self._shared = token_file or TokenFile(None), shared
        self._hosts = frozenset(name.lower().rstrip(".") for name in hosts)
        self._refused, self._logged_at = 0, float("-inf")

    @property
    def needs_token(self) -> bool:
        """Whether requests need a token."""
        return self._tokens.is_in_use or (self._shared is not None and self._shared.is_in_use)

    def _find(self, secret: str) -> Token | None:
        found = self._tokens.find(secret)
        return found if found is not None or self._shared is None else self._shared.find(secret)

    def check_host(self, request: Request) -> None:
        """Refuse a request to a name that is not the controller's: that of a site which was given our address.

        A browser sends the name of the site whose page it shows. A site can have its name resolve to any address (DNS
        rebinding), but cannot have a page of it be called by an IP address or by ``localhost``.

        Raises:
            ProblemError: 421.
        """
        host = request.headers.get("Host", "")
        if not host or ANY_HOST in self._hosts or _is_own(host_name(host), self._hosts):
            return
        self._log_refusal(request, "wrong Host")
        raise ProblemError(
            421,
            f"this controller is not known as {host_name(host)!r}; use its IP address, or give "
            f"flowlane-manager --rest-host {host_name(host)}",
            "Host",
        )

    def check_origin(self, request: Request, reads_body: bool) -> None:
        """Refuse a change that a page of another site has a browser ask for (cross-site request forgery).

        Args:
            reads_body: the route checks the media type of the body itself.

        Raises:
            ProblemError: 403; 415 for a media type of forms where there is to be no body.
        """
        if request.method in SAFE_METHODS:
            return
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        is_foreign = site is not None and site.lower() not in OWN_SITE
        if not is_foreign and origin is not None:
            is_foreign = urlsplit(origin).netloc.lower() != request.headers.get("Host", "").lower()
        if is_foreign:
            self._log_refusal(request, "another site's page")
            field = "Origin" if origin is not None else "Sec-Fetch-Site"
            raise ProblemError(403, "pages of other sites may not change anything here", field)
        if (
            not reads_body
            and request.method == "POST"
            and request.headers.get("Content-Type") in SIMPLE_TYPES
        ):
            raise ProblemError(415, f"no body of type {request.content_type} is read here", "Content-Type")

    def admit(self, request: Request, scope: Scope, state: State, path_id: str = "") -> Caller:
        """Return who sent a request, once it is clear that it may do what it asks for.

        Args:
            scope: what the route asks for.
            path_id: the VM of the path, where the scope is of one VM.

        Raises:
            ProblemError: 401 without a token that counts, 403 with one that may not do this, 503 while nobody knows
                which tokens there are.
        """
        address = request.environ.get("REMOTE_ADDR", "")
        certified = request.environ.get(wsgi.PEER_NAME, "")
        if scope is Scope.PUBLIC or not self.needs_token:
            return Caller(certified, address)
        secret = _secret(request)
        token = None if secret is None else self._find(secret)
        if (token is None or secret is None) and self._shared is not None and self._shared.problem:
            detail = f"it is not known which tokens there are: {self._shared.problem}"
            raise ProblemError(503, detail, headers={"Retry-After": "1"})
        if token is None or secret is None:
            self._log_refusal(request, "no token" if secret is None else "a token that does not count")
            detail = "a token is needed" if secret is None else "the token does not count, or not any more"
            error = "" if secret is None else ', error="invalid_token"'
            raise ProblemError(
                401,
                f"{detail}; send Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": REALM + error},
            )
        if not allows(token, scope, state, path_id):
            self._log_refusal(request, f"token {token.name}")
            raise ProblemError(
                403,
                f"token {token.name} may not do this: it has {', '.join(token.scopes)}",
                headers={"WWW-Authenticate": f'{REALM}, error="insufficient_scope"'},
            )
        return Caller(token.name, address, lambda: self._find(secret) is not None)

    def _log_refusal(self, request: Request, why: str) -> None:
        """Log a refusal, and how many there were since the last line; not each, since anybody can cause them."""
        self._refused += 1
        if time.monotonic() - self._logged_at < LOG_EVERY:
            return
        self._logged_at = time.monotonic()
        _LOG.warning(
            "REST refused %s %s from %s (%s); %d refused since the last such line",
            request.method,
            repr(request.path_info)[1:-1][:200],
            request.environ.get("REMOTE_ADDR", "?"),
            why,
            self._refused,
        )
        self._refused = 0


OPEN = Access()
"""No token is needed; the other checks are made."""


def allows(token: Token, scope: Scope, state: State, path_id: str = "") -> bool:
    """Return whether a token may do what a route asks for."""
    if tokens.OPERATE in token.scopes:
        return True
    if scope in (Scope.READ, Scope.VM) and tokens.READ in token.scopes:
        return True
    if scope not in (Scope.VM, Scope.HINT) or not token.hinted_vms:
        return False
    # By whatever of its names the VM is called, in the path and in the scope; all of several VMs with one name.
    called = [vm for vm in state.vms.values() if vm.is_called(path_id)]
    if not called:
        return path_id in token.hinted_vms
    return all(any(vm.is_called(name) for name in token.hinted_vms) for vm in called)


def _secret(request: Request) -> str | None:
    """Return the bearer token of a request (RFC 6750, 2.1); None where there is none."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" and secret.strip() else None


def host_name(host: str) -> str:
    """Return the name of a ``Host`` header, without its port and without the brackets of an IPv6 address."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def _is_own(name: str, hosts: frozenset[str]) -> bool:
    return name in hosts or name == "localhost" or name.endswith(".localhost") or is_address(name)


def is_address(name: str) -> bool:
    """Return whether a name is an IP address."""
    try:
        ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address to listen at."""
    return host == "localhost" or (is_address(host) and ip_address(host.partition("%")[0]).is_loopback)
