"""Tasks of a group, and the description of the group that rides inside them.

A *group* is one codeword in flight: ``n_shares`` share tasks, of which any decodable set gives
the outputs. Annotations do not survive Dask's optimisation, so the description travels in the
tasks: in :class:`DataShareTask` where an output simply *is* the result of one share (a systematic
code), and in :class:`DecodeTask` where it has to be decoded from others.

A scheduler that knows nothing of codes runs both as they stand and gets the right answer: a data
share ignores the parity it depends on, a decode task decodes from all results.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from dask._task_spec import Task, TaskRef
from dask.tokenize import tokenize
from dask.typing import Key

from dask_coded.codes import AbstractCode
from dask_coded.errors import ParameterError
from dask_coded.fields import PAIRED, REAL, Field, PrimeField
from dask_coded.graph._learned import LearnedShape, bare
from dask_coded.graph._padding import padded
from dask_coded.graph._residues import signed_sum
from dask_coded.graph._rounding import Verification
from dask_coded.graph._unfit import Unfit
from dask_coded.graph._verify import verified
from dask_coded.kernels import combine, settled, where_they_lie
from dask_coded.typing import AnyArray, Array

__all__ = [
    "DataShareTask",
    "DecodeTask",
    "GroupSpec",
    "ShareTask",
    "combination",
    "combine_results",
    "spec_of",
    "weighted_sum",
]

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class GroupSpec:
    """What the scheduler must know of a group; no data, no functions.

    Parameters
    ----------
    group
        Token of the group, equal in all its tasks.
    code
        The code of its shares.
    share_keys
        Key of the task of every share, by share index.
    output_keys
        Key of every output, by output index. Where it is also a key of `share_keys`, the result
        of that share is the output and nothing has to be decoded.
    tolerance
        Largest acceptable ``amplification * eps``; None accepts what 1e-6 does.
    shapes
        True shape of every output, or how it is learned from the results. Results are padded to a
        common shape before they are combined and outputs are cut back. None: all results have one
        shape.
    dtype
        dtype of the outputs; None takes what combining gives.
    at_rest
        Whether the outputs are there to stay, as the shares of an encoded matrix are: each belongs
        on a worker of its own, and only one that was lost is decoded, never one that is late.
    cohort
        What groups that run beside each other have in common, if their outputs are such that the
        other shares run only when one is late; late is what takes much longer than its like.
        None: all shares run at once.
    verify
        How wrong results are dealt with; None trusts them all. A group that verifies has one key,
        that of a tuple of its outputs.
    dtypes
        dtype of every output, where they differ: parity of small integers is wider than they are.
    eps
        Precision in which the shares were rounded, where that is coarser than `dtype` has it; the
        outputs are no more accurate, whatever their dtype. None: that of `dtype`.
    """

    group: str
    code: AbstractCode
    share_keys: tuple[Key, ...]
    output_keys: tuple[Key, ...]
    tolerance: float | None = None
    shapes: tuple[Shape | LearnedShape, ...] | None = None
    dtype: str | None = None
    at_rest: bool = False
    cohort: str | None = None
    verify: Verification | None = None
    dtypes: tuple[str, ...] | None = None
    eps: float | None = None

    def __post_init__(self) -> None:
        if len(self.share_keys) != self.code.n_shares:
            raise ParameterError(
                f"{self.code!r} has {self.code.n_shares} shares; got {len(self.share_keys)} keys. "
                "Give one key for each share, in the order of share indices."
            )
        if self.shapes is not None and len(self.shapes) != self.n_outputs:
            raise ParameterError(
                f"{self.n_outputs} outputs need as many shapes; got {len(self.shapes)}."
            )

    @property
    def n_outputs(self) -> int:
        """Number of outputs, each of its own key unless the group verifies."""
        if self.verify is None:
            return len(self.output_keys)
        return math.prod(self.code.output_grid)

    @property
    def rounding(self) -> float:
        """Relative precision of the results that outputs are decoded from."""
        dtype = np.dtype(self.dtype or np.float64)
        own = float(np.finfo(dtype if dtype.kind in "fc" else np.float64).eps)
        return own if self.eps is None else max(own, self.eps)

    @property
    def parity_keys(self) -> tuple[Key, ...]:
        """Keys of the shares that are no output."""
        outputs = set(self.output_keys)
        return tuple(key for key in self.share_keys if key not in outputs)

    def renamed(self, names: dict[Key, Key]) -> "GroupSpec":
        """The same group after an optimisation has given some of its tasks other keys."""
        return replace(
            self,
            share_keys=tuple(names.get(key, key) for key in self.share_keys),
            output_keys=tuple(names.get(key, key) for key in self.output_keys),
        )


def combine_results(
    weights: Array,
    *results: Any,
    field: Field = REAL,
    shape: Shape | LearnedShape | None = None,
    dtype: str | None = None,
) -> AnyArray:
    """One output as the weighted sum of share results.

    Parameters
    ----------
    weights
        ``(len(results),)``.
    *results
        Arrays of equal rank, or mixtures that know the sizes of their blocks; shorter ones are
        continued with zeros.
    field
        Arithmetic of the weights.
    shape
        True shape of the output, or how the results tell it; None keeps the common one.
    dtype
        dtype of the output. Elements of a prime field become the integers that they stand for.

    Examples
    --------
    >>> import numpy as np
    >>> combine_results(np.array([1.0, -1.0]), np.array([5.0, 7.0]), np.array([1.0]), shape=(1,))
    array([4.])
    """
    return settled(weighted_sum(weights, *results, field=field, shape=shape, dtype=dtype))


def weighted_sum(
    weights: Array,
    *results: Any,
    field: Field = REAL,
    shape: Shape | LearnedShape | None = None,
    dtype: str | None = None,
) -> AnyArray:
    """As :func:`combine_results`; on a device it is only begun, for what reads it there next."""
    weights = np.asarray(weights)
    for result in results:
        if isinstance(result, Unfit):
            raise result.error()
    if isinstance(shape, LearnedShape):
        shape = shape.among(results)
    results = tuple(map(bare, results))
    n_bytes = max((result.nbytes for result in results), default=0)
    with where_they_lie(results, "a sum of results", n_bytes):
        return _weighted_sum(weights, results, field, shape, dtype)


def _weighted_sum(
    weights: Array,
    results: tuple[AnyArray, ...],
    field: Field,
    shape: Shape | None,
    dtype: str | None,
) -> AnyArray:
    if isinstance(field, PrimeField) and dtype is not None:
        return signed_sum(weights, results, field, shape, dtype)
    if dtype is not None and np.dtype(dtype).kind in "iu":
        # Modulo a power of two a sum may be taken in its own dtype, and has to be if it is wider.
        results = tuple(_as_integers(result, dtype) for result in results)
    # Halves of paired rows have to be of one size.
    even = field == PAIRED and bool(weights.imag.any())
    (output,) = combine(weights[None, :], padded(results, even), field=field)
    if shape is not None and output.shape != shape:
        output = output[tuple(slice(length) for length in shape)]
    return output if dtype is None else output.astype(dtype, copy=False)


def _as_integers(result: AnyArray, dtype: str) -> AnyArray:
    return result.astype(dtype, copy=False) if result.dtype.kind in "iu" else result


class _GroupTask(Task):  # type: ignore[misc]
    """A task that must stay itself: fused into another it would lose the group."""

    spec: GroupSpec

    __slots__ = ("spec",)

    @property
    def block_fusion(self) -> bool:
        return True

    def _get_token(self) -> str:
        if not self._token:
            self._token = tokenize(super()._get_token(), type(self).__name__, self._identity())
        return str(self._token)

    def _identity(self) -> tuple[Any, ...]:
        spec = self.spec
        return (spec.group, spec.share_keys, spec.output_keys, spec.tolerance, spec.verify)

    def _new_names(self, subs: dict[Key, Any], new: Key | None) -> dict[Key, Key]:
        # `subs` may be as large as the whole graph: look up our keys, never walk it.
        names: dict[Key, Key] = {}
        for name in (*self.spec.share_keys, *self.spec.output_keys):
            if name in subs:
                other = getattr(subs[name], "key", subs[name])
                if other != name:
                    names[name] = other
        if new is not None and new != self.key:
            names[self.key] = new
        return names


class ShareTask(Task):  # type: ignore[misc]
    """The task of a share that stays at its key: who runs it has computed this very result.

    Fused with what comes before it, it would leave but an alias at its key, which another worker
    may resolve: the wrong one would be named as the one at fault.
    """

    __slots__ = ()

    @property
    def block_fusion(self) -> bool:
        return True


class DataShareTask(_GroupTask):
    """The task of a share whose result is an output.

    In the graph it depends on the parity shares too, so that culling keeps them; its value does
    not, and the scheduler plugin cuts these edges before anything waits for them.

    Parameters
    ----------
    key
        Key of the output, and of the share.
    func, *args, **kwargs
        The share's work, as for any task.
    spec
        The group.
    """

    __slots__ = ()

    def __init__(
        self, key: Key, func: Callable[..., Any], /, *args: Any, spec: GroupSpec, **kwargs: Any
    ) -> None:
        self.spec = spec
        super().__init__(key, func, *args, **kwargs)
        self._dependencies = self._dependencies | frozenset(spec.parity_keys)

    def plain(self, key: Key | None = None) -> Task:
        """The same work as a task of no group, which depends on its own inputs only."""
        return Task(self.key if key is None else key, self.func, *self.args, **self.kwargs)

    def substitute(self, subs: dict[Key, Any], key: Key | None = None) -> "DataShareTask":
        names = self._new_names(subs, key)
        task = super().substitute(subs, key)
        if not names:
            return task  # type: ignore[no-any-return]
        return DataShareTask(
            task.key, task.func, *task.args, spec=self.spec.renamed(names), **task.kwargs
        )

    def copy(self) -> "DataShareTask":
        return DataShareTask(self.key, self.func, *self.args, spec=self.spec, **self.kwargs)

    def __call__(self, values: Any = ()) -> Any:
        return self.plain()(values)

    def __repr__(self) -> str:
        return f"DataShareTask({self.key!r})"


class DecodeTask(_GroupTask):
    """One output of a group, decoded from the results of its shares.

    As it stands it depends on all shares and uses whatever they give; the scheduler plugin
    replaces it by a :func:`combination` of the survivors as soon as they suffice.

    Parameters
    ----------
    key
        Key of the output.
    spec
        The group; `key` is one of its ``output_keys``.
    """

    __slots__ = ()

    def __init__(self, key: Key, /, *, spec: GroupSpec) -> None:
        self.spec = spec
        everything = tuple(range(spec.code.n_shares))
        task = combination(spec, key, everything)
        super().__init__(key, task.func, *task.args, **task.kwargs)
        # Shares without weight are needed too, in case others do not come.
        self._dependencies = frozenset(spec.share_keys)

    def substitute(self, subs: dict[Key, Any], key: Key | None = None) -> "DecodeTask":
        names = self._new_names(subs, key)
        if not names:
            return self
        return DecodeTask(names.get(self.key, self.key), spec=self.spec.renamed(names))

    def copy(self) -> "DecodeTask":
        return DecodeTask(self.key, spec=self.spec)

    def __repr__(self) -> str:
        return f"DecodeTask({self.key!r})"


def combination(
    spec: GroupSpec, key: Key, survivors: Sequence[int], share_keys: Sequence[Key] | None = None
) -> Task:
    """The task that gives the output at `key` from the survivors' results.

    It is an ordinary task which holds one row of weights and reads only shares whose weight is
    not zero. In a group that verifies it gives all outputs, and reads all survivors.

    Parameters
    ----------
    spec
        The group.
    key
        One of its ``output_keys``.
    survivors
        Share indices.
    share_keys
        Where the results are now, by share index; None is as in the group.

    Raises
    ------
    NotDecodableError
        If the survivors do not determine the outputs.
    """
    keys = spec.share_keys if share_keys is None else share_keys
    if spec.verify is not None:
        shares = tuple(sorted(survivors))
        return Task(
            key,
            verified,
            spec.verify,
            spec.code,
            spec.group,
            shares,
            *(TaskRef(keys[share]) for share in shares),
            shapes=spec.shapes,
            dtype=spec.dtype,
            tolerance=spec.tolerance,
        )
    decoder = spec.code.decoder(tuple(survivors))
    output = spec.output_keys.index(key)
    row = np.asarray(decoder.weights)[output]
    used = [i for i, weight in enumerate(row) if weight != 0] or [0]
    return Task(
        key,
        combine_results,
        row[used],
        *(TaskRef(keys[decoder.shares[i]]) for i in used),
        field=spec.code.field,
        shape=None if spec.shapes is None else spec.shapes[output],
        dtype=spec.dtype if spec.dtypes is None else spec.dtypes[output],
    )


def spec_of(task: Any) -> GroupSpec | None:
    """The group to which a task gives an output; None for any other task."""
    return task.spec if isinstance(task, _GroupTask) else None
