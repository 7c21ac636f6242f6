"""Products with the transpose of encoded rows: the partition, and the encoding, of the matrix.

    A^H y = sum_b A_b^H y_b          each term where block b is, and the block y_b with it

A term that is late is recovered from the shares that were encoded for ``A @ x``. Multiplied by the
one block ``y_b``, they are shares of ``(A_0^H y_b, ..., A_{k-1}^H y_b)``, of which block b is the
term. So every term has a group of its own, with one share that is its output, and helpers that run
only when that share is late: they need ``y_b``, and to send it everywhere beforehand would move
much more than the product is worth.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from dask._task_spec import List, Task, TaskRef
from dask.typing import Key

from dask_coded.codes import AbstractLinearCode, Replication, Uncoded
from dask_coded.fields import PAIRED
from dask_coded.graph._arithmetic import result_of_share
from dask_coded.graph._build import group_tasks
from dask_coded.graph._tasks import Shape
from dask_coded.kernels import where_they_lie
from dask_coded.typing import AnyArray

__all__ = [
    "Adjoint",
    "AdjointTerms",
    "adjoint_terms",
    "paired_product",
    "standing_in",
    "sum_tasks",
    "term_group",
]

#: ``(a, y) -> a.T @ y.conj()``.
Adjoint = Callable[[AnyArray, AnyArray], AnyArray]
#: Terms that one task adds: few enough to be held at once, and sums of sums are as accurate.
_ADDED_AT_ONCE = 16


@dataclass(frozen=True)
class AdjointTerms:
    """The terms of one codeword.

    Parameters
    ----------
    label
        Prefix of all keys, and what tells groups that run beside each other from others.
    code
        The code of the rows.
    tiles
        Key of every share.
    height
        Rows of a parity share.
    shape
        Of every term.
    dtype
        Of every term.
    tolerance
        See :class:`GroupSpec`.
    product
        ``(a, y) -> a.T @ y.conj()``, without conjugating again what comes out.
    eps
        Of the tiles; see :class:`GroupSpec`.
    """

    label: str
    code: AbstractLinearCode
    tiles: Sequence[Key]
    height: int
    shape: Shape
    dtype: str
    tolerance: float
    product: Adjoint
    eps: float | None = None


def adjoint_terms(
    terms: AdjointTerms, pieces: Mapping[int, Key], outputs: Mapping[int, Key], *, coded: bool
) -> dict[Key, Task]:
    """Tasks of the conjugated terms ``(A_b^H y_b).conj()`` of some blocks b.

    Conjugated, because in this form the shares of A are shares of the product, with equal weights.

    Parameters
    ----------
    terms
        The codeword.
    pieces
        Key of ``y_b``, by block.
    outputs
        Key of each term, by block.
    coded
        Whether each has a group; otherwise they are plain tasks.
    """
    tasks: dict[Key, Task] = {}
    for block, piece in pieces.items():
        if not coded:
            args = _Term(terms.product, terms.dtype), False, None
            operands = TaskRef(terms.tiles[block]), TaskRef(piece)
            tasks[outputs[block]] = Task(outputs[block], result_of_share, *args, *operands)
            continue
        shares, code = standing_in(terms.code, block)
        own = shares.index(block)
        group = term_group(terms, outputs[block])
        paired = paired_product(terms, code)
        work: list[Any] = []
        for share in shares:
            spare = share != block
            arithmetic = _Term((paired if spare else None) or terms.product, terms.dtype)
            operands = TaskRef(terms.tiles[share]), TaskRef(piece)
            work.append((result_of_share, (arithmetic, spare, None, *operands)))
        wanted = [index == own for index in range(code.k)]
        keys = [
            outputs[block] if exists else (f"{terms.label}-void", group, index)
            for index, exists in enumerate(wanted)
        ]
        tasks |= group_tasks(
            group,
            code,
            work,
            keys,
            parity_name=f"{terms.label}-helper",
            wanted=wanted,
            tolerance=terms.tolerance,
            shapes=(terms.shape,) * code.k,
            dtype=terms.dtype,
            cohort=terms.label,
            eps=terms.eps,
        )
    return tasks


def _place(key: Key) -> tuple[Any, ...]:
    return key[1:] if isinstance(key, tuple) else (key,)


def term_group(terms: AdjointTerms, output: Key) -> str:
    """Name of the group of the term at a key."""
    return f"{terms.label}-{'-'.join(map(str, _place(output)))}"


def paired_product(terms: AdjointTerms, code: AbstractLinearCode) -> Adjoint | None:
    """How mixtures of paired rows are multiplied; None if the code does not pair them."""
    paired = code.field == PAIRED and np.iscomplexobj(code.generator())
    return _PairedAdjoint(terms.product, terms.height) if paired else None


def standing_in(code: AbstractLinearCode, block: int) -> tuple[list[int], AbstractLinearCode]:
    """The shares that have to do with a block, and the code that they are."""
    if isinstance(code, Replication | Uncoded):
        copies = np.flatnonzero(code.generator()[:, block]).tolist()
        # The share that is the block has its index.
        copies.sort(key=lambda share: share != block)
        return copies, Replication(len(copies), 1)
    return list(range(code.n_shares)), code


@dataclass(frozen=True)
class _Term:
    """How a term is made of a tile and a piece: there is nothing to add up."""

    product: Adjoint
    dtype: str

    def multiply(self, a: AnyArray, b: AnyArray) -> AnyArray:
        return self.product(a, b)

    def add(self, x: AnyArray, y: AnyArray) -> AnyArray:
        return x + y

    def finish(self, total: AnyArray) -> AnyArray:
        return total.astype(self.dtype, copy=False)

    def flaw(self, tiles: Sequence[AnyArray], result: AnyArray) -> str | None:
        return None


@dataclass(frozen=True)
class _PairedAdjoint:
    """The product where halves of rows are real and imaginary parts, ``(2 d, q)``.

    With ``S = S0 + i S1`` and ``y = y0 + i y1`` it is ``S^T conj(y)``, again as two halves.
    """

    product: Adjoint
    height: int

    def __call__(self, a: AnyArray, y: AnyArray) -> AnyArray:
        half = self.height // 2
        upper = y[:half, None] if y.ndim == 1 else y[:half]
        lower = y[half:, None] if y.ndim == 1 else y[half:]
        columns = upper.shape[1]
        # Zeros continue what is too short: rows that only one factor has do not count.
        both = np.zeros_like(y, shape=(half, 2 * columns))
        both[: len(upper), :columns], both[: len(lower), columns:] = upper, lower
        swapped = np.concatenate([both[:, columns:], both[:, :columns]], axis=1)
        first = self.product(a[:half], both)
        second = self.product(a[half:], swapped)
        real = first[:, :columns] + second[:, :columns]
        imaginary = second[:, columns:] - first[:, columns:]
        result = np.concatenate([real, imaginary])
        return result[:, 0] if y.ndim == 1 else result


def sum_tasks(output: Key, terms: Sequence[Key], label: str, *, conjugate: bool) -> dict[Key, Task]:
    """Tasks that add terms up, a few at a time.

    Parameters
    ----------
    output
        Key of the sum.
    terms
        Keys of what is added, in a fixed order: the sum rounds the same way every time.
    label
        Prefix of the keys of partial sums.
    conjugate
        Whether the sum is conjugated in the end.
    """
    tasks: dict[Key, Task] = {}
    level, step = list(terms), 0
    while len(level) > _ADDED_AT_ONCE:
        parts = [level[i : i + _ADDED_AT_ONCE] for i in range(0, len(level), _ADDED_AT_ONCE)]
        level = [(f"{label}-part", step, *_place(output), index) for index in range(len(parts))]
        for key, part in zip(level, parts, strict=True):
            tasks[key] = Task(key, _added, List(*map(TaskRef, part)), False)
        step += 1
    tasks[output] = Task(output, _added, List(*map(TaskRef, level)), conjugate)
    return tasks


def _added(terms: Sequence[AnyArray], conjugate: bool) -> AnyArray:
    with where_they_lie(terms, "a sum of terms", terms[0].nbytes):
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        return total.conj() if conjugate else total
