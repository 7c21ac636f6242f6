"""Flexible cross-subspace alignment: a batch in which operands occur in several pairs."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from dask_coded.codes._batch import AbstractBatchCode, Pairs
from dask_coded.codes._bicliques import Bicliques, Layout, checked, layout, single, smallest
from dask_coded.codes._check import arithmetic, enough_shares, one_of, positive, seeded, unpaired
from dask_coded.codes._curves import differences, random_curve, vanishing
from dask_coded.codes._points import enough_points, ring_of, spread_first
from dask_coded.codes._registry import register
from dask_coded.errors import ParameterError
from dask_coded.fields import REAL, Field
from dask_coded.typing import Array

__all__ = ["FlexibleCSA"]

_SEEDS_TRIED = 64


@register("flexible_csa")
@dataclass(frozen=True)
class FlexibleCSA(AbstractBatchCode):
    """``A_i @ B_j`` for the edges (i, j) of a graph, which is cut into complete bipartite parts.

    A share holds one mixture of all left operands and one of all right operands. Each pair has a
    point. The curve of a right operand vanishes at the points of all pairs without it, that of a
    left operand at the points of all parts without it; within a part, left curves are independent
    wherever one right curve does not vanish. What is left of unwanted products vanishes at all
    points, and so takes few dimensions. The first shares are the pairs themselves, except in an
    exact field where a part has several operands on both sides.

    Parameters
    ----------
    n_shares
        Number of shares.
    bicliques
        ``((lefts, rights), ...)``: all pairs of each are wanted, no pair occurs twice.
        :meth:`for_pairs` finds those with the smallest threshold.
    seed
        Of the random curves of left operands, where a part is no star.

    Notes
    -----
    With w(i) pairs in the parts of left operand i, sorted within each part, and d pairs at least
    with any right operand, the threshold of pairs S is ``2 |S| + 1 - d - min (w_k - k)``, or that
    with left and right exchanged. Parts of one pair each have ``2 |S| + 1 - d - d'``, with d' pairs
    at least with any left operand, which is never above the ``2 |S| - 1`` of a Lagrange code.

    In an exact field any K shares decode. Over floats they do with probability one, and always if
    no part has more than one operand that plays left.

    References
    ----------
    Tauz and Dolecek (2022), Variable coded batch matrix multiplication, arXiv:2105.06162.
    Jia and Jafar (2019), Cross subspace alignment codes for coded distributed batch computation,
    arXiv:1909.13873.

    Examples
    --------
    >>> cycle = [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (0, 2)]
    >>> code = FlexibleCSA.for_pairs(cycle, parity=2)
    >>> code.bicliques
    (((0,), (0, 2)), ((1,), (0, 1)), ((2,), (1, 2)))
    >>> code.recovery_threshold, code.n_shares
    (8, 10)
    """

    #: Points in special position may need fewer shares than any points do.
    tight: ClassVar[bool] = False

    n_shares: int
    bicliques: Bicliques
    seed: int = 0
    field: Field = REAL

    def __post_init__(self) -> None:
        arithmetic(self.field)
        unpaired("FlexibleCSA", self.field)
        seeded(self.seed)
        positive(n_shares=self.n_shares)
        checked(self.bicliques)
        reason = f"2 |S| + 1 - {2 * len(self.pairs) + 1 - self.recovery_threshold}"
        enough_shares("FlexibleCSA", self.n_shares, self.recovery_threshold, reason)
        enough_points(self.field, self.n_shares)
        _generators(self)

    @classmethod
    def for_pairs(
        cls,
        pairs: Iterable[tuple[int, int]],
        parity: int,
        *,
        apart: bool = False,
        field: Field = REAL,
        seed: int = 0,
    ) -> "FlexibleCSA":
        """A code of some pairs; :attr:`pairs` has them in an order of its own.

        Parameters
        ----------
        pairs
            ``(left, right)``, operands counted from 0 without gaps.
        parity
            Shares that may be lost, whichever they are.
        apart
            Make each pair a part of its own instead of searching for the smallest threshold.
        """
        wanted = tuple(pairs)
        parts = single(wanted) if apart else smallest(wanted)
        return cls(layout(parts).threshold + parity, parts, seed, field)

    @property
    def pairs(self) -> Pairs:
        """Part by part; within a part by right operand, then by left operand."""
        return layout(self.bicliques).pairs

    @property
    def recovery_threshold(self) -> int:
        """See the notes of the class; the pairs themselves are an early set if all are shares."""
        return layout(self.bicliques).threshold

    @property
    def ring(self) -> tuple[int, ...]:
        """Shares in the order of their evaluation points."""
        return ring_of(spread_first(self.n_shares, len(self.pairs)))

    def generator(self, operand: int = 0) -> Array:
        """Values ``(N, lefts)`` or ``(N, rights)`` of the operands' curves."""
        one_of(operand, 2)
        return _generators(self)[operand].copy()


@lru_cache(maxsize=64)
def _generators(code: FlexibleCSA) -> tuple[Array, Array]:
    plan = layout(code.bicliques)
    for attempt in range(_SEEDS_TRIED):
        stream = np.random.RandomState((code.seed + attempt) % 2**31)
        made = _attempt(code, plan, stream)
        if made is not None:
            return (made[1], made[0]) if plan.exchanged else made
    raise ParameterError(
        f"{code.field.name} is too small for {code.bicliques}: no independent curves were found; "
        "choose a larger prime"
    )


def _attempt(
    code: FlexibleCSA, plan: Layout, stream: np.random.RandomState
) -> tuple[Array, Array] | None:
    """Generators of the operands that play left and right; None if curves are dependent."""
    field, count = code.field, len(plan.pairs)
    places: Any = np.array(spread_first(code.n_shares, count))
    if not plan.simple and not field.exact:
        # Points off the regular places: on those, symmetries make some sets of shares dependent.
        places = np.concatenate([places[:count][stream.permutation(count)], places[count:]])
        places = places + stream.uniform(-0.25, 0.25, len(places))
    gaps = differences(field, places)
    left = [
        _curve(field, gaps, places, zeros, plan.left_degree, stream, plain=plan.simple)
        for zeros in plan.left_zeros
    ]
    right = [
        _curve(field, gaps, places, zeros, plan.right_degree, stream, plain=True)
        for zeros in plan.right_zeros
    ]
    made = (
        _scaled(field, np.stack(left, axis=1), count),
        _scaled(field, np.stack(right, axis=1), count),
    )
    if field.exact and not plan.simple:
        for rows, columns in plan.blocks:
            if field.rank(np.ascontiguousarray(made[0][np.ix_(rows, columns)])) < len(rows):
                return None
        return made
    for generator, side in zip(made, (0, 1), strict=True):
        generator[:count] = 0
        generator[range(count), [pair[side] for pair in plan.oriented]] = 1
    return made


def _curve(
    field: Field,
    gaps: Any,
    places: Any,
    zeros: tuple[int, ...],
    degree: int,
    stream: np.random.RandomState,
    *,
    plain: bool,
) -> Any:
    values = vanishing(field, gaps, zeros)
    spare = degree - len(zeros)
    if not plain:
        curve = random_curve(field, places, spare + 1, stream)
        return field.multiply(values, curve) if field.exact else values * curve
    # One more zero where there is one already: frequencies are all whole, or all half ones.
    return values * gaps[:, zeros[0]] if spare % 2 and not field.exact else values


def _scaled(field: Field, values: Any, count: int) -> Any:
    """Curves of one size over the parity shares, whose rows have unit norm, as a data share's."""
    if field.exact or len(values) == count:
        return np.ascontiguousarray(field.asarray(values))
    values = values / np.sqrt((values[count:] ** 2).mean(axis=0))
    norms = np.linalg.norm(values[count:].astype(np.float64), axis=1, keepdims=True)
    return np.ascontiguousarray(
        field.asarray(values / np.concatenate([np.ones((count, 1)), norms]))
    )
