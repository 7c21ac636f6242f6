"""Backup tasks by Spark's rule, on plain Dask: who is late is computed once more, elsewhere.

The rule of ``spark.speculation``: every 100 ms, once 75% of the tasks are done, whatever runs for
more than 1.5 times the median is started a second time on another worker; the first to finish
wins. The second task makes its block anew, since the first one's worker may not answer.
"""

import asyncio
import itertools
import time
from dataclasses import dataclass, field
from typing import Any

import dask.array as da
import numpy as np
from dask.base import flatten
from distributed import Client, Future, futures_of

__all__ = ["Speculation"]

INTERVAL = 0.1
QUANTILE = 0.75
MULTIPLIER = 1.5


def multiply(block: np.ndarray, x: np.ndarray) -> np.ndarray:
    """One product task."""
    return block @ x


@dataclass(frozen=True)
class Lineage:
    """How to make a block; wrapped, so that a client sends it as it is."""

    block: da.Array


def multiply_anew(lineage: Lineage, x: np.ndarray) -> np.ndarray:
    """The second task."""
    return lineage.block.compute(scheduler="sync") @ x


@dataclass
class Speculation:
    """A matrix whose products are speculated on."""

    lineage: da.Array
    """Not persisted: makes every block anew."""
    blocks: list[Future]
    names: itertools.count = field(default_factory=itertools.count)

    @classmethod
    def of(cls, matrix: da.Array) -> "Speculation":
        futures = {future.key: future for future in futures_of(matrix.persist())}
        return cls(matrix, [futures[key] for key in flatten(matrix.__dask_keys__())])

    def multiply(self, x: np.ndarray) -> np.ndarray:
        """The product with `x`."""
        client = Client.current()
        return np.concatenate(client.sync(self._multiply, client, x))

    async def _multiply(self, client: Any, x: np.ndarray) -> list[np.ndarray]:
        name = f"matmul-{next(self.names)}"
        first = [
            client.submit(multiply, block, x, key=(name, i), pure=False)
            for i, block in enumerate(self.blocks)
        ]
        began = time.perf_counter()
        waiting: dict[asyncio.Task, int] = {
            asyncio.ensure_future(future._result()): i for i, future in enumerate(first)
        }
        copies: dict[int, Future] = {}
        found: dict[int, np.ndarray] = {}
        took: list[float] = []
        try:
            while len(found) < len(first):
                done, _ = await asyncio.wait(
                    waiting, timeout=INTERVAL, return_when=asyncio.FIRST_COMPLETED
                )
                now = time.perf_counter() - began
                for task in done:
                    i = waiting.pop(task)
                    if i not in found:
                        found[i] = task.result()
                        took.append(now)
                if len(found) < QUANTILE * len(first) or now < MULTIPLIER * np.median(took):
                    continue
                for i in set(range(len(first))) - found.keys() - copies.keys():
                    copies[i] = await self._again(client, (f"{name}-again", i), i, x)
                    waiting[asyncio.ensure_future(copies[i]._result())] = i
            return [found[i] for i in range(len(first))]
        finally:
            for task in waiting:
                task.cancel()
            await client.cancel([*first, *copies.values()], asynchronous=True, force=True)

    async def _again(self, client: Any, key: Any, i: int, x: np.ndarray) -> Future:
        holders = await client.who_has([self.blocks[i]])
        taken = {address for addresses in holders.values() for address in addresses}
        known = (await client.scheduler.identity(n_workers=-1))["workers"]
        block = Lineage(self.lineage.blocks[i])
        elsewhere = sorted(known.keys() - taken) or None
        return client.submit(multiply_anew, block, x, key=key, pure=False, workers=elsewhere)
