"""Tasks as layers of a Dask graph."""

from collections.abc import Sequence
from typing import Any

from dask._task_spec import Task
from dask.highlevelgraph import HighLevelGraph
from dask.typing import Key

__all__ = ["layered", "merged"]


def layered(name: str, tasks: dict[Key, Task], dependencies: Sequence[Any] = ()) -> HighLevelGraph:
    """A graph with one new layer on top of those of some collections."""
    return HighLevelGraph.from_collections(name, tasks, dependencies=list(dependencies))


def merged(*graphs: HighLevelGraph) -> HighLevelGraph:
    """One graph with the layers of all."""
    return HighLevelGraph.merge(*graphs)
