from __future__ import annotations

from types import SimpleNamespace

from flowlane.southbound.openflow.session.liveness import DEAD_AFTER, ECHO_AFTER, Liveness


def test_a_device_is_not_given_up_before_it_was_asked_however_late_the_controller_is() -> None:
    liveness = Liveness(SimpleNamespace(is_stalled=False, has_unread=False), 0.0)
    late = 3 * DEAD_AFTER
    assert not liveness.fault(late), "nobody has asked it"
    assert liveness.is_echo_due(late)
    assert not liveness.fault(late + 1.0)
    assert liveness.fault(late + ECHO_AFTER / 2)
    liveness.last_message = late + 1.0
    assert not liveness.fault(late + 1.0 + DEAD_AFTER + 1.0), "the reply to the last request has come"
