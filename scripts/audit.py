"""Audit the packages that Flowlane runs with against known vulnerabilities; ``python -m scripts.audit``.

pip-audit asks PyPI's JSON API about each version that is installed. Where the API is not reachable nothing is
audited, and that is said: a build without network is not a build with a vulnerability.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any, NamedTuple

ACCEPTED: Mapping[str, str] = {}
"""Id of an advisory -> why it does not concern Flowlane. Each has a line in SECURITY.md."""

WITHIN = 60
"""Seconds for all answers."""

_NAME = re.compile(r"[A-Za-z0-9._-]+")


class Audit(NamedTuple):
    """``audited``: packages with an answer; ``unknown``: those without; ``found``: one line for each vulnerability."""

    audited: int
    unknown: int
    found: tuple[str, ...]


def installed(name: str) -> dict[str, str]:
    """Return name -> version of a package and all that it needs, without extras, as they are installed."""
    found: dict[str, str] = {}
    pending = [name]
    while pending:
        current = re.sub(r"[-_.]+", "-", pending.pop()).lower()
        if current in found:
            continue
        try:
            found[current] = version(current)
            needed = requires(current) or []
        except PackageNotFoundError:
            continue  # For another platform or Python.
        pending += [match[0] for text in needed if "extra ==" not in text and (match := _NAME.match(text))]
    found.pop(name)
    return found


def read(report: Mapping[str, Any]) -> Audit:
    """Read pip-audit's report."""
    audited = unknown = 0
    found: list[str] = []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unknown += 1
            continue
        audited += 1
        for one in package["vulns"]:
            names = {one["id"], *one.get("aliases", ())}
            if names.isdisjoint(ACCEPTED):
                fixed = ", ".join(one.get("fix_versions", ())) or "no version"
                found.append(f"{package['name']} {package['version']}: {one['id']}, fixed in {fixed}")
    return Audit(audited, unknown, tuple(found))


def ask(packages: Mapping[str, str]) -> Audit:
    """Have pip-audit ask about these versions."""
    lines = "".join(f"{name}=={number}\n" for name, number in sorted(packages.items()))
    command = [sys.executable, "-m", "pip_audit", "-r", "/dev/stdin", "--no-deps", "--disable-pip"]
    command += ["--progress-spinner", "off", "--timeout", "10", "-f", "json"]
    try:
        done = subprocess.run(
            command, input=lines, capture_output=True, text=True, timeout=WITHIN, check=False
        )
        return read(json.loads(done.stdout))
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return Audit(0, len(packages), ())


def summary(audit: Audit) -> Sequence[str]:
    """Return what to print."""
    total = audit.audited + audit.unknown
    if not audit.audited:
        return [f"NOT AUDITED: none of {total} packages, as PyPI's advisories cannot be read here"]
    left = f"; {audit.unknown} could not be audited" if audit.unknown else ""
    verdict = f"{len(audit.found)} vulnerabilities" if audit.found else "no known vulnerability"
    return [*audit.found, f"{audit.audited} packages audited{left}: {verdict}"]


def main() -> int:
    """Audit; return 1 where a vulnerability is known that is not accepted."""
    audit = ask(installed("flowlane"))
    print("\n".join(summary(audit)))
    return 1 if audit.found else 0


if __name__ == "__main__":
    sys.exit(main())
