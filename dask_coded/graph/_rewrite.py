"""Dask's own products, coded, in the graph where they stand."""

import functools
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from dask._task_spec import Task
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from dask.tokenize import tokenize
from dask.typing import Key

from dask_coded.codes import AbstractCode
from dask_coded.graph._matmul import MatmulGroups, TilesAt, product_tasks
from dask_coded.graph._recognise import DaskProduct, LeftAlone, recognise
from dask_coded.graph._sides import Side, generators_of, splits_of
from dask_coded.graph._tiles import encode_tiles
from dask_coded.graph._unseen import UnseenArithmetic, mixed_unseen
from dask_coded.typing import AnyArray, Array

__all__ = ["Coding", "Rewritten", "rewrite"]

logger = logging.getLogger(__name__)

#: Inner chunks that one task multiplies. Their sizes are unknown, so as many as Dask adds at once.
_PER_TASK = 4


@dataclass(frozen=True)
class Coding:
    """How one product is coded."""

    code: AbstractCode
    side: Side
    tolerance: float
    reason: str


@dataclass(frozen=True)
class Rewritten:
    """A product of Dask's that was coded."""

    name: str
    """Of its first layer."""
    coding: Coding


def rewrite(
    graph: HighLevelGraph,
    keys: Collection[Any],
    choose: Callable[[DaskProduct], Coding | str],
    product: Callable[[AnyArray, AnyArray], AnyArray],
) -> tuple[HighLevelGraph, tuple[Rewritten | LeftAlone, ...]]:
    """Code every product that can be, and keep all else as it is.

    The output of a product keeps its keys, so that what reads it needs no change.

    Parameters
    ----------
    graph
        Not yet optimised.
    keys
        What is asked for.
    choose
        How to code a product, or why not to.
    product
        Multiplies two plain chunks.

    Returns
    -------
    graph, findings
        The findings in the order of the graph.
    """
    wanted = frozenset(key[0] if isinstance(key, tuple) else key for key in flatten([keys]))
    findings: list[Rewritten | LeftAlone] = []
    layers: dict[str, Any] = dict(graph.layers)
    dependencies = dict(graph.dependencies)
    for found in recognise(graph, wanted):
        if isinstance(found, DaskProduct):
            coding = choose(found)
            if isinstance(coding, Coding):
                findings.append(Rewritten(found.layers[0], coding))
                old = layers[found.name]
                layers[found.name] = MaterializedLayer(
                    _tasks(found, coding, product),
                    annotations=old.annotations,
                    collection_annotations=old.collection_annotations,
                )
                dependencies[found.name] = dependencies[found.layers[0]]
                for name in found.layers:
                    del layers[name], dependencies[name]
                continue
            found = LeftAlone(found.layers[0], coding)
        findings.append(found)
    for finding in findings:
        if isinstance(finding, Rewritten):
            logger.info("Coded %s by %r", finding.name, finding.coding.code)
        else:
            logger.info("Left %s alone: %s", finding.name, finding.reason)
    return HighLevelGraph(layers, dependencies), tuple(findings)


def _tasks(
    found: DaskProduct, coding: Coding, product: Callable[[AnyArray, AnyArray], AnyArray]
) -> dict[Key, Task]:
    code = coding.code
    m, p, n = splits_of(code, coding.side)
    # The output keeps its name, whichever code makes it: all other keys tell codes apart.
    label = f"coded-{tokenize(found.name, code, coding.side, coding.tolerance)}"
    dtype = None if found.dtype is None else str(found.dtype)
    # A code of both operands cuts two axes: its chunks must all have one shape.
    batch_axes = len(found.batch)
    learned_axis = {"rows": batch_axes, "columns": batch_axes + (found.rows is not None)}.get(
        coding.side
    )
    groups = MatmulGroups(
        name=found.name,
        label=label,
        code=code,
        splits=(m, p, n),
        batch=found.batch,
        rows=found.rows,
        columns=found.columns,
        positions=-(-found.inner // p),
        per_task=_PER_TASK,
        tolerance=coding.tolerance,
        dtype=dtype,
        learned_axis=learned_axis,
    )
    mix = functools.partial(
        mixed_unseen,
        field=code.field,
        dtype=dtype,
        axis={"rows": -2, "columns": -1}.get(coding.side),
    )
    left, right = generators_of(code, coding.side)
    tasks: dict[Key, Task] = {}

    def tiles(
        operand: str, name: str, counts: tuple[int, ...], generator: Array, blocks: tuple[int, int]
    ) -> TilesAt:
        first = operand == "a"
        vector = len(counts) == 1
        matrix = ((1, *counts) if first else (*counts, 1)) if vector else counts[-2:]
        made: dict[tuple[int, ...], Any] = {}

        def chunk(place: tuple[int, ...], row: int, column: int) -> Key:
            if vector:
                return (name, column if first else row)
            return (name, *place, row, column)

        def at(place: tuple[int, ...]) -> Any:
            # A stacking axis with one chunk serves every index along it.
            own = tuple(
                0 if count == 1 else index for index, count in zip(place, counts[:-2], strict=True)
            )
            if own not in made:
                encoded = encode_tiles(
                    f"encode-{operand}-{label}",
                    generator,
                    blocks,
                    matrix,
                    functools.partial(chunk, own),
                    mix,
                    rows_first=first,
                    tell_blocks=learned_axis is not None,
                    batch=own,
                )
                tasks.update(encoded.tasks)
                made[own] = {key[len(own) :]: ref for key, ref in encoded.refs.items()}
            return made[own]

        return at

    a = tiles("a", found.left, found.left_counts, left, (m, p))
    b = tiles("b", found.right, found.right_counts, right, (p, n))
    arithmetic = UnseenArithmetic(
        product, found.function, found.axis, found.kind == "tensordot", dtype
    )
    tasks.update(product_tasks(groups, a, b, arithmetic))
    return tasks
