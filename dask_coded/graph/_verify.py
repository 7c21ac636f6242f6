"""Outputs from results that may be wrong: compare, locate, decode from the others.

Surplus results determine the others, so that all of them agree, ``H @ results == 0``, or some are
wrong. They never agree better than they were rounded: what counts as agreement follows from the
precision and the number of the operations that made these very results, and from the lengths of
the rows and columns that went into each entry (:func:`unit_rounding`).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_coded.codes import AbstractCode, AbstractLinearCode, is_sharp, locate, protects
from dask_coded.errors import UnverifiableError, WrongResultError
from dask_coded.fields import PAIRED, REAL
from dask_coded.graph._lengths import largest, misjudged
from dask_coded.graph._padding import padded
from dask_coded.graph._rounding import Verification, share_dtype, unit_rounding
from dask_coded.graph._told import tell_amplification, tell_wrong
from dask_coded.graph._whole import EXACT, free_columns, whole_checker
from dask_coded.kernels import combine
from dask_coded.typing import AnyArray

__all__ = ["verified"]

# Entries compared at once, few enough that they stay in a cache.
_PANEL = 1 << 16
# Places of disagreement that are looked at; more would tell nothing new.
_PLACES = 256


def verified(
    verification: Verification,
    code: AbstractCode,
    group: str,
    shares: Sequence[int],
    *results: Any,
    shapes: Sequence[tuple[int, ...]] | None = None,
    dtype: str | None = None,
    tolerance: float | None = None,
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
    tolerance
        Largest acceptable ``amplification * eps``, see :class:`GroupSpec`; that it is exceeded
        once wrong results are done without is reported.

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
    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):
    ...     outputs = verified(how, code, "g", range(4), *results)
    >>> [output.ravel().tolist() for output in outputs]
    [[1.0, 5.0], [9.0, 13.0]]
    """
    stack = _Stack(verification, code, group, shares, results)
    wrong = stack.misjudged()
    while True:
        disagreement = stack.disagreement(wrong)
        if disagreement is None:
            break
        kept, found = stack.located(disagreement, wrong)
        if found is None:
            raise stack.refused(kept, wrong)
        if not found:
            # In double precision they agree: the comparison itself had rounded.
            break
        wrong |= found
    if wrong and not verification.correct:
        tell_wrong(group, code, wrong, corrected=False)
        raise WrongResultError(
            f"{group} of {code!r}: the results of shares {sorted(wrong)}, or the lengths that came "
            "with them, disagree with the others by more than rounding. Compute again, or decode "
            "without them by verify='correct'; dask_coded.report(client) names the workers"
        )
    if wrong:
        tell_wrong(group, code, wrong, corrected=True)
    return stack.outputs(wrong, shapes, dtype, tolerance)


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
        self._void: set[int] = set()
        for share, result in zip(shares, results, strict=True):
            if isinstance(result, np.ndarray):
                # A share of void tiles is zero, whatever was multiplied.
                result = (result, np.zeros(1), np.zeros(1))
                self._void.add(share)
            if not isinstance(result, tuple):
                self._lost[share] = getattr(result, "reason", f"it is a {type(result).__name__}")
            elif result[1] is not None and not _finite(*result[1:]):
                self._lost[share] = "its operands have NaN or infinity, or lengths beyond range"
            else:
                usable[share] = result
        self._exact = any(rows is None for _, rows, _ in usable.values())
        self._paired = code.field == PAIRED
        self._bare = {share: result[0] for share, result in usable.items()}
        self._lengths = {share: result[1:] for share, result in usable.items()}
        self._arrays: dict[int, Any] = {}
        if usable:
            arrays = padded(list(self._bare.values()), self._paired)
            self._arrays = dict(zip(usable, arrays, strict=True))
            self._dtype = np.result_type(*arrays)

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
        tell_wrong(self._group, self._code, wrong, corrected=False)
        named = f", beside {sorted(wrong)}," if wrong else ""
        return WrongResultError(
            f"{self._group} of {self._code!r}: results disagree by more than rounding, and which "
            f"of shares {list(kept)}{named} are wrong cannot be told from "
            f"{len(self._arrays)} results. Compute again, or use more parity: one surplus result "
            "detects, t + 1 locate t independent errors"
        )

    # Comparing

    def misjudged(self) -> set[int]:
        """Shares whose lengths contradict those of the others.

        Raises
        ------
        WrongResultError
            If it is not clear whose lengths are wrong.
        """
        if self._exact or not self._lengths:
            return set()
        info = np.finfo(share_dtype(self._verification, self._dtype))
        floor = math.sqrt(max(1, self._verification.inner) * float(info.tiny))
        told = {s: None if s in self._void else pair for s, pair in self._lengths.items()}
        side = self._verification.side
        if side is None:
            side = "rows" if isinstance(self._code, AbstractLinearCode) else "both"
        found = misjudged(self._code, side, told, float(info.eps), floor)
        if found is None:
            raise self.refused(self._kept(set()), set())
        return found

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
                found, infinite = self._compared(kept, check, arrays, scale)
            if infinite:
                lost = {share for share in kept if not _finite(self._arrays[share])}
                if lost:
                    for share in lost:
                        del self._arrays[share]
                        self._lost[share] = "its result has NaN or infinity"
                    continue
            return found

    def _compared(
        self, kept: Sequence[int], check: Any, arrays: Sequence[Any], scale: float
    ) -> tuple["_Places | None", bool]:
        field = REAL if self._paired or self._exact else self._code.field
        rows, columns = (None, None) if self._exact else self._limits(kept, arrays[0].ndim)
        if self._paired:
            check = np.block([[check.real, -check.imag], [check.imag, check.real]])
            half = len(arrays[0]) // 2
            arrays = list(_halves(arrays, half))
            rows = _of_halves(rows, half)
        found: list[Any] = []
        infinite, worst = False, (0.0, 0)
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
                if top <= scale * float(long.min(initial=np.inf)) * float(wide.min(initial=np.inf)):
                    continue
                infinite |= not np.isfinite(top)
                limit = np.broadcast_to(scale * long * wide, largest.shape)
                # Written so that NaN counts.
                places = np.flatnonzero(~(largest <= limit))
                if len(places):
                    excess = np.nan_to_num((largest / limit).reshape(-1)[places], nan=np.inf)
                    worst = max(worst, (float(excess.max()), len(found)))
                    places = np.append(_spread(places), places[excess.argmax()])
            if len(places):
                values = [part.reshape(-1)[places] for part in parts]
                signs = [part.reshape(-1)[places] for part in residual]
                noise = None if limit is None else limit.reshape(-1)[places]
                found.append((values, signs, noise))
        if not found:
            return None, infinite
        values = np.concatenate([np.stack(each[0]) for each in found], axis=1)
        signs = np.concatenate([np.stack(each[1]) for each in found], axis=1)
        noise = None if self._exact else np.concatenate([each[2] for each in found])
        # The largest disagreement of a panel is the last of its places.
        last = sum(len(each[0][0]) for each in found[: worst[1] + 1]) - 1
        chosen = np.append(_spread(np.arange(values.shape[1])), last)
        return _Places(
            values[:, chosen], signs[:, chosen], None if noise is None else noise[chosen]
        ), infinite

    def _check(self, kept: Sequence[int]) -> Any:
        if not self._exact:
            return self._code.checker(kept)
        return EXACT.decode_signed(whole_checker(self._code, tuple(kept))).astype(np.float64)

    def _scale(self, kept: tuple[int, ...], check: Any) -> float:
        """By what rounding moves a row of the check, for operands of length one."""
        entries = next(iter(self._arrays.values())).size
        return unit_rounding(self._verification, self._code, kept, check, self._dtype, entries)

    def _limits(self, kept: Sequence[int], ndim: int) -> tuple[Any, Any]:
        """Largest row and column lengths of these shares, broadcast against the results."""
        rows, columns = (
            np.asarray(largest([self._lengths[share][side] for share in kept]), float)
            for side in range(2)
        )
        if columns.ndim > 0 and ndim > 1:
            return rows[..., :, None], columns[..., None, :]
        return rows, columns

    def located(
        self, places: "_Places", wrong: set[int]
    ) -> tuple[tuple[int, ...], set[int] | None]:
        """Results that were compared, and which of them are wrong; None if it is not clear."""
        kept = self._kept(wrong)
        if self._exact:
            check = whole_checker(self._code, kept)
            # Whole errors that leave this residual, free of any overflow in the results.
            values = np.zeros((len(kept), places.values.shape[1]), np.int64)
            signed = np.dtype(f"i{places.residual.itemsize}")
            values[free_columns(check)] = places.residual.view(signed)
            found = locate(EXACT, check, EXACT.asarray(values))
        else:
            check = self._code.checker(kept)
            values, noise = places.values, places.noise
            wide = np.complex128 if values.dtype.kind == "c" else np.float64
            values = values.astype(wide)
            if self._paired:
                values = values[: len(kept)] + 1j * values[len(kept) :]
                noise = np.sqrt(2.0) * noise
            noise, sharp = noise.astype(np.float64), is_sharp(self._code)
            found = locate(self._code.field, check, values, noise, sharp=sharp)
        if found == () and self._exact:
            return kept, None  # an error that is a multiple of the modulus
        return kept, None if found is None else {kept[i] for i in found}

    # Outputs

    def outputs(
        self,
        wrong: set[int],
        shapes: Sequence[tuple[int, ...]] | None,
        dtype: str | None,
        tolerance: float | None,
    ) -> tuple[AnyArray, ...]:
        decoder = self._code.decoder(self._kept(wrong))
        if (wrong or self._lost) and not self._exact:
            eps = float(np.finfo(share_dtype(self._verification, self._dtype)).eps)
            tell_amplification(self._group, self._code, decoder.amplification, eps, tolerance)
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


def _finite(*arrays: Any) -> bool:
    return all(bool(np.isfinite(array).all()) for array in arrays)


def _of_halves(rows: Any, half: int) -> Any:
    """The larger length of every two paired rows; of an odd number the last has no other."""
    if len(rows) == 1:
        return rows
    return np.maximum(rows[:half], padded([rows[half:], rows[:half]])[0])


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
