"""Time to check a policy, to compile it, and to classify a flow, for policies of 1 to 1,000 rules.

Prints a table and writes JSON: ``python -m bench.controller.policy [--json FILE]``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from time import perf_counter
from timeit import repeat

from flowlane import policy as policies
from flowlane.core.classify.classifier import compile_rules
from flowlane.core.flowkey import IPV4, TCP, FlowParts
from flowlane.core.model import Vm

COUNTS = (1, 10, 100, 1000)
CALLS = 5000
RULE = """  - name: rule {n}
    match:
      vm: [web-{n}*, db-{n}, app-*]
      protocol: tcp
      src: 10.{a}.{b}.0/24
      dst-port: [{port}, "{first}-{last}"]
      dscp: {dscp}
    class: a
"""


def document(count: int) -> str:
    rules = (
        RULE.format(n=n, a=n % 256, b=n // 256, port=n + 1, first=n + 2000, last=n + 2010, dscp=n % 64)
        for n in range(count)
    )
    return "version: 1\nclasses: {a: {limit: 50Mbit/s}}\nrules:\n" + "".join(rules)


def measure(count: int) -> dict[str, float]:
    text = document(count)
    start = perf_counter()
    policy = policies.load(text)
    checked = perf_counter() - start
    start = perf_counter()
    classifier = compile_rules(policy)
    compiled = perf_counter() - start
    vm = Vm(1, "app-5", "app-5", 1, 1, "vf1")
    parts = FlowParts(1, None, IPV4, TCP, 40000, 60000, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
    best = min(repeat(lambda: classifier.classify(vm, parts, 0, 0), number=CALLS, repeat=5)) / CALLS
    return {
        "rules": count,
        "bytes": len(text),
        "check_s": checked,
        "compile_s": compiled,
        "classify_us": best * 1e6,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    rows = [measure(count) for count in COUNTS]
    print(f"{'rules':>6} {'bytes':>8} {'check':>9} {'compile':>9} {'classify a flow':>16}")
    for row in rows:
        print(
            f"{row['rules']:>6} {row['bytes']:>8} {row['check_s']:>8.3f}s {row['compile_s']:>8.3f}s"
            f" {row['classify_us']:>13.2f} us"
        )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
