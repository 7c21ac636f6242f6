"""The linear algebra of decoding: which survivors suffice, and with which weights.

Nothing here touches data. One :class:`Algebra` per code holds its matrices in coordinates fit for
solving, and remembers decoders and the progress of survivor sets that grow one by one.
"""

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from dask_coded.codes._progress import Progress, peeled
from dask_coded.codes._recent import Recent
from dask_coded.codes._solve import misfit, solve_compressed, solve_outputs
from dask_coded.errors import NotDecodableError, ParameterError, UnknownShareError
from dask_coded.fields import PAIRED, Field
from dask_coded.typing import Array, Shares

if TYPE_CHECKING:
    from dask_coded.codes._code import AbstractCode

__all__ = ["Algebra", "Decoder", "Solver", "algebra", "least_norm"]

#: ``(field, responses (s, R), targets (O, R)) -> weights (O, s)``; None leaves it to the field.
Solver: TypeAlias = Callable[[Field, Array, Array], Array | None]

_DECODER_BYTES = 64 << 20
_CHECKER_BYTES = 8 << 20
_PROGRESS_BYTES = 16 << 20
# Unknowns up to which arrivals are followed from the first one on, tens of microseconds each.
# With more of them nothing is done before enough have arrived to decode at all.
_FOLLOWED_UNKNOWNS = 128
# Largest weight that counts as zero, relative to the largest of its row.
_NO_WEIGHT = 1e-9
_EPS = float(np.finfo(np.float64).eps)


def least_norm(field: Field, responses: Array, targets: Array) -> Array | None:
    """Leave solving to the field: least norm over every survivor for floats."""
    return None


@dataclass(frozen=True, eq=False)
class Decoder:
    """Data-free recipe: ``outputs = combine(weights, results of shares)``.

    Outputs have a relative error of about ``amplification * eps``, where eps is that of the
    results.

    Examples
    --------
    >>> from dask_coded.codes import MDS
    >>> decoder = MDS(4, k=3).decoder([0, 2, 3])
    >>> decoder.shares, decoder.amplification
    ((0, 2, 3), 3.0)
    >>> decoder.weights
    array([[ 1.,  0.,  0.],
           [-1., -1.,  1.],
           [ 0.,  1.,  0.]])
    """

    shares: tuple[int, ...]
    """Shares whose results are read, ascending: survivors with a weight other than zero."""
    weights: Array
    """Decode weights ``(O, len(shares))``; read-only, as all who ask are given the same."""
    amplification: float
    """Largest row sum of ``|weights|``: worst growth of an error in the results. 1.0 if exact.

    Never below ``residual / eps``: weights that miss the outputs are as bad as weights that
    amplify, and one number tells."""
    residual: float
    """Largest misfit of the weights, relative to the outputs; 0 in an exact field."""


class Algebra:
    """The matrices of one code in coordinates fit for solving, with its caches."""

    def __init__(self, code: "AbstractCode") -> None:
        self._code = code
        self._all = frozenset(range(code.n_shares))
        self._threshold = code.recovery_threshold
        self._decoders: Recent[frozenset[int], Decoder] = Recent(_DECODER_BYTES)
        self._checkers: Recent[frozenset[int], Array] = Recent(_CHECKER_BYTES)
        # Under a bit per share: a set's key is that of its subsets less one bit.
        self._progress: Recent[int, Progress] = Recent(_PROGRESS_BYTES)

    @cached_property
    def _responses(self) -> Array:
        return self._code.responses()

    @cached_property
    def _targets(self) -> Array:
        return self._code.targets()

    @cached_property
    def _is_plain(self) -> bool:
        """Whether the unknowns are the outputs themselves."""
        targets = self._targets
        return targets.shape[0] == targets.shape[1] and bool(
            (targets == np.eye(len(targets))).all()
        )

    @cached_property
    def _lift(self) -> Array:
        return self._code.field.compress(self._responses)

    @cached_property
    def _coordinates(self) -> tuple[Array, Array]:
        """Responses ``(N, r)`` and targets ``(O, r)``; compressed where many unknowns stay so."""
        if self._is_plain:
            return self._responses, self._targets
        field = self._code.field
        basis = field.matmul(self._responses, self._lift)
        functional = field.matmul(self._targets, self._lift)
        weights = field.solve(basis, functional)
        if weights is None or misfit(field, weights, self._responses, self._targets) > 1e-9:
            raise ParameterError(
                f"{self._code!r}: not even all shares together determine the outputs; "
                "the family's matrices do not fit together"
            )
        return basis, functional

    @cached_property
    def _fewest(self) -> int:
        """No fewer results can determine the outputs: their rank."""
        wanted = self._targets != 0
        counts = wanted.sum(axis=1)
        if counts.all() and (wanted.sum(axis=0) <= 1).all():
            return len(wanted)
        # Each unknown is itself wanted, among other things.
        if wanted[counts == 1].any(axis=0).all():
            return int(wanted.shape[1])
        return self._code.field.rank(self._targets)

    @cached_property
    def _holders(self) -> tuple[frozenset[int], ...]:
        """For each output the shares whose result *is* that output."""
        rows: dict[bytes, list[int]] = {}
        # Adding zero turns -0.0 into 0.0, which compares equal but has other bytes.
        for share, row in enumerate(np.ascontiguousarray(self._responses + 0)):
            rows.setdefault(row.tobytes(), []).append(share)
        wanted = np.ascontiguousarray(self._targets.astype(self._responses.dtype) + 0)
        return tuple(frozenset(rows.get(row.tobytes(), ())) for row in wanted)

    def direct(self) -> tuple[int | None, ...]:
        # Where several shares hold one output, or one share several outputs, spread them out.
        taken: set[int] = set()
        found: list[int | None] = []
        for holders in self._holders:
            found.append(min(holders - taken or holders, default=None))
            taken.update(found[-1:])  # type: ignore[arg-type]
        return tuple(found)

    def survivors(self, shares: Iterable[Any]) -> frozenset[int]:
        """The shares as a set of plain integers, checked."""
        given = list(shares)
        try:
            found = frozenset(given if set(map(type, given)) <= {int} else map(_index, given))
        except TypeError:
            found = frozenset([-1])
        if not found <= self._all:
            unknown = [repr(share) for share in given if not self._has(share)]
            raise UnknownShareError(
                f"{self._code!r} has shares 0 to {self._code.n_shares - 1}; "
                f"got {', '.join(unknown[:5])}. Give share indices, not workers, keys or a mask."
            )
        return found

    def _has(self, share: Any) -> bool:
        try:
            return _index(share) in self._all
        except TypeError:
            return False

    def is_decodable(self, shares: Shares) -> bool:
        return self._suffices(self.survivors(shares))

    def _suffices(self, found: frozenset[int]) -> bool:
        if len(found) >= self._threshold:
            return True
        if self._fewest >= self._threshold:
            return False
        progress = self._progress_of(found)
        return progress is not None and progress.decodable

    def _progress_of(self, found: frozenset[int]) -> Progress | None:
        """The progress of a set, or None while it is too small to be worth the work."""
        basis, _ = self._coordinates
        few = len(found) < self._fewest
        if few and (not found or basis.shape[1] > _FOLLOWED_UNKNOWNS):
            return None
        key = sum(1 << share for share in found)
        known = self._progress.get(key)
        if known is not None:
            return known
        before = self._progress.first(key ^ (1 << share) for share in found)
        if before is not None:
            last = (key ^ before[0]).bit_length() - 1
            progress = before[1].extended(basis[last])
        elif few and len(found) > 1:
            return None
        else:
            progress = self._progress_from_nothing(found)
        return self._progress.put(key, progress, progress.nbytes)

    def _start(self, columns: Any) -> Progress:
        """Progress with no survivors but what makes all coordinates but `columns` known."""
        _, functional = self._coordinates
        return Progress.start(self._code.field, columns, None if self._is_plain else functional)

    def _progress_from_nothing(self, found: frozenset[int]) -> Progress:
        basis, _ = self._coordinates
        shares = sorted(found)
        columns = np.arange(basis.shape[1])
        if self._is_plain:
            left, rest = peeled(self._code.field, basis[shares])
            columns, shares = columns[left], [shares[row] for row in rest]
        progress = self._start(columns)
        for share in shares:
            progress = progress.extended(basis[share])
        return progress

    def _present(self, found: frozenset[int]) -> dict[int, int]:
        """For each output that a survivor's result is: that survivor."""
        return {
            output: min(present)
            for output, holders in enumerate(self._holders)
            if (present := holders & found)
        }

    def decoder(self, shares: Shares) -> Decoder:
        found = self.survivors(shares)
        known = self._decoders.get(found)
        if known is not None:
            return known
        made = self._solve(found)
        return self._decoders.put(found, made, made.weights.nbytes)

    def _solve(self, found: frozenset[int]) -> Decoder:
        field = self._code.field
        shares = sorted(found)
        row_of = {share: row for row, share in enumerate(shares)}
        # A result that is the output is passed on as it is: no rounding, no reading.
        present = {output: row_of[share] for output, share in self._present(found).items()}
        wanted = [output for output in range(len(self._holders)) if output not in present]
        weights = np.zeros((len(self._holders), len(shares)), dtype=field.dtype)
        weights[list(present), list(present.values())] = 1
        residual = 0.0
        if wanted:
            solved = self._solve_wanted(found, shares, present, wanted)
            weights[wanted] = solved
            if not field.exact:
                residual = misfit(field, solved, self._responses[shares], self._targets[wanted])
        used = np.flatnonzero((weights != 0).any(axis=0))
        weights = np.ascontiguousarray(weights[:, used])
        weights.flags.writeable = False
        chosen = tuple(shares[column] for column in used)
        if field.exact:
            return Decoder(chosen, weights, amplification=1.0, residual=0.0)
        size: Any = np.abs(weights)
        if field == PAIRED:
            # What a result's two real halves can add to one half of an output.
            size = np.abs(weights.real) + np.abs(weights.imag)
        amplification = float(size.sum(axis=1).max(initial=0.0))
        return Decoder(chosen, weights, max(amplification, residual / _EPS), residual)

    def _solve_wanted(
        self,
        found: frozenset[int],
        shares: list[int],
        present: Mapping[int, int],
        wanted: list[int],
    ) -> Array:
        """Weights of the outputs that no survivor holds, ``(len(wanted), len(shares))``."""
        code, field = self._code, self._code.field
        responses, targets = self._responses[shares], self._targets[wanted]
        weights = type(code).solver(field, responses, targets)
        if weights is None and self._suffices(found):
            if self._is_plain:
                weights = solve_outputs(field, responses, present, wanted)
            else:
                basis, functional = self._coordinates
                weights = solve_compressed(
                    field, responses, targets, basis[shares], functional[wanted], self._lift
                )
        if weights is None:
            raise NotDecodableError(
                f"{code!r}: {len(shares)} survivors {shares} do not decode; any "
                f"{code.recovery_threshold} of its {code.n_shares} shares do. "
                "Wait for more shares."
            )
        return weights

    def checker(self, shares: Shares) -> Array:
        found = self.survivors(shares)
        known = self._checkers.get(found)
        if known is not None:
            return known
        made = self._code.field.left_null(self._coordinates[0][sorted(found)])
        made.flags.writeable = False
        return self._checkers.put(found, made, made.nbytes)

    def cheapest(self, cost: Mapping[int, float]) -> tuple[int, ...] | None:
        """Cheap shares first, until they suffice; then without those that can be spared."""
        self.survivors(cost)
        by_cost = [_index(share) for share in sorted(cost, key=lambda share: (cost[share], share))]
        if self._fewest >= self._threshold:
            first = by_cost[: self._threshold]
            return tuple(sorted(first)) if len(first) == self._threshold else None
        field = self._code.field
        basis, functional = self._coordinates
        progress = self._start(np.arange(basis.shape[1]))
        chosen: list[int] = []
        for share in by_cost:
            if progress.decodable:
                break
            grown = progress.extended(basis[share])
            if grown is not progress:
                chosen.append(share)
                progress = grown
        if not progress.decodable:
            return None
        # Results that are independent have one way to give an output: shares without weight
        # in it can be spared, and no others.
        weights: Any = field.solve(basis[chosen], functional)
        sizes = np.abs(weights)
        least = 0 if field.exact else _NO_WEIGHT * sizes.max(axis=1, keepdims=True)
        needed = np.flatnonzero((sizes > least).any(axis=0))
        return tuple(sorted(chosen[position] for position in needed))


def _index(share: Any) -> int:
    """Any kind of integer as a plain one: NumPy's overflow, and a boolean is no index."""
    if isinstance(share, bool):
        raise TypeError
    return operator.index(share)


@lru_cache(maxsize=64)
def algebra(code: "AbstractCode") -> Algebra:
    """The algebra of a code, shared by equal codes."""
    return Algebra(code)
