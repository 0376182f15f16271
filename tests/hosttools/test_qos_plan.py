"""plan_qos on a database in memory: its changes must lead to the desired rows, and a second plan must be empty."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowlane.core.model import QueueKind
from flowlane.errors import NotFoundError, RequestError
from flowlane.hosttools.qos_plan import DesiredQos, RowChange, even_queues, orphans, plan_clear, plan_qos
from flowlane.southbound.ovsdb.rows import PortRow, QosRow, QueueRow, RootRow, Snapshot, dangling

UP, OTHER = UUID(int=1), UUID(int=2)
GBIT = 10**9


def database(
    qos: dict[UUID, QosRow] | None = None,
    queues: dict[UUID, QueueRow] | None = None,
    ports: dict[UUID, UUID] | None = None,
) -> Snapshot:
    ports = ports or {}
    rows = {UP: PortRow("up0", (), ports.get(UP)), OTHER: PortRow("up1", (), ports.get(OTHER))}
    return Snapshot({UUID(int=9): RootRow()}, {}, rows, {}, qos or {}, queues or {}, {})


def applied(changes: list[RowChange], before: Snapshot) -> Snapshot:
    """What the server would have after the changes."""
    names: dict[Any, UUID] = {c.row: uuid4() for c in changes if c.action == "insert"}
    tables: dict[str, dict[UUID, Any]] = {
        "Port": dict(before.ports),
        "QoS": dict(before.qos),
        "Queue": dict(before.queues),
    }
    for change in changes:
        rows, row = tables[change.table], names.get(change.row, change.row)
        assert isinstance(row, UUID)
        columns: dict[str, Any] = {
            name: {k: names.get(v, v) for k, v in value.items()}
            if name == "queues"
            else names.get(value, value)
            if isinstance(value, str | UUID) and name == "qos"
            else value
            for name, value in change.columns.items()
        }
        if change.action == "delete":
            del rows[row]
        elif change.action == "insert":
            rows[row] = (QosRow if change.table == "QoS" else QueueRow)(**columns)
        else:
            rows[row] = rows[row]._replace(**columns)
    after = before._replace(ports=tables["Port"], qos=tables["QoS"], queues=tables["Queue"])
    assert dangling(after) == []
    return after


def wanted(physical: int, software: int = 0, rate: int = GBIT, port: str = "up0") -> DesiredQos:
    return DesiredQos(port, "linux-htb", rate, even_queues(physical, software, rate, None))


def table_of(snapshot: Snapshot, port: UUID = UP) -> dict[int, dict[str, str]]:
    uuid = snapshot.ports[port].qos
    assert uuid is not None
    rows = {queue_id: snapshot.queues[u] for queue_id, u in snapshot.qos[uuid].queues.items()}
    return {queue_id: {**row.other_config, **row.external_ids} for queue_id, row in sorted(rows.items())}


def test_a_bare_port_gets_its_queues() -> None:
    after = applied(plan_qos(wanted(1, 1), database()), database())
    common = {"max-rate": "1000000000", "min-rate": "500000000", "flowlane": "up0"}
    assert table_of(after) == {
        0: {**common, "flowlane-kind": "physical"},
        1: {**common, "flowlane-kind": "software"},
    }
    assert after.ports[OTHER].qos is None


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5), st.sampled_from([10**6, GBIT])).filter(
            lambda t: t[0] + t[1] > 0
        ),
        max_size=5,
    )
)
def test_any_way_leads_to_what_was_asked_and_then_nothing_more(steps: list[tuple[int, int, int]]) -> None:
    now = database()
    for physical, software, rate in steps:
        now = applied(plan_qos(wanted(physical, software, rate), now), now)
        kinds = [row["flowlane-kind"] for row in table_of(now).values()]
        assert kinds == ["physical"] * physical + ["software"] * software
        assert plan_qos(wanted(physical, software, rate), now) == []
        assert orphans(now) == ([], [])
    assert applied(plan_clear("up0", now), now) == database()


def test_rows_keep_their_uuids_when_queues_come_and_go() -> None:
    first = applied(plan_qos(wanted(4), database()), database())
    uuid = first.ports[UP].qos
    assert uuid is not None
    smaller = applied(plan_qos(wanted(2), first), first)
    assert smaller.ports[UP].qos == uuid
    assert smaller.qos[uuid].queues == {k: first.qos[uuid].queues[k] for k in (0, 1)}
    larger = applied(plan_qos(wanted(3), smaller), smaller)
    assert {k: larger.qos[uuid].queues[k] for k in (0, 1)} == smaller.qos[uuid].queues


def test_what_the_operator_added_to_our_rows_stays() -> None:
    first = applied(plan_qos(wanted(1), database()), database())
    queue = next(iter(first.queues))
    row = first.queues[queue]
    mine = first._replace(
        queues={
            queue: row._replace(
                other_config={**row.other_config, "priority": "1"},
                external_ids={**row.external_ids, "n": "x"},
            )
        }
    )
    assert plan_qos(wanted(1), mine) == []
    after = applied(plan_qos(wanted(1, rate=10**6), mine), mine)
    assert table_of(after)[0]["priority"] == "1"
    assert table_of(after)[0]["n"] == "x"


FOREIGN, THEIRS = UUID(int=50), UUID(int=51)


def foreign(**ports: UUID) -> Snapshot:
    by_port = {{"up0": UP, "up1": OTHER}[name]: uuid for name, uuid in ports.items()}
    return database(
        {FOREIGN: QosRow("linux-hfsc", {3: THEIRS})}, {THEIRS: QueueRow({"max-rate": "5"})}, by_port
    )


def test_priorities_are_set_taken_back_and_otherwise_left_to_the_operator() -> None:
    def given(*priorities: int | None) -> DesiredQos:
        rows = zip(wanted(2).queues, priorities, strict=True)
        return wanted(2)._replace(queues=tuple(row._replace(priority=prio) for row, prio in rows))

    def priorities(snapshot: Snapshot) -> list[str | None]:
        (qos,) = snapshot.qos.values()
        return [snapshot.queues[qos.queues[queue]].other_config.get("priority") for queue in (0, 1)]

    state = applied(plan_qos(given(0, 3), database()), database())
    assert priorities(state) == [None, "3"], "0 is Open vSwitch's default"
    assert plan_qos(given(0, 3), state) == []
    assert plan_qos(given(None, None), state) == []
    changed = applied(plan_qos(given(2, 0), state), state)
    assert priorities(changed) == ["2", None]


def test_the_leaf_is_recorded_in_the_qos_row() -> None:
    state = applied(plan_qos(wanted(2)._replace(leaf="fq_codel"), database()), database())
    (qos,) = state.qos.values()
    assert qos.external_ids == {"flowlane": "up0", "flowlane-leaf": "fq_codel"}
    (change,) = plan_qos(wanted(2)._replace(leaf="none"), state)
    assert change.columns["external_ids"]["flowlane-leaf"] == "none"


def test_a_foreign_qos_row_is_refused_then_replaced_and_leaves_nothing_behind() -> None:
    before = foreign(up0=FOREIGN)
    with pytest.raises(RequestError, match=r"did not make.*linux-hfsc.*--replace"):
        plan_qos(wanted(2), before)
    with pytest.raises(RequestError, match="--replace"):
        plan_clear("up0", before)
    after = applied(plan_qos(wanted(2), before, replace=True), before)
    assert FOREIGN not in after.qos
    assert THEIRS not in after.queues
    assert orphans(after) == ([], [])


def test_a_foreign_row_that_another_port_uses_survives_the_replacement() -> None:
    before = foreign(up0=FOREIGN, up1=FOREIGN)
    after = applied(plan_qos(wanted(2), before, replace=True), before)
    assert after.ports[OTHER].qos == FOREIGN
    assert after.qos[FOREIGN] == before.qos[FOREIGN]
    assert after.queues[THEIRS] == before.queues[THEIRS]


def test_a_row_of_ours_that_another_port_took_up_is_not_changed_under_it() -> None:
    first = applied(plan_qos(wanted(2), database()), database())
    shared = first._replace(ports={**first.ports, OTHER: PortRow("up1", (), first.ports[UP].qos)})
    after = applied(plan_qos(wanted(4), shared), shared)
    assert len(table_of(after)) == 4
    assert table_of(after, OTHER) == table_of(shared, OTHER)
    assert after.ports[OTHER] == shared.ports[OTHER]


def test_a_queue_row_that_another_qos_row_uses_is_not_changed_under_it() -> None:
    first = applied(plan_qos(wanted(2), database()), database())
    qos = first.ports[UP].qos
    assert qos is not None
    shared_queue = first.qos[qos].queues[1]
    shared = first._replace(
        qos={**first.qos, FOREIGN: QosRow("linux-htb", {0: shared_queue})},
        ports={**first.ports, OTHER: PortRow("up1", (), FOREIGN)},
    )
    after = applied(plan_qos(wanted(2, rate=10**6), shared), shared)
    assert after.queues[shared_queue] == shared.queues[shared_queue]
    assert table_of(after)[1]["max-rate"] == "1000000"
    gone = applied(plan_clear("up0", after), after)
    assert set(gone.queues) == {shared_queue}


def test_our_orphans_of_this_port_are_collected_and_other_ports_not() -> None:
    first = applied(plan_qos(wanted(2), database()), database())
    cut = first._replace(ports=database().ports, qos={**first.qos, FOREIGN: QosRow("linux-htb")})
    assert applied(plan_clear("up1", cut), cut) == cut
    after = applied(plan_qos(wanted(2), cut), cut)
    assert FOREIGN in after.qos
    assert len(after.qos) == 2
    assert len(after.queues) == 2


def test_an_unknown_port_is_named() -> None:
    with pytest.raises(NotFoundError, match="up7"):
        plan_qos(wanted(1, port="up7"), database())


@pytest.mark.parametrize(
    ("physical", "software", "rate", "low"),
    [(0, 0, GBIT, None), (-1, 2, GBIT, None), (61441, 0, GBIT, None), (4, 0, 100, 26)],
)
def test_queues_that_cannot_be_are_refused(physical: int, software: int, rate: int, low: int | None) -> None:
    with pytest.raises(RequestError):
        even_queues(physical, software, rate, low)


@given(st.integers(1, 300), st.integers(0, 300), st.integers(1000, 10**12))
def test_even_guarantees_never_exceed_the_port(physical: int, software: int, rate: int) -> None:
    queues = even_queues(physical, software, rate, None)
    assert sum(queue.min_rate or 0 for queue in queues) <= rate
    assert sum(queue.kind is QueueKind.SOFTWARE for queue in queues) == software
    assert [queue.queue_id for queue in queues] == list(range(physical + software))


def test_no_guarantee_on_demand() -> None:
    assert even_queues(2, 0, GBIT, 0)[0].min_rate is None
