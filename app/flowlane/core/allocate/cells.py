"""Rows on slots: insert, remove, change of the rate. The only code that changes sums of loads and linked lists.

Sums are integers, so that what was added can be subtracted exactly: loads do not drift.

The flows of a cell are in doubly linked lists, one for each *band* of rates, which holds the rates between
two powers of two. So a flow of about a given rate is found, inserted and removed in a time that does not
depend on how many flows there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowlane.core.allocate.state import HELD, MEASURED, NO_ROW, QUIET, Cell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flowlane.core.allocate.state import Group, PortState, Slot

DEFAULT_RATE = 1_000
"""The rate in bit/s of a new flow while no flow of its class is measured; not 0, so that numbers of flows count."""

SCAN = 8
"""Flows of a list that are compared when one of them is to be chosen."""

MAX_RATE = (1 << 60) - 1
"""The highest rate in bit/s; a higher one, which no device has, is cut to this."""

LEFT_OVER = ~(MEASURED | QUIET | HELD)
"""Flags that a new row has not: they may be left over from a port that was removed with its flows."""

WAITING_BANDS = 64
"""Bands of rates: band b holds the rates of b bits, 0 to 63.

Flows that wait for an exclusive queue are in bands from this number on, 64 for each priority.
"""


def insert(state: PortState, row: int, slot: Slot, group: Group, vm: int, waiting: bool = False) -> None:
    """Put a row that is on no slot, and whose rate column is set, on a slot.

    Args:
        slot: where to put it.
        group: the group that it is counted in.
        vm: its VM's number where the VM's flows keep together, else 0.
        waiting: whether it waits for an exclusive queue.
    """
    cell = slot.cells.get((group.key, vm))
    if cell is None:
        cell = _open_cell(state, slot, group, vm)
    columns = state.columns
    rate = columns.rate[row]
    band = rate.bit_length()
    if waiting:
        band += WAITING_BANDS * (1 + state.demands[columns.profile[row]].priority)
        slot.region.waiting += 1
    columns.cell[row] = cell.index
    _link(state, cell, row, band)
    _add_to_sums(state, cell, rate, 1)


def enter(state: PortState, cell: Cell, row: int, profile: int, class_index: int) -> None:
    """Put a new row in a cell, with the rate that is assumed of its class: what ``place_on`` comes to there.

    Args:
        profile: the number of the row's demand.
        class_index: the class of the demand.
    """
    columns = state.columns
    state.arrived += 1
    if row >= len(columns.cell):
        columns.grow(row)
    columns.profile[row] = profile
    state.references[profile] += 1
    columns.moved_at.pop(row, None)
    columns.flags[row] &= LEFT_OVER
    rate = columns.rate[row] = estimate_rate(state, class_index)
    columns.cell[row] = cell.index
    _link(state, cell, row, rate.bit_length())
    _add_to_sums(state, cell, rate, 1)


def remove(state: PortState, row: int) -> None:
    """Take a row off its slot; an empty cell is deleted."""
    columns = state.columns
    cell = state.cells[columns.cell[row]]
    assert cell is not None
    if columns.band[row] >= WAITING_BANDS:
        cell.slot.region.waiting -= 1
    _unlink(state, cell, row)
    columns.cell[row] = NO_ROW
    _add_to_sums(state, cell, -columns.rate[row], -1)
    if cell.count == 0:
        _close_cell(state, cell)


def set_rate(state: PortState, row: int, rate: int) -> None:
    """Change the rate of a placed row, in bit/s."""
    columns = state.columns
    cell = state.cells[columns.cell[row]]
    assert cell is not None
    delta = rate - columns.rate[row]
    columns.rate[row] = rate
    if delta == 0:
        return
    old_band = columns.band[row]
    band = (old_band & ~(WAITING_BANDS - 1)) + rate.bit_length()
    if band != old_band:
        _unlink(state, cell, row)
        _link(state, cell, row, band)
    _add_to_sums(state, cell, delta, 0)


def cell_of(state: PortState, row: int) -> Cell:
    """Return the cell of a placed row."""
    cell = state.cells[state.columns.cell[row]]
    assert cell is not None
    return cell


def slot_of(state: PortState, row: int) -> Slot:
    """Return the slot of a placed row."""
    return cell_of(state, row).slot


def group_of(state: PortState, row: int) -> Group:
    """Return the group that a placed row is counted in."""
    return cell_of(state, row).group


def first_rows(state: PortState, head: int, most: int = SCAN) -> Iterator[int]:
    """Yield the first rows of a list, at most ``most``; the rates of one list differ by a factor of two at most."""
    next_row = state.columns.next
    row, seen = head, 0
    while row >= 0 and seen < most:
        yield row
        row, seen = next_row[row], seen + 1


def rows_on(state: PortState, slot: Slot) -> list[int]:
    """Return the rows of a slot, cell by cell."""
    return [row for cell in slot.cells.values() for row in rows_of(state, cell)]


def rows_of(state: PortState, cell: Cell) -> list[int]:
    """Return the rows of a cell, in an order that depends on earlier calls only."""
    next_row = state.columns.next
    rows: list[int] = []
    for head in cell.heads.values():
        row = head
        while row >= 0:
            rows.append(row)
            row = next_row[row]
    return rows


def add_measured_rate(state: PortState, row: int, class_index: int, rate: int) -> None:
    """Count a measured rate of a row in the mean of its class, in the place of the one counted before."""
    columns = state.columns
    rates = state.measured_rates.get(class_index)
    if rates is None:
        rates = state.measured_rates[class_index] = [0, 0]
    if columns.flags[row] & MEASURED:
        rates[0] -= columns.rate[row]
    else:
        rates[1] += 1
        columns.flags[row] |= MEASURED
    rates[0] += rate


def remove_measured_rate(state: PortState, row: int, class_index: int) -> None:
    """Take a row out of the mean of its class."""
    columns = state.columns
    if columns.flags[row] & MEASURED:
        rates = state.measured_rates[class_index]
        rates[0] -= columns.rate[row]
        rates[1] -= 1
        columns.flags[row] &= ~MEASURED
        if rates[1] == 0:
            del state.measured_rates[class_index]


def estimate_rate(state: PortState, class_index: int) -> int:
    """Return the rate in bit/s assumed of a flow of the class until it is measured: the mean of the class."""
    rates = state.measured_rates.get(class_index)
    return max(1, rates[0] // rates[1]) if rates else DEFAULT_RATE


def _open_cell(state: PortState, slot: Slot, group: Group, vm: int) -> Cell:
    if state.free_cells:
        index = state.free_cells.pop()
    else:
        index = len(state.cells)
        state.cells.append(None)
    cell = Cell(index, slot, group, vm)
    state.cells[index] = cell
    slot.cells[group.key, vm] = cell
    if vm:
        group.vm_cells[vm] = cell
    return cell


def _close_cell(state: PortState, cell: Cell) -> None:
    state.cells[cell.index] = None
    state.free_cells.append(cell.index)
    del cell.slot.cells[cell.group.key, cell.vm]
    if cell.group.vm_cells.get(cell.vm) is cell:
        del cell.group.vm_cells[cell.vm]


def _add_to_sums(state: PortState, cell: Cell, rate: int, count: int) -> None:
    slot, group = cell.slot, cell.group
    region = slot.region
    cell.load += rate
    slot.load += rate
    group.load += rate
    region.load += rate
    state.load += rate
    pool = slot.pool
    if pool is not None:
        pool.loads[slot.position] += rate * slot.scale
    if count:
        cell.count += count
        slot.count += count
        group.count += count
        region.count += count
        state.count += count


def _link(state: PortState, cell: Cell, row: int, band: int) -> None:
    columns = state.columns
    head = cell.heads.get(band, NO_ROW)
    columns.band[row] = band
    columns.prev[row] = NO_ROW
    columns.next[row] = head
    if head >= 0:
        columns.prev[head] = row
    else:
        cell.mask |= 1 << band
    cell.heads[band] = row


def _unlink(state: PortState, cell: Cell, row: int) -> None:
    columns = state.columns
    prev_row, next_row, band = columns.prev[row], columns.next[row], columns.band[row]
    if next_row >= 0:
        columns.prev[next_row] = prev_row
    if prev_row >= 0:
        columns.next[prev_row] = next_row
    elif next_row >= 0:
        cell.heads[band] = next_row
    else:
        del cell.heads[band]
        cell.mask ^= 1 << band
