"""Tables of the bench in Markdown: one of all figures, one of the bars for the first policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bench.placement import delay
from bench.placement.figures import SETTLING, Figures

LPT, HASH = "LPT, measured", "hash"

SETTLED_BAR = 1.05
CHURN_MEDIAN_BAR, CHURN_P95_BAR = 1.05, 1.15
SHARE_BAR = 0.02
DELAY_BAR = 10.0
UNREPORTED_BAR = 0.0
"""Changes of queue per second that may lack a report."""


class Row(NamedTuple):
    """The figures of a way on a workload, settled or with churn."""

    workload: str
    state: str
    way: str
    figures: Figures

    def as_dict(self) -> dict[str, object]:
        """Return the row for JSON."""
        return {**self._asdict(), "figures": self.figures._asdict()}


def delays(rows: Sequence[delay.Row]) -> Iterator[str]:
    """Yield the lines of the table of delays; what is less than 10 times better than the hash is bold."""
    yield (
        "| heavy flows | way | inside a queue | p50 us | p99 us | hash's p99 over it | "
        f"p99 us after {delay.SETTLED:.0f} s | hash's over it | lost |"
    )
    yield "|---|---|---|" + "---:|" * 6
    plain = {row.heavy: row for row in rows if (row.way, row.leaf) == (HASH, "FIFO")}
    for row in rows:
        other = plain[row.heavy]
        better = [
            _at_least(mine, bar, row is other)
            for mine, bar in ((other.p99 / row.p99, DELAY_BAR), (other.late_p99 / row.late_p99, DELAY_BAR))
        ]
        yield (
            f"| {row.heavy} | {row.way} | {row.leaf} | {row.p50:.0f} | {row.p99:,.0f} | {better[0]} | "
            f"{row.late_p99:,.0f} | {better[1]} | {row.lost:.3%} |"
        )


def _at_least(value: float, bar: float, is_plain: bool) -> str:
    text = f"{value:.0f}" if value >= 10 else f"{value:.1f}"
    return text if is_plain or value >= bar else f"**{text}**"


def whole(rows: Sequence[Row], subject: str) -> str:
    """Return both tables; the bars are those of the way ``subject``."""
    return "\n".join((*bars(rows, subject), "", *all_figures(rows)))


def all_figures(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table of all figures."""
    yield (
        "| workload | flows | way | median | p95 | "
        f"median after {SETTLING} s | p95 after {SETTLING} s | moves/s | of the flows | most | unreported/s | "
        "software |"
    )
    yield "|---|---|---|" + "---:|" * 9
    for row in rows:
        f = row.figures
        software = "" if f.software < 0 else f"{f.software:.1%}"
        yield (
            f"| {row.workload} | {row.state} | {row.way} | {f.median:.2f} | {f.p95:.2f} | {f.late_median:.2f} | "
            f"{f.late_p95:.2f} | {f.moves:.1f} | {f.share:.1%} | {f.most:.1%} | {f.unreported:.2f} | {software} |"
        )


def bars(rows: Sequence[Row], subject: str) -> Iterator[str]:
    """Yield the lines of the table of bars: what is asked of ``subject``, with every figure that misses it in bold."""
    found = {(row.workload, row.state, row.way): row.figures for row in rows}
    yield (
        f"| workload | settled median after {SETTLING} s (bar) | churn median over LPT's | churn p95 over LPT's | "
        "p95 over hash's: settled | churn | of the flows moved a second: settled | churn | unreported/s |"
    )
    yield "|---|" + "---:|" * 8
    missed = 0
    for workload in dict.fromkeys(row.workload for row in rows):
        settled, churn = (found.get((workload, state, subject)) for state in ("settled", "churn"))
        if settled is None or churn is None or (workload, "churn", LPT) not in found:
            continue
        lpt = [found[workload, state, LPT] for state in ("settled", "churn")]
        hash_ = [found.get((workload, state, HASH)) for state in ("settled", "churn")]
        bar = max(SETTLED_BAR, lpt[0].late_median)
        unreported = max(abs(settled.unreported), abs(churn.unreported))
        cells = [
            _cell(settled.late_median, bar, f"{settled.late_median:.2f} ({bar:.2f})"),
            _cell(churn.median / lpt[1].median, CHURN_MEDIAN_BAR),
            _cell(churn.p95 / lpt[1].p95, CHURN_P95_BAR),
            *(
                _cell(mine.p95 / other.p95, 1.0) if other is not None else ""
                for mine, other in zip((settled, churn), hash_, strict=True)
            ),
            _cell(settled.share, SHARE_BAR, f"{settled.share:.1%}", 0.001),
            _cell(churn.share, SHARE_BAR, f"{churn.share:.1%}", 0.001),
            _cell(unreported, UNREPORTED_BAR),
        ]
        missed += sum(cell.startswith("**") for cell in cells)
        yield f"| {workload} | " + " | ".join(cells) + " |"
    yield ""
    yield f"{subject}: {missed} figures miss their bar."


def _cell(value: float, bar: float, text: str = "", digit: float = 0.01) -> str:
    """Return a figure, in bold where it misses its bar by what the last ``digit`` shows."""
    text = text or f"{value:.2f}"
    return text if value < bar + digit / 2 else f"**{text}**"
