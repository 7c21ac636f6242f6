"""Losing shares without a cluster: what the scheduler plugin does to a graph, done by hand."""

from collections.abc import Callable, Collection, Iterator
from typing import Any

import dask
import numpy as np
from dask.array.optimization import optimize as dask_optimize
from dask.core import flatten
from dask.local import get_sync

from dask_coded.codes import AbstractCode
from dask_coded.graph import GroupSpec, combination, spec_of

__all__ = ["computed_without", "loss_sets", "low_level", "specs"]


def low_level(array: Any, hook: Callable[..., Any] = dask_optimize) -> dict[Any, Any]:
    """The tasks of an array as a scheduler gets them."""
    return dict(hook(array.__dask_graph__(), list(flatten(array.__dask_keys__()))))


def specs(graph: dict[Any, Any]) -> dict[str, GroupSpec]:
    """All groups of a graph."""
    found = (spec_of(task) for task in graph.values())
    return {spec.group: spec for spec in found if spec is not None}


def computed_without(
    array: Any,
    lost: Callable[[GroupSpec], Collection[int]],
    hook: Callable[..., Any] = dask_optimize,
) -> np.ndarray:
    """The value of an array if in each group these shares never arrive.

    The task of a lost share raises, so that reading it anyway is found out.
    """
    graph = low_level(array, hook)
    groups = specs(graph)
    assert groups, "nothing is coded here"
    for spec in groups.values():
        gone = set(lost(spec))
        survivors = [share for share in range(spec.code.n_shares) if share not in gone]
        for key in spec.output_keys:
            if key not in graph:
                continue  # void
            if key not in spec.share_keys or spec.share_keys.index(key) in gone:
                graph[key] = combination(spec, key, survivors)
            else:
                graph[key] = graph[key].plain()
        for share in gone:
            key = spec.share_keys[share]
            if key not in spec.output_keys:
                graph[key] = dask._task_spec.Task(key, _never_read)
    keys = array.__dask_keys__()
    finalize, args = array.__dask_postcompute__()
    return finalize(get_sync(graph, keys), *args)


def _never_read() -> None:
    raise AssertionError("a lost share was read")


def loss_sets(code: AbstractCode, limit: int = 6) -> Iterator[frozenset[int]]:
    """Some sets of lost shares from which the code decodes, among them runs of data shares."""
    spare = code.n_shares - code.recovery_threshold
    for first in range(min(code.n_shares, limit)):
        yield frozenset((first + step) % code.n_shares for step in range(spare))
