"""The same principal components twice: on an encoded matrix, and on Dask as it is."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import dask.array as da
import numpy as np
from distributed import Client, as_completed, futures_of

from dask_coded.array import encode
from dask_coded.cluster import Report, report
from dask_coded.demo._patches import DTYPE, Patches
from dask_coded.demo._power import Eigenpairs, Floats, block_power
from dask_coded.demo._progress import Bar, bar
from dask_coded.demo._story import ITERATION, Story
from dask_coded.testing import EmulatedCluster

__all__ = ["Run", "run_coded", "run_plain"]

#: How often a wait looks at the clock, s.
_TICK = 0.5
#: Relative error that a product may have: the pixels themselves are known to 1 in 255.
_TOLERANCE = 1e-4

#: ``V -> A.T @ (A @ V)``, lazy.
_Gram: TypeAlias = Callable[[Any], da.Array]


@dataclass(frozen=True, eq=False)
class Run:
    """What one arm did."""

    seconds: tuple[float, ...]
    """Of each iteration that ended."""
    stuck: float | None
    """How long the next one was waited for in vain, s; None if all ended."""
    found: Eigenpairs | None
    """None if not all iterations ended."""
    preparation: float = 0.0
    """Until the matrix was on the workers, s."""
    report: Report | None = None
    """What the runtime says about its groups."""


class _OutOfTimeError(Exception):
    """Time was up before the product was there; the argument says how long it was waited for."""


def run_coded(story: Story, patches: Patches, limit: float) -> Run:
    """Encode the matrix once and iterate on it; give up after `limit` s of iterating."""
    with _cluster(story) as (cluster, client):
        began = time.perf_counter()
        blocks = patches.matrix(story.n_workers - story.parity)
        A = encode(blocks, parity=story.parity, adjoint=True, tolerance=_TOLERANCE).persist()
        _wait(A, "encoding")
        preparation = time.perf_counter() - began
        run = _iterate(lambda V: A.T @ (A @ V), story, patches.shape[1], cluster, client, limit)
        return replace(run, preparation=preparation, report=report(client))


def run_plain(story: Story, patches: Patches, limit: float) -> Run:
    """The same on plain Dask: a block of rows on every worker, and only small sums travel."""
    with _cluster(story) as (cluster, client):
        began = time.perf_counter()
        a = patches.matrix(story.n_workers).persist()
        _wait(a, "loading")
        preparation = time.perf_counter() - began
        run = _iterate(lambda V: a.T @ (a @ V), story, patches.shape[1], cluster, client, limit)
        return replace(run, preparation=preparation)


@contextmanager
def _cluster(story: Story) -> Iterator[tuple[EmulatedCluster, Client]]:
    # With quotas, so that one worker can be slowed: in its tasks, event loop and transfers alike.
    with EmulatedCluster(story.n_workers, quota=1.0) as cluster, cluster.client() as client:
        yield cluster, client


def _wait(matrix: Any, what: str) -> None:
    futures = futures_of(matrix)
    with bar(what, len(futures)) as progress:
        for future in as_completed(futures):
            if future.status != "finished":
                future.result()  # raises what went wrong; a share that is there stays there
            progress.step()


def _iterate(
    gram: _Gram,
    story: Story,
    n_columns: int,
    cluster: EmulatedCluster,
    client: Client,
    limit: float,
) -> Run:
    """Block power iteration under the story's faults."""
    seconds: list[float] = []
    ends = time.perf_counter() + limit
    start = np.random.default_rng(0).standard_normal((n_columns, story.block))

    with (
        bar("iterating", story.n_iterations) as progress,
        story.trace().play(cluster, undo=False),
    ):

        def multiply(V: Floats) -> Any:
            progress.say(story.event(len(seconds)))
            cluster.signal(ITERATION)
            began = time.perf_counter()
            product = _result(client.compute(gram(V.astype(DTYPE))), ends, progress)
            seconds.append(time.perf_counter() - began)
            progress.step()
            return product

        try:
            found = block_power(multiply, start, story.n_iterations)
        except _OutOfTimeError as late:
            return Run(tuple(seconds), late.args[0], None)
    return Run(tuple(seconds), None, found)


def _result(future: Any, ends: float, progress: Bar) -> Any:
    began = time.perf_counter()
    while (left := ends - time.perf_counter()) > 0:
        try:
            return future.result(timeout=min(left, _TICK))
        except TimeoutError:
            progress.waiting(time.perf_counter() - began)
    raise _OutOfTimeError(time.perf_counter() - began)
