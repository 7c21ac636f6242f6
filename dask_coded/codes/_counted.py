"""How many sets of shares decode: counted, where that can be done, without asking for each set.

Shares fall into components: a dependence among results never spans two of them. Then a set decodes
exactly when its part in each component does there, and the counts of a code are products of the
counts of its components. Copies of a block are a component, and so is a group of an alloy code.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dask_coded.codes._code import AbstractCode
from dask_coded.codes._progress import Progress
from dask_coded.fields import Field

__all__ = ["DecodableSets", "decodable_sets"]

# A coordinate this small beside the largest of its row is rounding.
_NO_PART = 1e-8
# Beyond so many shares, the numbers of sets are too long to compute with.
_MOST_SHARES = 256


@dataclass(frozen=True, eq=False)
class Component:
    """Sets of the shares of one component that determine the outputs' part in it."""

    shares: tuple[int, ...]
    """Ascending."""
    counts: Any
    """``counts[size][last]``: sufficient sets of a size whose last share is ``shares[last]``."""
    needed: bool
    """Whether the empty set is not sufficient."""

    def packed(self, bits: int) -> list[int]:
        """For each number of first shares: sufficient sets among them, as one integer.

        That integer is the polynomial ``sum_s (sets of s shares) z**s`` at ``z = 2**bits``.
        """
        values = [0 if self.needed else 1]
        for last in range(len(self.shares)):
            new = sum(row[last] << (size * bits) for size, row in enumerate(self.counts))
            values.append(values[-1] + new)
        return values


@dataclass(frozen=True, eq=False)
class DecodableSets:
    """The decodable sets of a code, by number of shares and last share."""

    n_shares: int
    components: tuple[Component, ...]

    @cached_property
    def _packed(self) -> list[list[int]]:
        return [component.packed(self.n_shares + 1) for component in self.components]

    def among_first(self, count: int) -> list[int]:
        """Decodable sets of 0, 1, ..., `count` shares, all among the first `count` shares."""
        total = 1
        for component, packed in zip(self.components, self._packed, strict=True):
            total *= packed[sum(share < count for share in component.shares)]
        # No count exceeds 2**n_shares, so the coefficients do not run into each other.
        bits = self.n_shares + 1
        mask = (1 << bits) - 1
        return [total >> (size * bits) & mask for size in range(count + 1)]


def decodable_sets(code: AbstractCode, most: int) -> DecodableSets | None:
    """The decodable sets of a code, None where more than `most` would have to be looked at."""
    if code.n_shares > _MOST_SHARES:
        return None
    field = code.field
    rows, functional = _in_shares(code)
    spare = code.n_shares - code.recovery_threshold
    made = []
    for shares, columns in _components(rows):
        part = functional[:, columns]
        fewest = field.rank(part) if columns else 0
        # With all shares of other components, so many decode whichever they are.
        enough = max(fewest, len(shares) - spare)
        if fewest == 0 or len(columns) == 1:
            enough = fewest
        if enough > fewest and sum(math.comb(len(shares), s) for s in range(enough)) > most:
            return None
        counts = (
            _all_from(len(shares), fewest)
            if enough == fewest
            else _searched(field, rows[np.ix_(shares, columns)], part, fewest, enough)
        )
        made.append(Component(tuple(shares), counts, needed=fewest > 0))
    return DecodableSets(code.n_shares, tuple(made))


def _in_shares(code: AbstractCode) -> tuple[Any, Any]:
    """Responses ``(N, r)`` and targets ``(O, r)`` in terms of r independent shares' results."""
    field = code.field
    lift = field.compress(code.responses())
    basis: Any = field.matmul(code.responses(), lift)
    progress = Progress.start(field, np.arange(basis.shape[1]), None)
    independent = []
    for share, row in enumerate(basis):
        grown = progress.extended(row)
        if grown is not progress:
            independent.append(share)
            progress = grown
    chosen = basis[independent]
    found = []
    for wanted in (basis, field.matmul(code.targets(), lift)):
        parts: Any = field.solve(chosen, wanted)
        if not field.exact:
            sizes = np.abs(parts)
            parts[sizes <= _NO_PART * sizes.max(axis=1, initial=0.0, keepdims=True)] = 0
        found.append(parts)
    return found[0], found[1]


def _components(rows: Any) -> list[tuple[list[int], list[int]]]:
    """Shares and coordinates of each component; shares without any coordinate each on their own."""
    component = np.arange(rows.shape[1])
    for row in rows:
        joined = np.unique(component[np.flatnonzero(row)])
        component[np.isin(component, joined)] = joined.min(initial=rows.shape[1])
    made: dict[int, tuple[list[int], list[int]]] = {
        int(label): ([], np.flatnonzero(component == label).tolist())
        for label in np.unique(component)
    }
    empty: list[tuple[list[int], list[int]]] = []
    for share, row in enumerate(rows):
        found = np.flatnonzero(row)
        if found.size:
            made[int(component[found[0]])][0].append(share)
        else:
            empty.append(([share], []))
    return [*made.values(), *empty]


def _all_from(count: int, fewest: int) -> list[list[int]]:
    """Counts where every set of `fewest` shares or more is sufficient."""
    return [
        [math.comb(last, size - 1) if size >= max(fewest, 1) else 0 for last in range(count)]
        for size in range(count + 1)
    ]


def _searched(
    field: Field, rows: Any, functional: Any, fewest: int, enough: int
) -> list[list[int]]:
    """Counts by going through all sets of less than `enough` shares that are not sufficient."""
    count = len(rows)
    # Sets that are sufficient without having been so before their last share.
    first = [[0] * count for _ in range(count + 1)]

    def visit(start: int, size: int, progress: Progress) -> None:
        for share in range(start, count):
            if size + count - share < fewest:
                return
            grown = progress.extended(rows[share])
            if size + 1 >= enough or (size + 1 >= fewest and grown.decodable):
                first[size + 1][share] += 1
            else:
                visit(share + 1, size + 1, grown)

    visit(0, 0, Progress.start(field, np.arange(rows.shape[1]), functional))
    found = [list(row) for row in first]
    for size, end in np.argwhere(np.array(first, dtype=object)).tolist():
        # Whatever is added between the share that made it sufficient and a later last one.
        for last in range(end + 1, count):
            for more in range(last - end):
                found[size + 1 + more][last] += first[size][end] * math.comb(last - end - 1, more)
    return found
