from __future__ import annotations

from flowlane.southbound.openflow.entries import Change, MeterEntry, Op
from flowlane.southbound.openflow.ledger import Ledger

ONE, TWO, THREE = (Change(Op.ADD, MeterEntry(number, 1000, 0)) for number in (1, 2, 3))


def test_error_leads_to_its_change_once() -> None:
    ledger = Ledger()
    ledger.add(1, ONE)
    ledger.add(2, TWO)
    assert ledger.refused(2) == TWO
    assert ledger.refused(2) is None
    assert ledger.refused(1) == ONE


def test_barrier_reply_confirms_what_was_sent_before_it_only() -> None:
    ledger = Ledger()
    ledger.add(0xFFFFFFFF, ONE)
    ledger.add_barrier(0)
    ledger.add(1, TWO)
    assert ledger.unconfirmed == 1
    ledger.confirm(0)
    assert ledger.refused(0xFFFFFFFF) is None
    assert ledger.refused(1) == TWO


def test_later_barrier_confirms_all_earlier_ones() -> None:
    ledger = Ledger()
    for xid, change in enumerate((ONE, TWO, THREE)):
        ledger.add(10 * xid, change)
        ledger.add_barrier(10 * xid + 1)
    ledger.confirm(11)
    assert len(ledger) == 2
    ledger.confirm(99)
    assert len(ledger) == 2
    ledger.confirm(21)
    assert len(ledger) == 0
