"""Lengths that came with results: believed as far as the others bear them out.

What counts as agreement grows with the lengths of rows and columns, so that lengths which are too
large would hide errors. But shares are mixtures: with ``g_i = w G`` for the rows G of the others in
the generator, no row of share i is longer than ``sum |w_j| length_j``. Whose lengths break that is
as wrong as if its result were. Up to that bound lengths are believed: it is a few times larger than
they are. Shares whose lengths are too large in the same place may bear each other out.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from dask_coded.codes import AbstractCode
from dask_coded.fields import PAIRED
from dask_coded.graph._padding import padded
from dask_coded.graph._sides import Side, generators_of, splits_of
from dask_coded.typing import Array

__all__ = ["common", "largest", "misjudged"]

# Lengths are themselves rounded, as shares were when they were encoded.
_MARGIN = 2.0


def common(lengths: Sequence[Any]) -> list[Any]:
    """Lengths of several shares in one shape; shorter ones do not reach the end."""
    arrays = [np.asarray(each) for each in lengths]
    rank = max(each.ndim for each in arrays)
    if rank == 0:
        return arrays
    return padded([each.reshape((1,) * (rank - each.ndim) + each.shape) for each in arrays])


def largest(lengths: Sequence[Any]) -> Any:
    """The largest of each entry."""
    return np.max(common(lengths), axis=0)


def misjudged(
    code: AbstractCode,
    side: Side,
    lengths: Mapping[int, tuple[Any, Any] | None],
    unit: float,
    floor: float,
) -> set[int] | None:
    """Shares whose lengths cannot be what they say; None if it is not clear whose are wrong.

    Parameters
    ----------
    code, side
        Of the group.
    lengths
        Of rows and columns of each share; None for a share of void tiles, which tells none.
    unit
        By what shares were rounded.
    floor
        A length that counts as none.
    """
    told = {share: pair for share, pair in lengths.items() if pair is not None}
    (_, p, _), generators = splits_of(code, side), generators_of(code, side)
    out: set[int] = set()
    for operand, generator in enumerate(generators):
        known = dict(told)
        if side == ("rows", "columns")[operand]:
            # Void shares are zero for what they are made of, not for what they are multiplied by.
            none = (np.zeros(1), np.zeros(1))
            known = {share: pair or none for share, pair in lengths.items()}
        if len(known) < 2:
            continue
        bearing = [True] * len(known)
        if p > 1:
            # Where a block of one operand is cut short, the other's counts no further either: the
            # lengths of a share that mixes some blocks only may be less than those of the others.
            full: Any = np.all([np.asarray(each).all(axis=1) for each in generators], axis=0)
            bearing = [bool(full[share]) for share in known]
        values = np.stack(common([pair[operand] for pair in known.values()])).astype(np.float64)
        if code.field == PAIRED and operand == 0:
            values = _of_pairs(values)
        others = _Others(generator, tuple(known), tuple(bearing), unit, floor)
        found = _odd(others, values.reshape(len(known), -1))
        if found is None:
            return None
        out |= found
    return out


def _of_pairs(rows: Any) -> Any:
    """Lengths of rows and of those they are paired with, taken together."""
    half = -(-rows.shape[1] // 2)
    both = np.zeros((2, len(rows), half, *rows.shape[2:]))
    both[0] = rows[:, :half]
    both[1, :, : rows.shape[1] - half] = rows[:, half:]
    return np.hypot(*both)


class _Others:
    """What lengths of some shares allow those of each other."""

    def __init__(
        self,
        generator: Array,
        shares: tuple[int, ...],
        bearing: tuple[bool, ...],
        unit: float,
        floor: float,
    ) -> None:
        self._generator: Any = np.asarray(generator)
        self._content = self._generator.tobytes(), self._generator.dtype.str
        self.shares = shares
        self._bearing = bearing
        self._unit = unit
        self._floor = floor

    def excess(self, left: Sequence[int], values: Any) -> Any:
        """By how much lengths of these positions exceed what the others allow, at their worst."""
        shape = (*self._generator.shape, *self._content)
        shares = tuple((self.shares[i], self._bearing[i]) for i in left)
        sizes = _sizes(shape, shares)
        worst = np.zeros(len(left))
        bounded = np.isfinite(sizes).all(axis=1)
        if values.size == 0 or not bounded.any():
            return worst
        noise = 64 * len(left) * self._unit * (1 - np.eye(len(left)))
        chosen = values[list(left)]
        top = float(chosen.max()) or 1.0
        bounds = _MARGIN * ((sizes + noise)[bounded] @ (chosen / top) + self._floor / top)
        # Beyond the range of numbers next to the largest nothing is bounded.
        safe = np.maximum(bounds, float(np.finfo(np.float64).tiny))
        with np.errstate(over="ignore"):
            worst[bounded] = (chosen[bounded] / top / safe).max(axis=1)
        return worst


def _odd(others: _Others, values: Any) -> set[int] | None:
    """Fewest shares without which no length is larger than the others allow, one by one."""
    out: set[int] = set()
    left = list(range(len(values)))
    while True:
        broken = {
            i for i, excess in zip(left, others.excess(left, values), strict=True) if excess > 1
        }
        if not broken:
            return out
        # Too small lengths of one share make those of others look too large: all are candidates.
        rest = {
            i: float(others.excess([j for j in left if j != i], values).max(initial=0.0))
            for i in left
        }
        least = min(rest.values())
        best = [i for i, excess in rest.items() if excess <= 1.01 * least]
        if least > 1 and (len(best) > 1 or not broken.issuperset(best)):
            return None
        # Those that explain it equally well are all done without.
        out |= {others.shares[i] for i in best}
        left = [i for i in left if i not in best]


@lru_cache(maxsize=256)
def _sizes(generator: tuple[int, int, bytes, str], shares: tuple[tuple[int, bool], ...]) -> Any:
    """``|w|`` of each share by the others, ``(s, s)``; infinite where they do not determine it."""
    height, width, content, dtype = generator
    rows: Any = np.frombuffer(content, dtype).reshape(height, width)
    rows = rows[[share for share, _ in shares]]
    sizes = np.zeros((len(shares), len(shares)))
    for i, row in enumerate(rows):
        others = [j for j, (_, bears) in enumerate(shares) if bears and j != i]
        weights = row @ np.linalg.pinv(rows[others], rcond=1e-10)
        missed = float(np.linalg.norm(weights @ rows[others] - row))
        fits = missed <= 1e-8 * math.sqrt(len(shares)) * float(np.linalg.norm(row))
        sizes[i, others] = np.abs(weights) if fits else np.inf
        if not others:
            sizes[i] = np.inf
    return sizes
