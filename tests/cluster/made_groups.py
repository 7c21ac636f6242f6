"""Small groups by hand, so that the runtime is tested without the array layer."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dask._task_spec import Task, TaskRef
from dask.highlevelgraph import HighLevelGraph
from distributed import Event

from dask_coded.codes import MDS, AbstractCode
from dask_coded.graph import DataShareTask, DecodeTask, GroupSpec

ROWS = 3


def gated(value: Any, gate: str | None) -> Any:
    """A share's result, once its gate is open."""
    if gate is not None:
        Event(gate).wait()
    return value


def failing(value: Any, gate: str | None) -> Any:
    gated(value, gate)
    raise ZeroDivisionError(f"share {gate}")


def multiplied(value: Any, operand: Any, gate: str | None) -> Any:
    return gated(value * operand, gate)


def blocks(k: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).normal(size=(k, ROWS)))


class MadeGroup:
    """The graph of one group over known blocks, and what its outputs must be.

    Parameters
    ----------
    code
        One-sided code, whose blocks are the outputs.
    name
        Prefix of all keys.
    gates
        Names of events that hold shares back, by share.
    work
        Function of a share's task, by share; default `gated`.
    inputs
        Key that the task of a share reads instead of its value, by share.
    """

    def __init__(
        self,
        code: AbstractCode | None = None,
        name: str = "g",
        gates: dict[int, str] | None = None,
        work: dict[int, Callable[..., Any]] | None = None,
        inputs: dict[int, Any] | None = None,
        systematic: bool = True,
        **options: Any,
    ) -> None:
        self.code = MDS(5, k=3) if code is None else code
        k = self.code.output_grid[0]
        self.outputs = blocks(k)
        responses = np.asarray(self.code.responses())
        shares = [sum(r * z for r, z in zip(row, self.outputs, strict=True)) for row in responses]
        self.share_keys = tuple((f"{name}-share", i) for i in range(self.code.n_shares))
        if systematic:
            self.share_keys = tuple(
                (f"{name}-product", i) if i < k else key for i, key in enumerate(self.share_keys)
            )
            self.keys = list(self.share_keys[:k])
        else:
            self.keys = [(f"{name}-output", q) for q in range(k)]
        self.spec = GroupSpec(
            f"group-{name}", self.code, self.share_keys, tuple(self.keys), **options
        )
        self.graph: dict[Any, Any] = {}
        for i, key in enumerate(self.share_keys):
            func = (work or {}).get(i, gated)
            value = TaskRef(inputs[i]) if inputs and i in inputs else shares[i]
            args = (value, (gates or {}).get(i))
            if systematic and i < k:
                self.graph[key] = DataShareTask(key, func, *args, spec=self.spec)
            else:
                self.graph[key] = Task(key, func, *args)
        if not systematic:
            for key in self.keys:
                self.graph[key] = DecodeTask(key, spec=self.spec)

    def scaled(self, share: int, operand: Any) -> Any:
        """The task of a share that multiplies its value by an operand, which has to be ones."""
        task = self.graph[self.share_keys[share]]
        value, gate = task.args
        if isinstance(task, DataShareTask):
            return DataShareTask(
                task.key, multiplied, value, TaskRef(operand), gate, spec=self.spec
            )
        return Task(task.key, multiplied, value, TaskRef(operand), gate)

    def check(self, got: Sequence[Any]) -> None:
        np.testing.assert_allclose(got, self.outputs, rtol=1e-10)


class Collection:
    """The least that a Dask collection needs: keys, and a graph that is not optimised."""

    def __init__(self, graph: dict[Any, Any], keys: list[Any]) -> None:
        self._graph = HighLevelGraph.from_collections("made", graph)
        self._keys = keys

    def __dask_graph__(self) -> Any:
        return self._graph

    def __dask_keys__(self) -> list[Any]:
        return self._keys


__all__ = ["Collection", "MadeGroup", "blocks", "failing", "gated"]
