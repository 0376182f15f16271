"""The figure Flowlane is for: small flows' latency beside heavy flows on one uplink, in the lab (docs/lab.md).

    .venv/bin/python bench/latency_lab.py --out DIR        writes DIR/latency.json, latency.svg, and a table

One boot, four placements in turn, several rounds: nothing heavy (the ideal), one queue for all, hash placement
(a select group, as RSS does it), Flowlane. ``--plot FILE`` draws again from a JSON file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
COLOURS = {"nothing heavy": "#777777", "one queue": "#b2182b", "hash": "#ef8a62", "flowlane": "#2166ac"}


def free_ports(count: int) -> list[int]:
    """TCP ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def controller(openflow: int, rest: int, ovsdb: int, log: Path) -> Iterator[None]:
    """Run flowlane-manager outside the guest, as it mostly runs elsewhere: the emulated CPU carries packets only."""
    command = [
        str(ROOT / ".venv/bin/flowlane-manager"), "--ofp-listen-host", "127.0.0.1",
        "--ofp-tcp-listen-port", str(openflow), "--wsapi-port", str(rest), "--ovsdb", f"tcp:127.0.0.1:{ovsdb}",
        "--policy", str(ROOT / "bench/latency_policy.yaml"),
    ]  # fmt: skip
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def measure(arguments: argparse.Namespace) -> Path:
    """Run the guest's part in a fresh guest; return the JSON file it wrote."""
    openflow, rest, ovsdb = free_ports(3)
    out = arguments.out.absolute()
    boot = [
        str(ROOT / "lab/boot"), "--layout", arguments.layout, "--queues", str(arguments.queues),
        "--rate", arguments.rate, "--min-rate", arguments.min_rate, "--out", str(out), "--timeout", "3000",
        "--hostfwd", f"tcp:127.0.0.1:{ovsdb}-:6640", "--env", f"LATENCY_CONTROLLER=tcp:10.0.2.2:{openflow}",
        "--env", f"LATENCY_REST=http://10.0.2.2:{rest}",
    ]  # fmt: skip
    numbers = ("rounds", "seconds", "heavy", "small", "warm_up", "interval")
    options = [
        word for name in numbers for word in (f"--{name.replace('_', '-')}", str(getattr(arguments, name)))
    ]
    guest = [
        str(ROOT / ".venv/bin/python"), str(ROOT / "bench/latency_guest.py"), *options,
        "--out", "/run/lab/out/rounds.json",
        "--placements", *arguments.placements,
    ]  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    with controller(openflow, rest, ovsdb, out / "controller.log"):
        subprocess.run([*boot, "--", *guest], check=True)
    facts = {name: str(value) for name, value in vars(arguments).items()}
    target = out / "latency.json"
    target.write_text(
        json.dumps({"arguments": facts, "rounds": json.loads((out / "rounds.json").read_text())})
    )
    (out / "rounds.json").unlink()
    return target


def quantile(values: list[float], share: float) -> float:
    """The value below which ``share`` of the sorted ``values`` lie (nearest rank)."""
    return values[min(len(values) - 1, int(share * len(values)))]


def jain(rates: list[float]) -> float:
    """Jain's fairness index: 1 when all are equal, 1/n when one has everything."""
    squares = sum(rate * rate for rate in rates)
    return sum(rates) ** 2 / (len(rates) * squares) if squares else 1.0


def summarise(rounds: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Per placement over all rounds: quantiles in ms, heavy flows' total in Mbit/s, their fairness, CPU share."""
    found = {}
    for placement in dict.fromkeys(row["placement"] for row in rounds):
        rows = [row for row in rounds if row["placement"] == placement]
        times = sorted(value * 1000 for row in rows for value in row["latency_s"])
        heavy = [row["heavy_bit_s"] for row in rows if row["heavy_bit_s"]]
        found[placement] = {
            "requests": len(times),
            "lost": sum(row["lost"] for row in rows),
            "p50_ms": quantile(times, 0.5),
            "p99_ms": quantile(times, 0.99),
            "p99.9_ms": quantile(times, 0.999),
            "heavy_mbit_s": sum(map(sum, heavy)) / 1e6 / len(heavy) if heavy else 0.0,
            "fairness": sum(map(jain, heavy)) / len(heavy) if heavy else 1.0,
            "cpu": sum(row["cpu_share"] for row in rows) / len(rows),
        }
    return found


def table(summary: dict[str, dict[str, float]]) -> str:
    """The summary as a Markdown table."""
    columns = list(next(iter(summary.values())))
    lines = ["| placement | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(f"{row[column]:.4g}" for column in columns) + " |"
        for name, row in summary.items()
    ]
    return "\n".join(lines)


def draw(rounds: list[dict[str, Any]], summary: dict[str, dict[str, float]], target: Path) -> None:
    """How many requests took longer than a time: the tail is what a user feels."""
    import matplotlib  # noqa: PLC0415  # only here, so that measuring needs no plotting

    matplotlib.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    for placement, row in summary.items():
        times = sorted(
            v * 1000 for part in rounds if part["placement"] == placement for v in part["latency_s"]
        )
        shares = [1 - index / len(times) for index in range(len(times))]
        axes.loglog(
            times, shares, label=f"{placement} (p99 {row['p99_ms']:.0f} ms)", color=COLOURS[placement], lw=1.8
        )
    axes.set_xlabel("request to answer, ms")
    axes.set_ylabel("share of requests that took longer")
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(target)


def main() -> None:
    """Measure unless told to draw only."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("latency-lab"))
    parser.add_argument("--plot", type=Path, metavar="JSON")
    parser.add_argument("--layout", choices=("veth", "sriov"), default="veth")
    for name, default in (("queues", 4), ("heavy", 4), ("small", 40), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rate", default="20Mbit/s")
    parser.add_argument("--min-rate", default="2Mbit/s")
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="that count, of each placement in each round"
    )
    parser.add_argument(
        "--warm-up", type=float, default=20.0, help="before that: heavy flows fill queues, and are measured"
    )
    parser.add_argument("--placements", nargs="+", choices=COLOURS, default=list(COLOURS))
    parser.add_argument("--interval", type=float, default=0.4, help="between two requests of one small flow")
    arguments = parser.parse_args()
    source = arguments.plot or measure(arguments)
    rounds = json.loads(source.read_text())["rounds"]
    summary = summarise(rounds)
    draw(rounds, summary, source.with_suffix(".svg"))
    sys.stdout.write(table(summary) + "\n")


if __name__ == "__main__":
    main()
