"""Text exposition format 0.0.4 of Prometheus: metric families, their samples, and the buckets of histograms."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from flowlane.northbound.monitoring.readers import Reading, Sample, Values
    from flowlane.telemetry import Histogram

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metric(NamedTuple):
    """A metric family. ``read`` returns its samples: values of the labels, and the value."""

    name: str
    type: str
    labels: tuple[str, ...]
    about: str
    read: Callable[[Reading], Iterable[Sample]]


class HistogramMetric(NamedTuple):
    """A metric family of type histogram: values of the labels, and the histogram."""

    name: str
    labels: tuple[str, ...]
    about: str
    read: Callable[[Reading], Iterable[tuple[Values, Histogram]]]

    @property
    def type(self) -> str:
        """The type in the text format."""
        return "histogram"


def lines(metric: Metric | HistogramMetric, reading: Reading) -> Iterator[str]:
    """Write a metric family, a sample or a histogram at a time."""
    yield f"# HELP {metric.name} {metric.about}\n# TYPE {metric.name} {metric.type}\n"
    yield from (
        _bucket_lines(metric, reading)
        if isinstance(metric, HistogramMetric)
        else _sample_lines(metric, reading)
    )


def _sample_lines(metric: Metric, reading: Reading) -> Iterator[str]:
    for values, value in metric.read(reading):
        yield f"{metric.name}{_labels(metric.labels, values)} {value:.17g}\n"


def _bucket_lines(metric: HistogramMetric, reading: Reading) -> Iterator[str]:
    for values, histogram in metric.read(reading):
        plain = _labels(metric.labels, values)
        bounds = [f"{bound:.12g}" for bound in histogram.bounds] + ["+Inf"]
        for bound, count in zip(bounds, accumulate(histogram.counts), strict=True):
            yield f"{metric.name}_bucket{_labels((*metric.labels, 'le'), (*values, bound))} {count}\n"
        yield f"{metric.name}_sum{plain} {histogram.sum:.17g}\n{metric.name}_count{plain} {sum(histogram.counts)}\n"


def _labels(names: tuple[str, ...], values: Values) -> str:
    if not names:
        return ""
    return (
        "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True)) + "}"
    )


def _escape(value: str) -> str:
    if value.isascii() and value.isalnum():
        return value
    clean = value.encode("utf-8", "replace").decode()
    return clean.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
