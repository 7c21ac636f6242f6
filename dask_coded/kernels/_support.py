"""Weight rows sorted by what they read: nothing, one block as it is, or a group of blocks."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Group", "Plan", "plan_rows"]

# Reading an element of a block costs about as much as so many multiply-adds.
_READ_COST = 8


class Group(NamedTuple):
    """Rows that are computed together, as one dense product over the blocks they read."""

    rows: list[int]
    columns: list[int]
    uniform: bool
    """Whether every row has a weight other than zero for every column."""


class Plan(NamedTuple):
    """What to do for each row of a weight matrix."""

    zeros: list[int]
    copies: list[tuple[int, int]]
    """(row, column) of rows that are a single one."""
    groups: list[Group]


def plan_rows(weights: npt.NDArray[Any]) -> Plan:
    """Sort rows by support; join those whose supports are alike enough to be read once.

    Joining makes some zero weights part of a dense product, which costs multiply-adds and saves
    reads; it is done where it saves more.
    """
    nonzero = weights != 0
    if weights.shape[1] > 1 and nonzero.all():
        everything = Group(list(range(len(weights))), list(range(weights.shape[1])), True)
        return Plan([], [], [everything] if len(weights) else [])
    counts = nonzero.sum(axis=1)
    units = (counts == 1) & (weights == 1).any(axis=1)
    copies = [(int(row), int(nonzero[row].argmax())) for row in np.flatnonzero(units)]
    by_support: dict[bytes, list[int]] = {}
    packed = np.packbits(nonzero, axis=1, bitorder="little")
    for row in np.flatnonzero((counts > 0) & ~units):
        by_support.setdefault(packed[row].tobytes(), []).append(int(row))
    joined: list[tuple[int, list[int]]] = []
    for support, rows in sorted(by_support.items(), key=lambda item: -len(item[1])):
        mask = int.from_bytes(support, "little")
        for index, (other, others) in enumerate(joined):
            union = mask | other
            together = _cost(len(rows) + len(others), union)
            if together <= _cost(len(rows), mask) + _cost(len(others), other):
                joined[index] = (union, others + rows)
                break
        else:
            joined.append((mask, rows))
    groups = []
    for mask, rows in joined:
        columns = [column for column in range(weights.shape[1]) if mask >> column & 1]
        rows.sort()
        groups.append(Group(rows, columns, bool(nonzero[np.ix_(rows, columns)].all())))
    return Plan([int(row) for row in np.flatnonzero(counts == 0)], copies, groups)


def _cost(rows: int, support: int) -> int:
    return support.bit_count() * (rows + _READ_COST)
