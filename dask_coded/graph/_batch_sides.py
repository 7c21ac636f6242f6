"""How a code encodes the operands of a batch: coefficients for every share and operand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dask_coded.codes import (
    AbstractBatchCode,
    AbstractCode,
    AbstractLinearCode,
    AbstractMatmulCode,
    FlexibleCSA,
    GeneralizedCSA,
    Lagrange,
)
from dask_coded.errors import UnsupportedOperationError
from dask_coded.fields import PAIRED
from dask_coded.typing import Array

__all__ = ["BatchSides", "Pair", "batch_sides"]

#: Names of the operands of one wanted product.
Pair = tuple[str, str]


@dataclass(frozen=True, eq=False)
class BatchSides:
    """Operands by name, and the coefficients with which shares mix them.

    Parameters
    ----------
    code
        The code.
    pairs
        The wanted products by output index.
    lefts, rights
        Names of the operands, by column of the coefficients.
    left, right
        Coefficients ``(N, lefts)`` and ``(N, rights)`` for each product that a share adds up; of
        all blocks of the operands if these are cut, ``(N, lefts m p)`` and ``(N, rights p n)``.
    splits
        ``(m, p, n)``: blocks of every operand along rows, inner dimension and columns.
    """

    code: AbstractCode
    pairs: tuple[Pair, ...]
    lefts: tuple[str, ...]
    rights: tuple[str, ...]
    left: tuple[Array, ...]
    right: tuple[Array, ...]
    splits: tuple[int, int, int] = (1, 1, 1)


def batch_sides(code: AbstractCode, pairs: Sequence[Pair]) -> BatchSides:
    """The coefficients of a code for some pairs.

    A code of a batch takes the pairs that it was made for, and one whose pairs have nothing in
    common takes any as many pairs: what one operand is mixed with in several pairs is added up. A
    code of one operand takes pairs that share the other one, or any pairs if its shares are copies.
    A code of two operands takes all pairs of some left and some right ones.

    Raises
    ------
    UnsupportedOperationError
        If the code does not fit.
    """
    lefts, rights = (tuple(dict.fromkeys(names)) for names in zip(*pairs, strict=True))
    if isinstance(code, FlexibleCSA):
        if code.operand_grids == ((len(lefts),), (len(rights),)) and set(pairs) == {
            (lefts[i], rights[j]) for i, j in code.pairs
        }:
            named = tuple((lefts[i], rights[j]) for i, j in code.pairs)
            terms = (code.generator(0),), (code.generator(1),)
            return BatchSides(code, named, lefts, rights, *terms)
        numbers = [(lefts.index(a), rights.index(b)) for a, b in pairs]
        raise _unfit(code, pairs, f"FlexibleCSA.for_pairs({numbers}, parity=...) is one that does")
    if isinstance(code, AbstractBatchCode) or (isinstance(code, Lagrange) and code.degree == 2):
        return _of_pairs(code, pairs, lefts, rights)
    if isinstance(code, AbstractLinearCode):
        return _of_one_side(code, pairs, lefts, rights)
    if isinstance(code, AbstractMatmulCode):
        (m, p), (_, n) = code.operand_grids
        every = tuple((a, b) for a in lefts for b in rights)
        if p == 1 and (m, n) == (len(lefts), len(rights)) and set(every) == set(pairs):
            terms = (code.generator(0),), (code.generator(1),)
            return BatchSides(code, every, lefts, rights, *terms)
        raise _unfit(code, pairs, f"it takes all pairs of {m} left and {n} right operands, uncut")
    raise _unfit(code, pairs, "use a code of a batch such as FlexibleCSA")


def _of_pairs(
    code: AbstractCode, pairs: Sequence[Pair], lefts: tuple[str, ...], rights: tuple[str, ...]
) -> BatchSides:
    """A code of pairs that have nothing in common: what one operand occurs in is added up."""
    if code.output_grid[0] != len(pairs):
        raise _unfit(code, pairs, f"it is made for {code.output_grid[0]} pairs")
    terms = code.terms if isinstance(code, AbstractBatchCode) else 1
    zero = np.zeros((), dtype=code.field.dtype)
    splits = (code.m, code.p, code.n) if isinstance(code, GeneralizedCSA) else (1, 1, 1)
    sides: list[list[Array]] = [[], []]
    for term in range(terms):
        for side, names in enumerate((lefts, rights)):
            single = isinstance(code, Lagrange)
            generator = code.generator(0 if single else 2 * term + side)
            blocks = generator.reshape(code.n_shares, len(pairs), -1)
            total = np.zeros((code.n_shares, len(names), blocks.shape[2]), dtype=code.field.dtype)
            for column, pair in enumerate(pairs):
                at = names.index(pair[side])
                negative = code.field.subtract(zero, blocks[:, column])
                total[:, at] = code.field.subtract(total[:, at], negative)
            sides[side].append(total.reshape(code.n_shares, -1))
    return BatchSides(code, tuple(pairs), lefts, rights, tuple(sides[0]), tuple(sides[1]), splits)


def _of_one_side(
    code: AbstractLinearCode, pairs: Sequence[Pair], lefts: tuple[str, ...], rights: tuple[str, ...]
) -> BatchSides:
    generator = code.generator()
    if code.k != len(pairs):
        raise _unfit(code, pairs, f"it is made for {code.k}")
    ones = np.ones((code.n_shares, 1), dtype=code.field.dtype)
    if len(rights) == 1:
        return BatchSides(code, tuple(pairs), lefts, rights, (generator,), (ones,))
    if len(lefts) == 1 and code.field == PAIRED:
        raise _unfit(code, pairs, "it pairs rows, and right operands have none; use field=REAL")
    if len(lefts) == 1:
        return BatchSides(code, tuple(pairs), lefts, rights, (ones,), (generator,))
    if not (np.count_nonzero(generator, axis=1) == 1).all():
        raise _unfit(code, pairs, "it mixes operands of one side; pairs must share the other one")
    held = generator.argmax(axis=1)
    # A share computes one product, whose coefficient goes with the left operand.
    left = np.zeros((code.n_shares, len(lefts)), dtype=code.field.dtype)
    right = np.zeros((code.n_shares, len(rights)), dtype=code.field.dtype)
    for share, pair in enumerate(held):
        left[share, lefts.index(pairs[pair][0])] = generator[share, pair]
        right[share, rights.index(pairs[pair][1])] = 1
    return BatchSides(code, tuple(pairs), lefts, rights, (left,), (right,))


def _unfit(code: AbstractCode, pairs: Sequence[Pair], remedy: str) -> UnsupportedOperationError:
    lefts, rights = (len(set(names)) for names in zip(*pairs, strict=True))
    return UnsupportedOperationError(
        f"{code!r} does not fit {len(pairs)} pairs of {lefts} left and {rights} right operands "
        f"(of one shape and dtype): {remedy}"
    )
