"""Fuzz what reads the bytes of others, guided by the branches that inputs reach (atheris, libFuzzer).

    PYTHONPATH=app:tests:. .venv/bin/python -m fuzz TARGET ... [--inputs N] [--seconds S] [--keep]

Every target runs in a process of its own, one after the other. Findings are written to ``.run/fuzz/TARGET/``: an
input that raises what its reader does not promise, takes more than 50 ms of processor time, loops, or leaves memory
behind. ``--keep`` adds to the corpus what reaches lines that no input of the corpus reaches.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import atheris

from flowlane import hub

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FINDINGS = Path(__file__).parents[2] / ".run" / "fuzz"

INSTRUMENTED = [
    "flowlane.core.frame",
    "flowlane.core.flowkey",
    "flowlane.core.classify",
    "flowlane.northbound",
    "flowlane.policy",
    "flowlane.simulation",
    "flowlane.southbound",
    "flowlane.units",
    "os_ken.ofproto.nx_actions",
    "os_ken.ofproto.nx_match",
    "os_ken.ofproto.ofproto_parser",
    "os_ken.ofproto.ofproto_v1_3_parser",
    "os_ken.ofproto.ofproto_v1_4_parser",
    "os_ken.ofproto.ofproto_v1_5_parser",
    "os_ken.ofproto.oxx_fields",
]
"""Packages and modules in which new branches count: each costs time at every start."""

QUICKLY_INSTRUMENTED = [
    "flowlane.core.frame",
    "flowlane.northbound.http.routing",
    "flowlane.policy.document",
    "flowlane.simulation.packets",
    "flowlane.simulation.csv_rows",
    "flowlane.southbound.ipfix.messages",
    "flowlane.southbound.openflow.session.decode",
    "flowlane.southbound.openflow.wire",
    "flowlane.southbound.ovsdb.jsonrpc",
    "flowlane.southbound.ovsdb.tables",
]
"""Those of a quick run: a start takes a third of the time."""


def others(wanted: Sequence[str]) -> list[str]:
    """Return the modules of both packages that are not among these, nor in them: atheris takes packages as a whole."""
    found = []
    for package in ("flowlane", "os_ken"):
        (root,) = importlib.util.find_spec(package).submodule_search_locations  # type: ignore[union-attr,misc]
        for path in Path(root).rglob("*.py"):
            name = ".".join((package, *path.relative_to(root).with_suffix("").parts)).removesuffix(
                ".__init__"
            )
            if not any(f"{name}.".startswith(f"{one}.") for one in wanted):
                found.append(name)
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Drop a line of atheris for each module."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def main(arguments: Sequence[str]) -> int:
    """Fuzz; return 1 where something was found."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help="of tests/fuzz/targets.py; none: all of them"
    )
    parser.add_argument(
        "--inputs", type=int, default=1_000_000, help="inputs for each target (default 1000000)"
    )
    parser.add_argument("--seconds", type=int, default=0, help="most seconds for each target (default: any)")
    parser.add_argument(
        "--keep", action="store_true", help="add findings, and what reaches new lines, to the corpus"
    )
    parser.add_argument("--quick", action="store_true", help="be guided by fewer modules, to start sooner")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    hub.prepare(patch=False)
    guides = QUICKLY_INSTRUMENTED if options.quick else INSTRUMENTED
    with (
        quiet(),
        atheris.instrument_imports(["flowlane", "os_ken"], others(guides), enable_loader_override=False),
    ):
        from fuzz import targets  # noqa: PLC0415  (instrumented as they are imported)
    from fuzz import corpus, session  # noqa: PLC0415

    unknown = set(options.targets) - set(targets.TARGETS)
    if unknown:
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(targets.TARGETS)}")
    found = 0
    print(f"{'target':<12}{'inputs':>9}{'1/s':>8}{'slowest':>10}{'objects':>9}{'findings':>10}", flush=True)
    for name in options.targets or targets.TARGETS:
        directory = FINDINGS / name
        seeds = corpus.seeds(name)
        result = session.run(targets.TARGETS[name], seeds, directory, options.inputs, options.seconds)
        found += result.findings
        print(
            f"{name:<12}{result.inputs:>9}{result.per_second:>8.0f}{result.slowest * 1000:>7.1f} ms"
            f"{result.objects:>9}{result.findings:>10}",
            flush=True,
        )
        if options.keep:
            corpus.keep_findings(name, directory)
            corpus.keep(name, [path.read_bytes() for path in sorted((directory / "reached").iterdir())])
    if found:
        print(f"{found} findings, in {FINDINGS}")
    return 1 if found else 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)
