"""The linear algebra of decoding: which survivors suffice, and with which weights.

Nothing here touches data. One :class:`Algebra` per code holds the responses in compressed
coordinates, and remembers decoders and the progress of survivor sets that grow one by one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from dask_coded.codes._progress import Progress
from dask_coded.errors import NotDecodableError, ParameterError, UnknownShareError
from dask_coded.fields import PAIRED, Field
from dask_coded.typing import Array, Shares

if TYPE_CHECKING:
    from dask_coded.codes._code import AbstractCode

__all__ = ["Algebra", "Decoder", "Solver", "algebra", "least_norm"]

#: ``(field, responses (s, R), targets (O, R)) -> weights (O, s)``; None leaves it to the field.
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
    def _lift(self) -> Array:
        return self._code.field.compress(self._responses)

    @cached_property
    def _coordinates(self) -> tuple[Array, Array]:
        """Compressed responses ``(N, r)`` and targets ``(O, r)``."""
        field = self._code.field
        basis = field.matmul(self._responses, self._lift)
        functional = field.matmul(self._targets, self._lift)
        weights = field.solve(basis, functional)
        if weights is None or _misfit(field, weights, self._responses, self._targets) > 1e-9:
            raise ParameterError(
                f"{self._code!r}: not even all shares together determine the outputs; "
                "the family's matrices do not fit together"
            )
        return basis, functional

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

    def direct(self) -> tuple[int | None, ...]:
        # Where several shares hold one output, or one share several outputs, spread them out.
        taken: set[int] = set()
        found: list[int | None] = []
        for holders in self._holders:
            found.append(min(holders - taken or holders, default=None))
            taken.update(found[-1:])  # type: ignore[arg-type]
        return tuple(found)

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
        field = self._code.field
        shares = sorted(found)
        weights = np.zeros((len(self._holders), len(shares)), dtype=field.dtype)
        open_outputs = []
        for output, holders in enumerate(self._holders):
            if present := holders & found:
                # A result that is the output is passed on as it is: no rounding, no reading.
                weights[output, shares.index(min(present))] = 1
            else:
                open_outputs.append(output)
        if open_outputs:
            weights[open_outputs] = self._solve_open(found, shares, open_outputs)
        used = np.flatnonzero((weights != 0).any(axis=0))
        weights = np.ascontiguousarray(weights[:, used])
        chosen = tuple(shares[column] for column in used)
        if field.exact:
            return Decoder(chosen, weights, amplification=1.0, residual=0.0)
        residual = _misfit(field, weights, self._responses[list(chosen)], self._targets)
        size: Any = np.abs(weights)
        if field == PAIRED:
            # What a result's two real halves can add to one half of an output.
            size = np.abs(weights.real) + np.abs(weights.imag)
        amplification = float(size.sum(axis=1).max(initial=0.0))
        return Decoder(chosen, weights, amplification, residual)

    def _solve_open(self, found: frozenset[int], shares: list[int], outputs: list[int]) -> Array:
        """Weights of the outputs that no survivor holds, ``(len(outputs), len(shares))``."""
        code, field = self._code, self._code.field
        responses, targets = self._responses[shares], self._targets[outputs]
        weights = type(code).solver(field, responses, targets)
        if weights is not None:
            return weights
        basis, functional = self._coordinates
        if self.is_decodable(found):
            weights = field.solve(basis[shares], functional[outputs])
        if weights is None:
            raise NotDecodableError(
                f"{code!r}: {len(shares)} survivors {shares} do not decode; any "
                f"{code.recovery_threshold} of its {code.n_shares} shares do. "
                "Wait for more shares."
            )
        if field.exact:
            return weights
        # One step of refinement, its residual in extended precision and in the code's own
        # unknowns: it removes the rounding of the solve and of the change of coordinates, which
        # would otherwise cost more digits than the results themselves (measured: a factor 4).
        wide: Any = np.longdouble if field.dtype.kind == "f" else np.clongdouble
        rest = targets - weights.astype(wide) @ responses.astype(wide)
        step = field.solve(basis[shares], field.matmul(rest.astype(field.dtype), self._lift))
        return weights if step is None else weights + step  # type: ignore[operator]

    def checker(self, shares: Shares) -> Array:
        order = sorted(self.survivors(shares))
        return self._code.field.left_null(self._coordinates[0][order])


def _misfit(field: Field, weights: Any, responses: Array, targets: Any) -> float:
    """Largest entry of ``weights @ responses - targets``, relative to the targets' largest."""
    difference: Any = field.matmul(weights, responses) - targets
    if field.exact:
        return float(difference.any())
    return float(np.abs(difference).max(initial=0.0) / (np.abs(targets).max(initial=0.0) or 1.0))


@lru_cache(maxsize=256)
def algebra(code: "AbstractCode") -> Algebra:
    """The algebra of a code, shared by equal codes."""
    return Algebra(code)
