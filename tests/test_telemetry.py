from __future__ import annotations

from flowlane.telemetry import OTHER, Histogram, HttpTraffic, Telemetry


def test_a_bound_belongs_to_its_bucket() -> None:
    """Prometheus' buckets are "less than or equal to"."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.1):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.sum == 7.1


def test_clients_do_not_make_up_series() -> None:
    http = HttpTraffic()
    for number in range(100):
        http.note(f"METHOD{number}", None, 404, 0.001)
        http.note("GET", "/v1/flows/{id}", 200, 0.001)
    assert dict(http.requests) == {(OTHER, OTHER, 404): 100, ("GET", "/v1/flows/{id}", 200): 100}
    assert set(http.seconds) == {OTHER, "/v1/flows/{id}"}


def test_what_is_gone_is_forgotten() -> None:
    telemetry = Telemetry()
    for dpid in (1, 2):
        telemetry.traffic_of(dpid).packet_ins += 1
        telemetry.note_move(dpid, "QUEUE_GONE")
    telemetry.forget_others([2])
    assert list(telemetry.devices) == [2]
    assert dict(telemetry.moves) == {(2, "queue-gone"): 1}
