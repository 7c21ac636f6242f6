"""Outputs from results that may be wrong: compare, locate, decode from the others.

Surplus results determine the others, so that all of them agree, ``H @ results == 0``, or some are
wrong. They never agree better than they were rounded: what counts as agreement follows from the
precision and the number of the operations that made these very results, and from the lengths of
the rows and columns that went into each entry (:func:`unit_rounding`).
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
from distributed import get_worker

from dask_coded.codes import AbstractCode, locate, protects
from dask_coded.errors import (
    ParameterError,
    UnsupportedDtypeError,
    UnverifiableError,
    WrongResultError,
    WrongResultWarning,
)
from dask_coded.fields import PAIRED, REAL, PrimeField
from dask_coded.graph._padding import padded
from dask_coded.kernels import combine
from dask_coded.typing import AnyArray, Array

__all__ = ["TOPIC", "Verification", "Verify", "unit_rounding", "verified"]

#: What a user says: notice wrong results, or do without them; a number of those to prepare for.
Verify: TypeAlias = Literal["detect", "correct"] | int
#: Where workers report what they found.
TOPIC = "dask-coded"

# Chance that rounding alone looks like a wrong result anywhere in a group.
_FALSE_ALARM = 1e-9
# Entries compared at once, few enough that they stay in a cache.
_PANEL = 1 << 16
# Places of disagreement that are looked at; more would tell nothing new.
_PLACES = 256
# Integers of 64 bits, and no sum of a few, reach this.
_EXACT = PrimeField(2**61 - 1)


@dataclass(frozen=True)
class Verification:
    """How wrong results of a group are dealt with.

    Parameters
    ----------
    correct
        Whether to decode without wrong results. If not, they are an error.
    wrong
        How many to prepare for: so many independent ones can be found among the results that are
        waited for. 0: that there are any is noticed.
    inner
        Products summed in each entry of a result.
    shares_eps
        Precision in which shares were encoded; 0 if exactly. None: that of the results.
    """

    correct: bool
    wrong: int
    inner: int
    shares_eps: float | None = None

    @classmethod
    def asked(cls, verify: Verify, inner: int, shares_eps: float | None = None) -> "Verification":
        """What a user asked for.

        Raises
        ------
        ParameterError
            If it is neither ``"detect"``, ``"correct"`` nor a positive int.
        """
        if verify == "detect":
            return cls(False, 0, inner, shares_eps)
        if verify == "correct":
            return cls(True, 1, inner, shares_eps)
        if type(verify) is not int or verify < 1:
            raise ParameterError(
                f"verify={verify!r}: choose 'detect', 'correct', or a positive number of wrong "
                "results to correct"
            )
        return cls(True, verify, inner, shares_eps)


def verified(
    verification: Verification,
    code: AbstractCode,
    group: str,
    shares: Sequence[int],
    *results: Any,
    shapes: Sequence[tuple[int, ...]] | None = None,
    dtype: str | None = None,
) -> tuple[AnyArray, ...]:
    """All outputs of a group, from results that agree.

    Parameters
    ----------
    verification
        What to do about wrong results.
    code, group
        The group.
    shares
        Whose results these are.
    *results
        Measured results; anything else is an erasure, and so are NaN and infinity.
    shapes, dtype
        Of the outputs; None takes them from the results.

    Raises
    ------
    WrongResultError
        If results disagree, and wrong ones are not to be corrected, or cannot be located.
    UnverifiableError
        If too few results are left to compare.

    Examples
    --------
    >>> import numpy as np
    >>> from dask_coded.codes import MDS
    >>> code, a, b = MDS(4, k=2), np.eye(2), np.ones((2, 1))
    >>> shares = code.generator() @ np.arange(8.0).reshape(2, 4)
    >>> results = [(x.reshape(2, 2) @ b, np.full(2, 9.0), np.full(1, 2.0)) for x in shares]
    >>> results[3][0][1] += 1.0
    >>> how = Verification.asked("correct", inner=2)
    >>> with warnings.catch_warnings(action="ignore"):
    ...     outputs = verified(how, code, "g", range(4), *results)
    >>> [output.ravel().tolist() for output in outputs]
    [[1.0, 5.0], [9.0, 13.0]]
    """
    stack = _Stack(verification, code, group, shares, results)
    wrong: set[int] = set()
    while True:
        disagreement = stack.disagreement(wrong)
        if disagreement is None:
            break
        kept, found = stack.located(disagreement, wrong)
        if not found:
            raise stack.refused(kept, wrong)
        wrong |= found
    if wrong and not verification.correct:
        _tell(group, code, wrong, corrected=False)
        raise WrongResultError(
            f"{group} of {code!r}: the results of shares {sorted(wrong)} disagree with the others "
            "by more than rounding. Compute again, or decode without them by verify='correct'; "
            "dask_coded.report(client) names the workers"
        )
    if wrong:
        _tell(group, code, wrong, corrected=True)
    return stack.outputs(wrong, shapes, dtype)


class _Stack:
    """The results of one group that can be compared, in one shape."""

    def __init__(
        self,
        verification: Verification,
        code: AbstractCode,
        group: str,
        shares: Sequence[int],
        results: Sequence[Any],
    ) -> None:
        self._verification, self._code, self._group = verification, code, group
        usable: dict[int, Any] = {}
        self._lost: dict[int, str] = {}
        for share, result in zip(shares, results, strict=True):
            if isinstance(result, np.ndarray):
                # A share of void tiles is zero, whatever was multiplied.
                result = (result, np.zeros(1), np.zeros(1))
            if not isinstance(result, tuple):
                self._lost[share] = getattr(result, "reason", f"it is a {type(result).__name__}")
            elif result[1] is not None and not _finite(*result[1:]):
                self._lost[share] = "its operands have NaN or infinity, or lengths beyond range"
            else:
                usable[share] = result
        self._exact = any(rows is None for _, rows, _ in usable.values())
        self._paired = code.field == PAIRED
        self._bare = {share: result[0] for share, result in usable.items()}
        self._arrays: dict[int, Any] = {}
        if usable:
            arrays = padded(list(self._bare.values()), self._paired)
            self._arrays = dict(zip(usable, arrays, strict=True))
            self._dtype = np.result_type(*arrays)
            if not self._exact:
                self._rows = _largest([result[1] for result in usable.values()])
                self._columns = _largest([result[2] for result in usable.values()])

    def _kept(self, wrong: set[int]) -> tuple[int, ...]:
        return tuple(sorted(self._arrays.keys() - wrong))

    def _require(self, wrong: set[int]) -> tuple[int, ...]:
        """Results that are left, if they can be compared.

        Raises
        ------
        UnverifiableError, WrongResultError
        """
        kept = self._kept(wrong)
        if protects(self._code, kept):
            return kept
        if wrong:
            raise self.refused(kept, wrong)
        why = "; ".join(f"share {share}: {reason}" for share, reason in self._lost.items())
        raise UnverifiableError(
            f"{self._group} of {self._code!r}: the results of shares {list(kept)} are too few to "
            f"be compared with each other{f' ({why})' if why else ''}. Use more parity, or no "
            "verify="
        )

    def refused(self, kept: Sequence[int], wrong: set[int]) -> WrongResultError:
        """The error for results that disagree and cannot be put right; reported as well."""
        _tell(self._group, self._code, wrong, corrected=False)
        named = f", beside {sorted(wrong)}," if wrong else ""
        return WrongResultError(
            f"{self._group} of {self._code!r}: results disagree by more than rounding, and which "
            f"of shares {list(kept)}{named} are wrong cannot be told from "
            f"{len(self._arrays)} results. Compute again, or use more parity: one surplus result "
            "detects, t + 1 locate t independent errors"
        )

    # Comparing

    def disagreement(self, wrong: set[int]) -> "_Places | None":
        """Places where the other results disagree, some of them if they are many.

        Results with NaN or infinity are found here, and become erasures.
        """
        while True:
            kept = self._require(wrong)
            check = self._check(kept)
            arrays = [self._arrays[share] for share in kept]
            scale = 0.0 if self._exact else self._scale(kept, check)
            with np.errstate(all="ignore"):
                found, infinite = self._compared(check, arrays, scale)
            if infinite:
                lost = {share for share in kept if not _finite(self._arrays[share])}
                if lost:
                    for share in lost:
                        del self._arrays[share]
                        self._lost[share] = "its result has NaN or infinity"
                    continue
            return found

    def _compared(
        self, check: Any, arrays: Sequence[Any], scale: float
    ) -> tuple["_Places | None", bool]:
        field = REAL if self._paired or self._exact else self._code.field
        rows, columns = (None, None) if self._exact else self._lengths(arrays[0].ndim)
        if self._paired:
            check = np.block([[check.real, -check.imag], [check.imag, check.real]])
            half = len(arrays[0]) // 2
            arrays = list(_halves(arrays, half))
            rows = np.maximum(rows[:half], rows[half:]) if len(rows) > 1 else rows
        found: list[Any] = []
        infinite = False
        for panel in _panels(arrays[0].shape):
            parts = [array[panel] for array in arrays]
            residual = combine(check, parts, field=field)
            if self._exact:
                # Not by size: the least integer has none.
                places = np.flatnonzero(np.logical_or.reduce([part != 0 for part in residual]))
                limit = None
            else:
                largest = np.abs(residual[0])
                for other in residual[1:]:
                    np.maximum(largest, np.abs(other), out=largest)
                long, wide = (_along(lengths, panel) for lengths in (rows, columns))
                top = float(largest.max(initial=0.0))
                if top <= scale * float(long.min(initial=np.inf)) * float(wide.min()):
                    continue
                infinite |= not np.isfinite(top)
                limit = np.broadcast_to(scale * long * wide, largest.shape)
                # Written so that NaN counts.
                places = np.flatnonzero(~(largest <= limit))
            if len(places):
                places = _spread(places)
                values = [part.reshape(-1)[places] for part in parts]
                signs = [part.reshape(-1)[places] for part in residual]
                noise = None if limit is None else limit.reshape(-1)[places]
                found.append((values, signs, noise))
        if not found:
            return None, infinite
        values = np.concatenate([np.stack(each[0]) for each in found], axis=1)
        signs = np.concatenate([np.stack(each[1]) for each in found], axis=1)
        noise = None if self._exact else np.concatenate([each[2] for each in found])
        chosen = _spread(np.arange(values.shape[1]))
        return _Places(
            values[:, chosen], signs[:, chosen], None if noise is None else noise[chosen]
        ), infinite

    def _check(self, kept: Sequence[int]) -> Any:
        if not self._exact:
            return self._code.checker(kept)
        return _EXACT.decode_signed(_whole_checker(self._code, tuple(kept))).astype(np.float64)

    def _scale(self, kept: tuple[int, ...], check: Any) -> float:
        """By what rounding moves a row of the check, for operands of length one."""
        entries = next(iter(self._arrays.values())).size
        return unit_rounding(self._verification, self._code, kept, check, self._dtype, entries)

    def _lengths(self, ndim: int) -> tuple[Any, Any]:
        """Row and column lengths, broadcast against the results."""
        rows, columns = np.asarray(self._rows, float), np.asarray(self._columns, float)
        if self._is_matrix(ndim):
            return rows[..., :, None], columns[..., None, :]
        return rows, columns

    def _is_matrix(self, ndim: int) -> bool:
        return np.ndim(self._columns) > 0 and ndim > 1

    def located(self, places: "_Places", wrong: set[int]) -> tuple[tuple[int, ...], set[int]]:
        """Results that could be compared, and which of them are wrong; none if it is not clear."""
        kept = self._kept(wrong)
        if self._exact:
            check = _whole_checker(self._code, kept)
            # Whole errors that leave this residual, free of any overflow in the results.
            values = np.zeros((len(kept), places.values.shape[1]), np.int64)
            signed = np.dtype(f"i{places.residual.itemsize}")
            values[_free_columns(check)] = places.residual.view(signed)
            found = locate(_EXACT, check, _EXACT.asarray(values))
        else:
            check = self._code.checker(kept)
            values, noise = places.values, places.noise
            wide = np.complex128 if values.dtype.kind == "c" else np.float64
            values = values.astype(wide)
            if self._paired:
                values = values[: len(kept)] + 1j * values[len(kept) :]
                noise = np.sqrt(2.0) * noise
            found = locate(self._code.field, check, values, noise.astype(np.float64))
        return kept, {kept[i] for i in found or ()}

    # Outputs

    def outputs(
        self, wrong: set[int], shapes: Sequence[tuple[int, ...]] | None, dtype: str | None
    ) -> tuple[AnyArray, ...]:
        decoder = self._code.decoder(self._kept(wrong))
        outputs: list[AnyArray] = []
        for q, row in enumerate(np.asarray(decoder.weights)):
            used = [i for i, weight in enumerate(row) if weight != 0] or [0]
            read = [self._arrays[decoder.shares[i]] for i in used]
            if len(used) == 1 and row[used[0]] == 1:
                output = self._bare[decoder.shares[used[0]]] if shapes is None else read[0]
            else:
                (output,) = combine(row[None, used], read, field=self._code.field)
            if shapes is not None and output.shape != shapes[q]:
                output = output[tuple(slice(length) for length in shapes[q])]
            outputs.append(output if dtype is None else output.astype(dtype, copy=False))
        return tuple(outputs)


@dataclass(frozen=True)
class _Places:
    """Entries of the compared results where they disagree, ``(s, b)``."""

    values: Any
    residual: Any
    noise: Any


def unit_rounding(
    verification: Verification,
    code: AbstractCode,
    shares: tuple[int, ...],
    check: Array,
    dtype: np.dtype[Any],
    entries: int,
) -> float:
    """By what rounding may move ``h @ results`` for operands of length one.

    A sum of n products is rounded n times, each time by at most u = eps / 2 of a partial sum that
    is at most the product of both lengths: by ``n u`` together. As rounding goes either way, it is
    in fact ``lambda sqrt(n) u`` with probability ``1 - 2 n exp(-lambda**2 / 2)``; lambda is such
    that no entry of any result exceeds it but once in 10**9 groups. To this come the roundings of
    the encoding, of the comparison itself, and of the check matrix.

    Parameters
    ----------
    verification
        Tells n, and how precise the shares are.
    code, shares, check
        The check matrix of these shares; rows of unit norm.
    dtype
        Of the results.
    entries
        In each result.

    References
    ----------
    Higham and Mary (2019), A new approach to probabilistic rounding error analysis, SIAM Journal
    on Scientific Computing 41(5), theorem 3.1.

    Examples
    --------
    >>> from dask_coded.codes import MDS
    >>> code, how = MDS(4, k=3), Verification.asked("detect", inner=1000)
    >>> everyone = tuple(range(4))
    >>> bound = unit_rounding(how, code, everyone, code.checker(everyone), np.dtype("f8"), 100)
    >>> print(f"{bound:.0e}")
    3e-14
    """
    unit = float(np.finfo(dtype).eps) / 2
    n, count = max(1, verification.inner), len(shares)
    spread = math.sqrt(count)  # a row of unit norm adds up to at most this
    luck = math.sqrt(2 * math.log(2 * n * entries * count / _FALSE_ALARM))
    product = min(n * spread, luck * math.sqrt(n))
    encoding, drift = _coefficients(code, shares)
    share_unit = unit if verification.shares_eps is None else verification.shares_eps / 2
    total = (product + spread * (count + 2)) * unit + spread * encoding * share_unit + drift
    # A complex product is four real ones, in a plane.
    return total * (2 * math.sqrt(2) if dtype.kind == "c" else 1.0)


@lru_cache(maxsize=256)
def _coefficients(code: AbstractCode, shares: tuple[int, ...]) -> tuple[float, float]:
    """Roundings of the encoding, and by how much the check matrix misses zero."""
    encoding = 0.0
    for operand in range(len(code.operand_grids)):
        size: Any = np.abs(np.asarray(code.generator(operand)))
        terms = (size > 0).sum(axis=1)
        copied = (terms == 1) & (size.max(axis=1) == 1)
        encoding += float(((terms + 1) * size.sum(axis=1) * ~copied).max(initial=0.0))
    responses: Any = code.responses()[list(shares)]
    missed = np.abs(np.asarray(code.checker(shares)) @ responses).sum(axis=1)
    return encoding, float(missed.max(initial=0.0))


@lru_cache(maxsize=256)
def _whole_checker(code: AbstractCode, shares: tuple[int, ...]) -> Any:
    """Check matrix of whole numbers, in the field of :data:`_EXACT`; an identity is part of it.

    Raises
    ------
    UnsupportedDtypeError
        If the code has none.
    """
    responses: Any = np.asarray(code.responses())[list(shares)]
    whole = np.rint(responses)
    check = _EXACT.left_null(_EXACT.asarray(whole.astype(np.int64)))
    signed: Any = _EXACT.decode_signed(check)
    exact = (whole == responses).all() and (np.abs(signed) < 2**20).all()
    if not exact or (signed @ whole.astype(np.int64)).any():
        raise UnsupportedDtypeError(
            f"{code!r} has no check of whole numbers, so that integers cannot be verified; use "
            "MDS(k + 1, k, parity='ones') or Replication, or convert to float64"
        )
    return check


def _free_columns(check: Any) -> list[int]:
    """For each row a column that is one there and zero in all others."""
    alone = (check != 0).sum(axis=0) == 1
    return [int(np.flatnonzero(alone & (row == 1))[0]) for row in check]


def _finite(*arrays: Any) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)


def _largest(lengths: Sequence[Any]) -> Any:
    """The largest of each entry; shorter ones do not reach the end."""
    arrays = [np.asarray(each) for each in lengths]
    if all(each.ndim == 0 for each in arrays):
        return np.max(arrays)
    rank = max(each.ndim for each in arrays)
    common = [each.reshape((1,) * (rank - each.ndim) + each.shape) for each in arrays]
    return np.maximum.reduce(padded(common))


def _halves(arrays: Sequence[Any], half: int) -> Iterator[Any]:
    yield from (array[:half] for array in arrays)
    yield from (array[half:] for array in arrays)


def _panels(shape: tuple[int, ...]) -> Iterator[slice]:
    """Runs of rows of about as many entries as stay in a cache."""
    rows = max(1, _PANEL // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], rows):
        yield slice(start, start + rows)


def _along(lengths: Any, panel: slice) -> Any:
    """Lengths that belong to a panel; those of one row or none serve all."""
    return lengths[panel] if lengths.ndim and len(lengths) > 1 else lengths


def _spread(places: Any) -> Any:
    """Some of many places, evenly."""
    if len(places) <= _PLACES:
        return places
    return places[np.linspace(0, len(places) - 1, _PLACES).astype(int)]


def _tell(group: str, code: AbstractCode, wrong: set[int], *, corrected: bool) -> None:
    """Report to the scheduler, which knows the workers; without one, warn."""
    event = {
        "action": "wrong-results",
        "group": group,
        "shares": sorted(wrong),
        "corrected": corrected,
    }
    try:
        worker = get_worker()
    except ValueError:
        if corrected:
            warnings.warn(
                f"the results of shares {sorted(wrong)} of {group} ({code!r}) were wrong; the "
                "outputs were decoded without them",
                WrongResultWarning,
                stacklevel=2,
            )
        return
    worker.log_event(TOPIC, event)
