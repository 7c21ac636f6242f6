"""Coding products that were written without a thought of it: Dask's ``array_optimize`` hook."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import dask
from dask.array.optimization import optimize as dask_optimize
from dask.base import is_dask_collection
from dask.highlevelgraph import HighLevelGraph

from dask_coded.array._accuracy import Accuracy
from dask_coded.array._chunks import has_codable_dtype
from dask_coded.array._client import (
    current_client,
    prepare,
    prepared_workers,
    refuse_expressions,
    worker_count,
)
from dask_coded.array._plan import (
    check_request,
    choose_code,
    default_tolerance,
    fitted,
    given_code,
)
from dask_coded.cluster import sliced_matmul
from dask_coded.codes import AbstractCode
from dask_coded.errors import ParameterError, UnsupportedDtypeError, UnsupportedOperationError
from dask_coded.graph import Coding, DaskProduct, LeftAlone, Rewritten, rewrite

__all__ = ["Explanation", "Optimization", "explain", "optimize", "optimize_graph"]


@dataclass(frozen=True)
class Optimization:
    """The graph optimisation with its settings; made by :func:`optimize`.

    Dask calls it on the scheduler, where neither the client nor its configuration is known, so
    all that it depends on is bound here.

    Parameters
    ----------
    code, parity, tolerance
        As for :func:`dask_coded.coded_matmul`, for every product.
    workers
        Workers of the cluster; None as long as there is none, or its runtime is not enabled.
        Then nothing is coded that was not asked for.
    """

    code: AbstractCode | None = None
    parity: int | None = None
    tolerance: float | None = None
    workers: int | None = None

    def __call__(self, dsk: Any, keys: Any, **kwargs: Any) -> Any:
        """Code the products of a graph, then optimise it as Dask does."""
        refuse_expressions()
        if isinstance(dsk, HighLevelGraph):
            dsk, _ = self.rewritten(dsk, keys)
        return dask_optimize(dsk, keys, **kwargs)

    def rewritten(
        self, graph: HighLevelGraph, keys: Collection[Any]
    ) -> tuple[HighLevelGraph, tuple[Rewritten | LeftAlone, ...]]:
        """The graph with coded products, and what was found in it."""
        return rewrite(graph, keys, self._choose, sliced_matmul)

    def _choose(self, product: DaskProduct) -> Coding | str:
        dtype = product.dtype
        if dtype is not None and not has_codable_dtype(dtype):
            return f"its sum has dtype {dtype}, which cannot be encoded"
        rows, columns = product.rows or 1, product.columns or 1
        # Rows are paired along the first axis of chunks.
        pairable = not product.batch and product.rows is not None
        try:
            if self.code is not None:
                choice = given_code(self.code, rows, columns, dtype, pairable=pairable)
            else:
                accuracy = Accuracy(dtype, self.tolerance)
                choice = choose_code(
                    rows,
                    columns,
                    dtype,
                    parity=self.parity,
                    n_workers=self.workers,
                    pairable=pairable,
                    accuracy=accuracy,
                ).explained(accuracy.note())
        except (UnsupportedDtypeError, UnsupportedOperationError) as error:
            return str(error)
        if choice.code is None:
            return choice.reason
        if None in choice.code.direct():
            return (
                f"with {choice.code!r} outputs exist only decoded, and the graph does not say "
                "whether its chunks can be mixed; use coded_matmul, or a systematic code"
            )
        tolerance = default_tolerance(dtype) if self.tolerance is None else float(self.tolerance)
        return Coding(fitted(choice, rows, columns), choice.side, tolerance, choice.reason)

    def bound(self) -> "Optimization":
        """The same, for the cluster of the current client as far as it is known."""
        if self.workers is not None:
            return self
        return replace(self, workers=prepared_workers(current_client()))

    def __reduce__(self) -> Any:
        # The client pickles the hook together with the graph: the last moment to bind it, and
        # one at which the scheduler must not be asked, because the client holds a lock.
        bound = self.bound()
        return type(self), (bound.code, bound.parity, bound.tolerance, bound.workers)


#: The optimisation with default settings, for ``dask.config.set(array_optimize=optimize_graph)``.
#: What a client computes first is not coded yet, but enables the runtime on its cluster.
optimize_graph = Optimization()


@contextmanager
def optimize(
    *,
    code: AbstractCode | None = None,
    parity: int | None = None,
    tolerance: float | None = None,
) -> Iterator[Optimization]:
    """Code the products of all Dask arrays that are computed or persisted inside the context.

    Recognises ``matmul``, ``tensordot`` and ``dot`` by the structure of their layers, wherever
    they stand in a graph; what cannot be coded is computed as always, and :func:`explain` says
    why. The settings are bound on entering, and the runtime is enabled on the current client.

    Parameters
    ----------
    code, parity, tolerance
        As for :func:`dask_coded.coded_matmul`. The default chooses for each product from its
        chunks and the workers of the current client, and codes nothing without one.

    Raises
    ------
    ParameterError, UnsupportedOperationError
        If the settings are impossible, or Dask's array expressions are on.

    Notes
    -----
    A graph does not say which sizes, dtype and type its chunks have, so some of what
    :func:`dask_coded.coded_matmul` knows beforehand is found out by the tasks: parity of chunks
    that cannot be mixed is given up, and the product waits for its own chunks.

    Where Dask sums products of small integers over inner chunks, it wraps each product in their
    dtype before it adds them in a wide one. Coded products are wide from the start: equal where
    nothing wraps, and exact where Dask's are not.

    Examples
    --------
    >>> import dask.array as da
    >>> a = da.ones((6, 4), chunks=(2, 4))
    >>> with optimize(parity=1):
    ...     (a @ a.T).sum().compute(scheduler="sync")
    np.float64(144.0)
    """
    refuse_expressions()
    check_request(code, parity, tolerance)
    client = current_client()
    prepare(client)
    hook = Optimization(code, parity, tolerance, worker_count(client))
    with dask.config.set(array_optimize=hook):
        yield hook


@dataclass(frozen=True, repr=False)
class Explanation:
    """What the optimisation makes of a collection."""

    rewritten: tuple[Rewritten, ...]
    """Products that are coded, each with its code, side, tolerance and the reason."""
    left: tuple[LeftAlone, ...]
    """Products that stay as they are, each with the reason."""

    def __repr__(self) -> str:
        if not self.rewritten and not self.left:
            return "no product of Dask's in this graph"
        lines = [
            f"coded {entry.name} by {entry.coding.code!r} on the {entry.coding.side}: "
            f"{entry.coding.reason}"
            for entry in self.rewritten
        ]
        lines += [f"left {entry.name} alone: {entry.reason}" for entry in self.left]
        return "\n".join(lines)


def explain(
    collection: Any,
    *,
    code: AbstractCode | None = None,
    parity: int | None = None,
    tolerance: float | None = None,
) -> Explanation:
    """What :func:`optimize` would code in a collection, and what it would leave and why.

    Parameters
    ----------
    collection
        A Dask array, or any collection with a Dask graph that was not optimised yet.
    code, parity, tolerance
        As for :func:`optimize`.

    Examples
    --------
    >>> import dask.array as da
    >>> a = da.ones((6, 4), chunks=(2, 4))
    >>> found = explain(a @ a.T + da.dot(a[0], a[0]), parity=1)
    >>> [entry.coding.code for entry in found.rewritten]
    [MDS(n_shares=4, k=3, parity='ones', seed=0, field=REAL)]
    >>> [entry.reason for entry in found.left]
    ['it has one output chunk, so there is nothing to code']
    """
    refuse_expressions()
    check_request(code, parity, tolerance)
    hook = Optimization(code, parity, tolerance, worker_count(current_client()))
    if not is_dask_collection(collection):
        raise ParameterError(
            f"explain takes a Dask collection, got {type(collection).__name__}; give it the lazy "
            "array, before compute()"
        )
    graph = collection.__dask_graph__()
    if not isinstance(graph, HighLevelGraph):
        return Explanation((), ())
    _, findings = hook.rewritten(graph, collection.__dask_keys__())
    return Explanation(
        tuple(entry for entry in findings if isinstance(entry, Rewritten)),
        tuple(entry for entry in findings if isinstance(entry, LeftAlone)),
    )
