"""The linear algebra of decoding: which survivors suffice, and with which weights.

Nothing here touches data. One :class:`Algebra` per code holds the responses in compressed
coordinates, and remembers decoders and the progress of survivor sets that grow one by one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dask_coded.codes._progress import Progress
from dask_coded.errors import NotDecodableError, UnknownShareError
from dask_coded.fields import Field
from dask_coded.typing import Array, Shares

if TYPE_CHECKING:
    from dask_coded.codes._code import AbstractCode

__all__ = ["Algebra", "Decoder", "Solver", "algebra", "least_norm"]

#: ``(field, responses (s, R), targets (O, R)) -> weights (O, s)``, or None to leave it to the field.
Solver: TypeAlias = Callable[[Field, Array, Array], Array | None]

_DECODERS_KEPT = 512
_PROGRESS_KEPT = 64


def least_norm(field: Field, responses: Array, targets: Array) -> Array | None:
    """Leave solving to the field: least norm over every survivor for floats."""
    return None


@dataclass(frozen=True, eq=False)
class Decoder:
    """Data-free recipe: ``outputs = combine(weights, results of shares)``."""

    shares: tuple[int, ...]
    """Shares whose results are read, ascending: survivors with a weight other than zero."""
    weights: Array
    """Decode weights ``(O, len(shares))``."""
    amplification: float
    """Largest row sum of ``|weights|``: worst growth of an error in the results. 1.0 if exact."""
    residual: float
    """Largest misfit of the weights, relative to the outputs; 0 in an exact field."""


class Algebra:
    """Responses and targets of one code in compressed coordinates, with its caches."""

    def __init__(self, code: "AbstractCode") -> None:
        self._code = code
        self._all = frozenset(range(code.n_shares))
        self._threshold = code.recovery_threshold
        self._decoders: dict[frozenset[int], Decoder] = {}
        self._progress: dict[int, Progress] = {}

    @cached_property
    def _responses(self) -> Array:
        return self._code.responses()

    @cached_property
    def _targets(self) -> Array:
        return self._code.targets()

    @cached_property
    def _coordinates(self) -> tuple[Array, Array]:
        return self._code.field.compress(self._responses, self._targets)

    @cached_property
    def _fewest(self) -> int:
        """No fewer results can determine the outputs: their rank."""
        return self._code.field.rank(self._coordinates[1])

    @cached_property
    def _holders(self) -> tuple[frozenset[int], ...]:
        """For each output the shares whose result *is* that output."""
        rows: dict[bytes, list[int]] = {}
        for share, row in enumerate(np.ascontiguousarray(self._responses)):
            rows.setdefault(row.tobytes(), []).append(share)
        wanted = np.ascontiguousarray(self._targets.astype(self._responses.dtype))
        return tuple(frozenset(rows.get(row.tobytes(), ())) for row in wanted)

    def survivors(self, shares: Shares) -> frozenset[int]:
        """The shares as a set, checked."""
        found = frozenset(shares)
        if not found <= self._all:
            unknown = sorted(found - self._all, key=repr)
            raise UnknownShareError(
                f"{self._code!r} has shares 0 to {self._code.n_shares - 1}; "
                f"got {', '.join(map(repr, unknown[:5]))}. Give share indices, not workers or keys."
            )
        return found

    def is_decodable(self, shares: Shares) -> bool:
        found = self.survivors(shares)
        if len(found) >= self._threshold:
            return True
        if len(found) < self._fewest:
            return False
        return self._progress_of(found).decodable

    def _progress_of(self, found: frozenset[int]) -> Progress:
        key = sum(1 << share for share in found)
        known = self._progress.get(key)
        if known is not None:
            return known
        for share in found:
            parent = self._progress.get(key ^ (1 << share))
            if parent is not None:
                progress = parent.extended(self._coordinates[0][share])
                break
        else:
            progress = Progress.start(self._code.field, *self._coordinates)
            for share in sorted(found):
                progress = progress.extended(self._coordinates[0][share])
        while len(self._progress) >= _PROGRESS_KEPT:
            self._progress.pop(next(iter(self._progress)), None)
        self._progress[key] = progress
        return progress

    def decoder(self, shares: Shares) -> Decoder:
        found = frozenset(shares)
        known = self._decoders.get(found)
        if known is None:
            known = self._solve(self.survivors(found))
            while len(self._decoders) >= _DECODERS_KEPT:
                self._decoders.pop(next(iter(self._decoders)), None)
            self._decoders[found] = known
        return known

    def _solve(self, found: frozenset[int]) -> Decoder:
        code, field = self._code, self._code.field
        shares = sorted(found)
        weights = np.zeros((len(self._holders), len(shares)), dtype=field.dtype)
        open_outputs = []
        for output, holders in enumerate(self._holders):
            if present := holders & found:
                # A result that is the output is passed on as it is: no rounding, no reading.
                weights[output, shares.index(min(present))] = 1
            else:
                open_outputs.append(output)
        basis, functional = self._coordinates
        if open_outputs:
            responses, targets = self._responses[shares], self._targets[open_outputs]
            solved = type(code).solver(field, responses, targets)
            if solved is None and self.is_decodable(found):
                solved = field.solve(basis[shares], functional[open_outputs])
            if solved is None:
                raise NotDecodableError(
                    f"{code!r}: {len(shares)} survivors {shares} do not decode; any "
                    f"{code.recovery_threshold} of its {code.n_shares} shares do. "
                    "Wait for more shares."
                )
            weights[open_outputs] = solved
        used = np.flatnonzero((weights != 0).any(axis=0))
        weights = np.ascontiguousarray(weights[:, used])
        chosen = tuple(shares[column] for column in used)
        if field.exact:
            return Decoder(chosen, weights, amplification=1.0, residual=0.0)
        scale = np.abs(functional).max(initial=0.0) or 1.0
        misfit = np.abs(weights @ basis[list(chosen)] - functional).max(initial=0.0)
        amplification = float(np.abs(weights).sum(axis=1).max(initial=0.0))
        return Decoder(chosen, weights, amplification, residual=float(misfit / scale))

    def checker(self, shares: Shares) -> Array:
        order = sorted(self.survivors(shares))
        return self._code.field.left_null(self._coordinates[0][order])


@lru_cache(maxsize=256)
def algebra(code: "AbstractCode") -> Algebra:
    """The algebra of a code, shared by equal codes."""
    return Algebra(code)
