"""Putting a row on a slot, taking it off, and changing its rate: the only code that touches sums and chains.

Sums are integers, so that whatever is added can be taken away exactly: loads never drift.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate.state import MEASURED, NOBODY, Cell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.allocate.state import Group, PortState, Region, Slot

GUESS = 1_000
"""bit/s assumed of a new flow while no flow of its class was measured: not 0, so that counts balance."""

LOOK = 8
"""Flows of a chain that are looked at when one of them is to be chosen."""

MAX_RATE = (1 << 60) - 1
"""bit/s; a higher rate, which no counter means, is taken as this."""

WAITING_BANDS = 64
"""Rates are chained in bands, one for each power of two (0 to 63).

Flows that wait for a queue of their own are chained in bands from here on, 64 for each priority.
"""


def put(state: PortState, row: int, slot: Slot, group: Group, vm: int, waiting: bool = False) -> None:
    """Put a placed-nowhere row, whose rate column is set, on a slot. ``vm`` is 0 unless its flows keep together."""
    cell = slot.cells.get((group.key, vm))
    if cell is None:
        cell = _open(state, slot, group, vm)
    columns = state.columns
    rate = columns.rate[row]
    band = rate.bit_length()
    if waiting:
        band += WAITING_BANDS * (1 + state.demands[columns.profile[row]].priority)
        _claim(state, slot.region, row, 1)
    columns.cell[row] = cell.index
    _chain(state, cell, row, band)
    _add(state, cell, rate, 1)


def take(state: PortState, row: int) -> None:
    """Take a row off its slot; an empty cell goes with its last row."""
    columns = state.columns
    cell = state.cells[columns.cell[row]]
    assert cell is not None
    if columns.band[row] >= WAITING_BANDS:
        _claim(state, cell.slot.region, row, -1)
    _unchain(state, cell, row)
    columns.cell[row] = NOBODY
    _add(state, cell, -columns.rate[row], -1)
    if cell.count == 0:
        _close(state, cell)


def set_rate(state: PortState, row: int, rate: int) -> None:
    """Change the rate of a placed row."""
    columns = state.columns
    cell = state.cells[columns.cell[row]]
    assert cell is not None
    delta = rate - columns.rate[row]
    columns.rate[row] = rate
    if delta == 0:
        return
    old = columns.band[row]
    band = (old & ~(WAITING_BANDS - 1)) + rate.bit_length()
    if band != old:
        _unchain(state, cell, row)
        _chain(state, cell, row, band)
    _add(state, cell, delta, 0)


def group_of(state: PortState, row: int) -> Group:
    """The group that a placed row is counted in."""
    cell = state.cells[state.columns.cell[row]]
    assert cell is not None
    return cell.group


def first_rows(state: PortState, head: int, most: int = LOOK) -> Iterator[int]:
    """The first few rows of a chain: all of a chain differ by a factor of two at most."""
    after = state.columns.next
    row, seen = head, 0
    while row >= 0 and seen < most:
        yield row
        row, seen = after[row], seen + 1


def rows_of(state: PortState, cell: Cell) -> list[int]:
    """The rows of a cell, in a fixed order."""
    after = state.columns.next
    rows: list[int] = []
    for head in cell.heads.values():
        row = head
        while row >= 0:
            rows.append(row)
            row = after[row]
    return rows


def learn(state: PortState, row: int, class_index: int, rate: int) -> None:
    """Note a measured rate of a row for the estimates of its class, in the place of what was noted before."""
    columns = state.columns
    known = state.measured_rates.get(class_index)
    if known is None:
        known = state.measured_rates[class_index] = [0, 0]
    if columns.flags[row] & MEASURED:
        known[0] -= columns.rate[row]
    else:
        known[1] += 1
        columns.flags[row] |= MEASURED
    known[0] += rate


def forget(state: PortState, row: int, class_index: int) -> None:
    """Take a row out of the estimates of its class."""
    columns = state.columns
    if columns.flags[row] & MEASURED:
        known = state.measured_rates[class_index]
        known[0] -= columns.rate[row]
        known[1] -= 1
        columns.flags[row] &= ~MEASURED
        if known[1] == 0:
            del state.measured_rates[class_index]


def estimate(state: PortState, class_index: int) -> int:
    """What a flow of this class is taken to send until it is measured, in bit/s."""
    known = state.measured_rates.get(class_index)
    return max(1, known[0] // known[1]) if known else GUESS


def _open(state: PortState, slot: Slot, group: Group, vm: int) -> Cell:
    if state.free_cells:
        index = state.free_cells.pop()
    else:
        index = len(state.cells)
        state.cells.append(None)
    cell = Cell(index, slot, group, vm)
    state.cells[index] = cell
    slot.cells[group.key, vm] = cell
    if vm:
        group.homes[vm] = cell
    return cell


def _close(state: PortState, cell: Cell) -> None:
    state.cells[cell.index] = None
    state.free_cells.append(cell.index)
    del cell.slot.cells[cell.group.key, cell.vm]
    if cell.group.homes.get(cell.vm) is cell:
        del cell.group.homes[cell.vm]


def _add(state: PortState, cell: Cell, rate: int, count: int) -> None:
    slot, group = cell.slot, cell.group
    region = slot.region
    cell.load += rate
    slot.load += rate
    group.load += rate
    region.load += rate
    state.load += rate
    pool = slot.pool
    if pool is not None:
        pool.loads[slot.place] += rate
    if count:
        cell.count += count
        slot.count += count
        group.count += count
        region.count += count
        state.count += count


def _claim(state: PortState, region: Region, row: int, count: int) -> None:
    """Count a flow that waits for a queue of its own."""
    demand = state.demands[state.columns.profile[row]]
    key = demand.class_index, demand.max_queues
    region.waiting += count
    region.claims[key] = region.claims.get(key, 0) + count
    if not region.claims[key]:
        del region.claims[key]


def _chain(state: PortState, cell: Cell, row: int, band: int) -> None:
    columns = state.columns
    head = cell.heads.get(band, NOBODY)
    columns.band[row] = band
    columns.prev[row] = NOBODY
    columns.next[row] = head
    if head >= 0:
        columns.prev[head] = row
    else:
        cell.mask |= 1 << band
    cell.heads[band] = row


def _unchain(state: PortState, cell: Cell, row: int) -> None:
    columns = state.columns
    before, after, band = columns.prev[row], columns.next[row], columns.band[row]
    if after >= 0:
        columns.prev[after] = before
    if before >= 0:
        columns.next[before] = after
    elif after >= 0:
        cell.heads[band] = after
    else:
        del cell.heads[band]
        cell.mask ^= 1 << band
