"""Terms of products with the transpose that are checked before they are added.

Shares of ``A`` times one block of y are a codeword, but to compare a term with its surplus would
take all of them for every term. A term is compared with a sketch of its block instead (see
``_sketches``), which was itself decoded from compared results. Only where a term is wrong, or not
finite, the whole codeword is computed, and the term decoded from the results that agree.

The checked term is therefore a group of two shares: the term as it came, and what it is decoded
from, which nobody computes unless the first one raises.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from dask._task_spec import Task, TaskRef
from dask.typing import Key

from dask_coded.codes import AbstractLinearCode, Replication
from dask_coded.errors import UnverifiableError, WrongResultError
from dask_coded.graph._adjoint import (
    Adjoint,
    AdjointTerms,
    paired_product,
    standing_in,
    term_group,
)
from dask_coded.graph._build import group_tasks
from dask_coded.graph._measured import Measured, column_lengths, pieces_of, row_lengths
from dask_coded.graph._rounding import Verification
from dask_coded.graph._sketches import Sketch, disagrees
from dask_coded.graph._told import tell_wrong
from dask_coded.graph._unfit import Unfit
from dask_coded.graph._verify import verified
from dask_coded.typing import AnyArray

__all__ = ["PiecewiseAdjoint", "checked_terms"]


def checked_terms(
    terms: AdjointTerms,
    pieces: Mapping[int, Key],
    found: Mapping[int, Key],
    outputs: Mapping[int, Key],
    sketches: Sequence[Key],
    verify: Verification,
    *,
    coded: bool,
) -> dict[Key, Task]:
    """Tasks of terms that can be trusted, conjugated as :func:`adjoint_terms` gives them.

    Parameters
    ----------
    terms
        The codeword.
    pieces, found, outputs
        Keys of ``y_b``, of each term as it came, and of each term that was checked, by block.
    sketches
        Key of the sketch of each block.
    verify
        What to do about wrong results.
    coded
        Whether there is a runtime, that runs helpers only when they are needed.
    """
    tasks: dict[Key, Task] = {}
    for block, piece in pieces.items():
        shares, code = standing_in(terms.code, block)
        own = shares.index(block)
        group = term_group(terms, found[block])
        others = [share for share in range(code.n_shares) if share != own]
        drift = code.decoder(others).amplification * (terms.eps or 0.0)
        check = _Check(group, code, own, verify.correct, drift)
        # Where this is needed something is wrong already: results are waited for as if one were.
        how = replace(verify, inner=terms.height, wrong=max(1, verify.wrong))
        measured = _Measured(paired_product(terms, code) or terms.product, terms.dtype)
        term = TaskRef(found[block]), TaskRef(piece), TaskRef(sketches[block])
        tiles = [TaskRef(terms.tiles[share]) for share in shares]
        shapes = (terms.shape,) * code.k
        if not coded:
            again = _Again(measured, how, shapes, terms.tolerance)
            tasks[outputs[block]] = Task(outputs[block], _checked_here, check, again, *term, *tiles)
            continue
        decoded: list[Key] = [(f"{terms.label}-decoded", group, index) for index in range(code.k)]
        tasks |= group_tasks(
            f"{group}-again",
            code,
            [(measured, (tile, TaskRef(piece))) for tile in tiles],
            decoded,
            parity_name=f"{terms.label}-again",
            wanted=[index == own for index in range(code.k)],
            tolerance=terms.tolerance,
            shapes=shapes,
            dtype=terms.dtype,
            verify=how,
            eps=terms.eps,
        )
        checked = f"{group}-checked"
        tasks |= group_tasks(
            checked,
            Replication(2, 1),
            [(_checked, (check, *term)), (_instead, (check, *term, TaskRef(decoded[own])))],
            [outputs[block]],
            parity_name=f"{terms.label}-instead",
            shapes=(terms.shape,),
            dtype=terms.dtype,
            # Nothing is beside it: a check that is late waits for what its own group will decode.
            cohort=checked,
        )
    return tasks


@dataclass(frozen=True)
class PiecewiseAdjoint:
    """A product with the transpose, in pieces where sums are long and round all the same way.

    Parameters
    ----------
    product
        ``(a, y) -> a.T @ y.conj()``.
    """

    product: Adjoint

    def __call__(self, a: AnyArray, y: AnyArray) -> AnyArray:
        inner = min(len(a), len(y))
        pieces = pieces_of(inner, a.shape[1] * (1 if y.ndim == 1 else y.shape[1]))
        total = self.product(a[pieces[0]], y[pieces[0]])
        for piece in pieces[1:]:
            total = total + self.product(a[piece], y[piece])
        return total


@dataclass(frozen=True)
class _Measured:
    """A share of the codeword that a term is part of, as results are compared."""

    product: Adjoint
    dtype: str

    def __call__(self, tile: Any, y: AnyArray) -> Measured | Unfit:
        if isinstance(tile, Unfit):
            return tile
        # What overflows in a mixture need not overflow in any term.
        with np.errstate(over="ignore", invalid="ignore"):
            result = self.product(tile, y).astype(self.dtype, copy=False)
            if result.dtype.kind in "iu":
                return result, None, None
            lengths = row_lengths(tile.T, result.dtype)
            if len(result) > len(lengths):
                # Real and imaginary parts, of the same columns.
                lengths = np.concatenate([lengths, lengths])
            return result, lengths, column_lengths(y, result.dtype)


@dataclass(frozen=True)
class _Check:
    """What is known of a term where it is checked: its group, share, and see :func:`disagrees`."""

    group: str
    code: AbstractLinearCode
    share: int
    correct: bool
    drift: float

    def passes(self, term: AnyArray, y: AnyArray, sketch: Sketch) -> bool:
        """Whether the term is right.

        Raises
        ------
        WrongResultError
            If it is wrong, and that is an error.
        """
        if not _finite(term):
            return False
        if not disagrees(term, y, sketch, self.drift):
            return True
        tell_wrong(self.group, self.code, {self.share}, corrected=False)
        if not self.correct:
            raise self.error()
        return False

    def error(self) -> WrongResultError:
        return WrongResultError(
            f"{self.group} of {self.code!r}: the result of share {self.share} disagrees with a "
            "sketch of its block by more than rounding. Compute again, or decode without it by "
            "verify='correct'; dask_coded.report(client) names the workers"
        )


def _finite(term: AnyArray) -> bool:
    return bool(np.isfinite(term).all())


def _checked(check: _Check, term: AnyArray, y: AnyArray, sketch: Sketch) -> AnyArray:
    """The term, if it is right; an exception is an erasure."""
    if check.passes(term, y, sketch):
        return term
    if _finite(term):
        raise check.error()
    raise UnverifiableError(
        f"{check.group} of {check.code!r}: the result of share {check.share} has NaN or infinity, "
        "and cannot be decoded from others that have none. Use no verify="
    )


def _instead(
    check: _Check, term: AnyArray, y: AnyArray, sketch: Sketch, decoded: AnyArray
) -> AnyArray:
    """What was decoded, if wrong results are to be done without."""
    if _finite(term) and not check.passes(term, y, sketch):
        tell_wrong(check.group, check.code, {check.share}, corrected=True)
    return decoded


@dataclass(frozen=True)
class _Again:
    """How the codeword of a term is computed and compared."""

    measured: _Measured
    how: Verification
    shapes: tuple[tuple[int, ...], ...]
    tolerance: float


def _checked_here(
    check: _Check, again: _Again, term: AnyArray, y: AnyArray, sketch: Sketch, *tiles: Any
) -> AnyArray:
    """The term, or what is decoded instead, where everything is in one memory."""
    if check.passes(term, y, sketch):
        return term
    results = [again.measured(tile, y) for tile in tiles]
    outputs = verified(
        again.how,
        check.code,
        check.group,
        range(check.code.n_shares),
        *results,
        shapes=again.shapes,
        dtype=again.measured.dtype,
        tolerance=again.tolerance,
    )
    return _instead(check, term, y, sketch, outputs[check.share])
