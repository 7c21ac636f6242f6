"""Which results are wrong, from what they say about each other.

With H the check matrix of the results at hand (``H @ results == 0`` when they agree), errors E of
the results at positions T leave ``S = H E``, whose columns lie in the span of the columns of H at
T. Errors that are independent of each other fill that span, and then the wrong results are those
whose column of H lies in the range of S: up to c - 1 of them with c surplus results. Errors that
are multiples of each other fill less of it; a set of t is still the only explanation while
``t <= (c + rank E - 1) / 2``, which is c / 2 if they are all alike. They are found by leaving out
c - 1 results at random until the others agree, which is sure to happen within a second for up to 8
alike errors among 32 results of which 16 are surplus. Of more results so many may be missed, and
the product is refused. More alike errors than c / 2 may look like fewer other ones: surplus
results cannot tell.
"""

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from dask_coded.errors import BlockShapeError
from dask_coded.fields import Field
from dask_coded.typing import Array, Shares

if TYPE_CHECKING:
    from dask_coded.codes._code import AbstractCode

__all__ = ["locate", "protects"]

# Explanations that are tried one by one where the range of S does not tell.
_MOST_TRIALS = 1000
# And at random: about a second. A set that is found less often than this is given up.
_MOST_DRAWS = 30_000
_MISSED = 1e-9
# Sets of columns of H whose rank is looked at before errors that are alike are believed.
_MOST_COLUMN_SETS = 10_000
# Columns of an orthonormal check matrix that are zero but for rounding.
_NO_COLUMN = 1e-7


def protects(code: "AbstractCode", survivors: Shares, wrong: int = 0) -> bool:
    """Whether `survivors` decode even if some of their results are wrong.

    Parameters
    ----------
    code
        The code.
    survivors
        Share indices.
    wrong
        How many results may be wrong, independently of each other, and still be found and done
        without. 0: a wrong result is noticed, though perhaps not found.

    Returns
    -------
    bool
        Of a code that needs certain shares, not just so many, every set of `wrong` results is
        tried; False if those are more than 1000.

    Raises
    ------
    UnknownShareError
        If a survivor is no share of this code.

    Examples
    --------
    >>> from dask_coded.codes import MDS
    >>> [protects(MDS(6, k=3), range(shares), wrong=1) for shares in (4, 5, 6)]
    [False, True, True]
    """
    return _protects(code, frozenset(survivors), wrong)


@lru_cache(maxsize=1024)
def _protects(code: "AbstractCode", survivors: frozenset[int], wrong: int) -> bool:
    if not code.is_decodable(survivors):
        return False
    shares = sorted(survivors)
    rank = code.n_shares - len(code.checker(range(code.n_shares)))
    if is_sharp(code):
        return len(shares) - rank > wrong
    if rank == len(code.targets()) and len(shares) - code.recovery_threshold > wrong:
        # Outputs tell all results, and any one of those that are left can be spared.
        return True
    check: Any = code.checker(shares)
    field = code.field
    if wrong == 0:
        used = [shares.index(share) for share in code.decoder(shares).shares]
        return len(check) > 0 and not any(_is_zero(field, check[:, i]) for i in used)
    if math.comb(len(shares), wrong) > _MOST_TRIALS:
        return False
    for hit in itertools.combinations(range(len(shares)), wrong):
        # Results that could have done the same are erased with them.
        rest = _without(field, check, hit)
        erased = {i for i in range(len(shares)) if _is_zero(field, rest[:, i])}
        left = [share for i, share in enumerate(shares) if i not in erased]
        if len(rest) == 0 or not code.is_decodable(left):
            return False
    return True


def is_sharp(code: "AbstractCode") -> bool:
    """Whether any responses of `code` are independent, up to their rank.

    Then so are any c columns of the check matrix of any results, c of them surplus.
    """
    rank = code.n_shares - len(code.checker(range(code.n_shares)))
    return rank == code.recovery_threshold


def locate(
    field: Field,
    check: Array,
    values: Array,
    noise: Array | None = None,
    *,
    sharp: bool = False,
) -> tuple[int, ...] | None:
    """Positions of the wrong results, as few as explain what they disagree about.

    Parameters
    ----------
    field
        Arithmetic of the code.
    check
        Check matrix H ``(c, s)``; orthonormal rows over floats.
    values
        Entries of the s results at b places, ``(s, b)``, all finite.
    noise
        Largest size that rounding alone gives ``h @ values`` for a row h of unit norm, ``(b,)``.
        None: nothing rounds, as in an exact field.
    sharp
        Whether any c columns of H are independent, see :func:`is_sharp`. If it is not said, it is
        tried where there are few.

    Returns
    -------
    tuple of int or None
        Positions among the s results, ascending, empty if they agree. Results that could have
        done the same, as two copies of one block, are all among them. None if the smallest
        explanation need not be the true one, or is not found among too many: c / 2 errors that are
        alike always are in up to 32 results of a sharp code, fewer in more.

    Raises
    ------
    BlockShapeError
        If the shapes do not fit together.

    References
    ----------
    Dutta, Bai, Jeong, Low and Grover (2018), A unified coded deep neural network training
    strategy based on generalized PolyDot codes for matrix multiplication, arXiv:1811.10751: real
    codes correct ``P - Q - 1`` independent errors. Davies and Eldar (2012), Rank awareness in joint
    sparse recovery, arXiv:1004.4529: the bound for errors of any rank.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_coded.codes import MDS
    >>> code = MDS(6, k=3)
    >>> results = code.responses() @ np.arange(12.0).reshape(3, 4)
    >>> results[[1, 4]] += [[1.0, 0.0, 2.0, 0.0], [0.0, 3.0, 1.0, 0.0]]
    >>> locate(code.field, code.checker(range(6)), results, np.full(4, 1e-12))
    (1, 4)
    """
    given: Any = np.asarray(values)
    if given.ndim != 2 or check.shape[1:] != given.shape[:1]:
        raise BlockShapeError(
            f"a check matrix of shape {check.shape} takes values of shape ({check.shape[-1]}, b); "
            f"got {given.shape}"
        )
    search = _Search(field, check, given, noise, sharp)
    if search.explained(()):
        return ()
    found = search.greedy()
    if found is None or not search.is_unique(found):
        found = search.one_by_one() if search.is_small or not sharp else search.at_random()
    return None if found is None else search.alike(found)


class _Search:
    """Trying sets of results: a set explains the values if the others agree."""

    def __init__(self, field: Field, check: Any, values: Any, noise: Any, sharp: bool) -> None:
        self._field = field
        self._sharp = sharp
        self._check = check
        self._values = values
        self._surplus, self._count = check.shape
        self._noise = np.zeros(values.shape[1]) if noise is None else np.asarray(noise)

    def residual(self, erased: Sequence[int], rest: Any | None = None) -> tuple[Any, Any]:
        """``H' @ values`` without the erased results, and its noise; floats scaled to below one."""
        if rest is None:
            rest = _without(self._field, self._check, erased)
        if self._field.exact:
            return self._field.matmul(rest, self._values), self._noise
        kept = np.delete(np.arange(self._count), list(erased))
        # Each place in units of its largest value: garbage near overflow stays finite, and once
        # it is erased no digit is lost to it.
        size = np.abs(self._values[kept]).max(axis=0, initial=0.0)
        size = np.where(size > 0, size, 1.0)
        scaled = rest[:, kept] @ (self._values[kept] / size)
        rounding = 4 * len(kept) * np.finfo(np.float64).eps
        return scaled, self._noise / size + rounding

    def explained(self, erased: Sequence[int]) -> bool:
        residual, noise = self.residual(erased)
        if self._field.exact:
            return not residual.any()
        return bool((np.abs(residual) <= noise).all())

    def greedy(self) -> tuple[int, ...] | None:
        """One wrong result after the other, each the best fit to the range of the residual."""
        erased: list[int] = []
        while len(erased) < self._surplus - 1:
            rest = _without(self._field, self._check, erased)
            scores = self._misfits(rest, *self.residual(erased, rest))
            scores[erased] = np.inf
            erased.append(int(np.argmin(scores)))
            if self.explained(erased):
                return self._needed(erased)
        return None

    def _needed(self, erased: Sequence[int]) -> tuple[int, ...]:
        """An explanation without what it can spare."""
        for share in erased:
            fewer = [other for other in erased if other != share]
            if self.explained(fewer):
                erased = fewer
        return tuple(sorted(erased))

    @property
    def is_small(self) -> bool:
        """Whether all sets of results can be tried."""
        sizes = range(1, self._surplus)
        return sum(math.comb(self._count, size) for size in sizes) <= _MOST_TRIALS

    def at_random(self) -> tuple[int, ...] | None:
        """An explanation that is the only one, among results that are left out at random.

        One check is left. By accident that agrees with errors only as rarely as numbers vanish,
        and then what is found does not become the only explanation.
        """
        size = self._surplus - 1
        rank = self._rank_of_residual()
        if rank > size:
            return None
        most = (self._surplus + rank - 1) // 2
        hits = math.comb(self._count - most, size - most) / math.comb(self._count, size)
        draws = math.log(_MISSED) / math.log1p(-hits) if hits < 1 else 1
        rng = np.random.default_rng(0)
        limit = _MOST_TRIALS if self._field.exact else _MOST_DRAWS
        for _ in range(min(math.ceil(draws), limit)):
            erased = sorted(rng.choice(self._count, size, replace=False).tolist())
            if self.explained(erased):
                found = self._needed(erased)
                if self.is_unique(found):
                    return found
        return None

    def one_by_one(self) -> tuple[int, ...] | None:
        """The smallest set that explains the values, if no other of its size does."""
        trials = 0
        for size in range(1, self._surplus):
            found = []
            for erased in itertools.combinations(range(self._count), size):
                trials += 1
                if trials > _MOST_TRIALS:
                    return None
                if self.explained(erased):
                    found.append(erased)
            if found:
                one = len(found) == 1 and self.is_unique(found[0])
                return found[0] if one else None
        return None

    def is_unique(self, erased: Sequence[int]) -> bool:
        """Whether so many errors of this rank have one explanation.

        If they are independent, the range of the residual is the span of the columns of H at
        their positions: others are no explanation unless they are alike. If they are not, any
        ``2 t - rank + 1`` columns have to be independent.
        """
        rank = self._rank_of_errors(erased)
        if rank == len(erased):
            return True
        size = 2 * len(erased) - rank + 1
        if size > self._surplus:
            return False
        if self._sharp:
            return True
        if math.comb(self._count, size) > _MOST_COLUMN_SETS:
            return False
        return all(
            self._field.rank(self._check[:, list(columns)]) == size
            for columns in itertools.combinations(range(self._count), size)
        )

    def alike(self, erased: Sequence[int]) -> tuple[int, ...]:
        """These results, and all whose columns of H lie in the span of theirs."""
        rest = _without(self._field, self._check, erased)
        return tuple(i for i in range(self._count) if _is_zero(self._field, rest[:, i]))

    def _rank_of_errors(self, erased: Sequence[int]) -> int:
        """How many of the errors are independent; each is known from checks without the others."""
        errors, noises = [], []
        for share in erased:
            others = [other for other in erased if other != share]
            rest = _without(self._field, self._check, others)
            if self._field.exact:
                row = int(np.flatnonzero(rest[:, share])[0])
                errors.append(self._field.matmul(rest[row : row + 1], self._values)[0])
                continue
            kept = [i for i in range(self._count) if i not in others]
            column = rest[:, share]
            size = float(np.abs(self._values[kept]).max(initial=0.0)) or 1.0
            weights = column.conj() / np.linalg.norm(column)
            error = weights @ (rest[:, kept] @ (self._values[kept] / size))
            length = float(np.linalg.norm(error)) or 1.0
            errors.append(error / length)
            noises.append(float(np.linalg.norm(self._noise / size)) / length)
        if self._field.exact:
            return self._field.rank(np.stack(errors))
        singular = np.linalg.svd(np.stack(errors), compute_uv=False)
        return max(1, int((singular > max(2 * float(np.linalg.norm(noises)), 1e-9)).sum()))

    def _rank_of_residual(self) -> int:
        """How many independent errors there are at least."""
        residual, noise = self.residual(())
        return self._field.rank(residual) if self._field.exact else self._range(residual, noise)[1]

    def _range(self, residual: Any, noise: Any) -> tuple[Any, int]:
        """Directions of the residual, the clearest first, and how many rise above the noise."""
        lengths = np.linalg.norm(residual, axis=0)
        wrong = (np.abs(residual) > noise).any(axis=0)
        directions = residual[:, wrong] / lengths[wrong]
        left, singular, _ = np.linalg.svd(directions, full_matrices=False)
        blur = float(np.linalg.norm(noise[wrong] / lengths[wrong])) * np.sqrt(len(residual))
        rank = max(1, int((singular > max(blur, 1e-9)).sum()))
        return left, rank

    def _misfits(self, check: Any, residual: Any, noise: Any) -> Any:
        """How far each column of the check matrix is from the range of the residual."""
        if self._field.exact:
            rank = self._field.rank(residual)
            joined = (np.concatenate([residual, check[:, [i]]], 1) for i in range(self._count))
            fits = [self._field.rank(both) == rank for both in joined]
            return np.where([fit and check[:, i].any() for i, fit in enumerate(fits)], 0.0, 1.0)
        left, rank = self._range(residual, noise)
        # A range that is everything says nothing.
        rank = min(rank, len(residual) - 1) or 1
        basis = left[:, :rank]
        sizes = np.linalg.norm(check, axis=0)
        outside = np.linalg.norm(check - basis @ (basis.conj().T @ check), axis=0)
        return np.where(sizes > _NO_COLUMN, outside / np.maximum(sizes, _NO_COLUMN), np.inf)


def _without(field: Field, check: Any, erased: Sequence[int]) -> Any:
    """The check matrix of the other results, with columns of zeros for the erased ones."""
    if not len(erased):
        return check
    rest: Any = field.matmul(field.left_null(check[:, list(erased)]), check)
    rest[:, list(erased)] = 0
    return rest


def _is_zero(field: Field, column: Any) -> bool:
    return not column.any() if field.exact else bool(np.linalg.norm(column) <= _NO_COLUMN)
