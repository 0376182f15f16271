"""Packages that only some options need, and the error that names what to install before any work begins."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from flowlane.errors import FlowlaneError

EXTRAS = {"matplotlib": "plan", "zstandard": "plan"}
"""Package -> the extra of setup.cfg that has it."""

PACKAGED = "/usr/lib/flowlane"
"""Where the Debian package has its environment."""

SYSTEM_PACKAGES = "/usr/lib/python3/dist-packages"
"""Where Debian's Python packages are. The environment of the Debian package does not see them: they are other versions
of what it has itself."""


class MissingPackageError(FlowlaneError):
    """An option needs a package that is not installed; the text says how to install it."""

    exit_code = 2


def require(option: str, package: str) -> None:
    """Check that the package which an option needs is installed, without importing it.

    In the Debian package those of Debian are looked at last, and from now on.

    Raises:
        MissingPackageError: it is not.
    """
    remedy = f"pip install 'flowlane[{EXTRAS[package]}]'"
    if find_spec(package) is None and sys.prefix == PACKAGED:
        sys.path.append(SYSTEM_PACKAGES)
        remedy = f"apt install python3-{package}"
    if find_spec(package) is None:
        text = f"{option} needs the Python package {package}, which is not installed; {remedy} brings it"
        raise MissingPackageError(text)
