"""What an untrusted worker does: multiply what it is sent, and say the results one by one.

Shares are no Dask data. They come over a connection of their own, are known under no key, and
nothing of Dask's can copy, move or ask for them; the scheduler does not hear of them. When the
connection ends they are gone.
"""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from distributed.comm import CommClosedError
from distributed.core import Status
from distributed.protocol import to_serialize

from dask_coded.fields import PrimeField

__all__ = ["OPERATION", "install", "packed", "unpacked"]

NDArray: TypeAlias = npt.NDArray[Any]

OPERATION = "dask_coded_private_products"
#: Multiply-adds between two looks at whether anybody still waits: well under a second.
_SLICE = 2e8


def install(dask_worker: Any) -> None:
    """Teach a worker the operation; runs on the worker, any number of times."""

    async def multiply(comm: Any, modulus: int, left: Any, rights: Sequence[Any]) -> Any:
        return await _serve(dask_worker, comm, PrimeField(modulus), left, rights)

    dask_worker.handlers.setdefault(OPERATION, multiply)


def packed(x: NDArray, p: int) -> NDArray:
    """Elements as they travel: in half the bytes where they fit."""
    return x.astype(np.uint32) if p <= 2**32 else x


def unpacked(x: NDArray) -> NDArray:
    """Elements as they are computed with."""
    return x.astype(np.int64, copy=False)


async def _serve(
    worker: Any, comm: Any, field: PrimeField, left: Any, rights: Sequence[Any]
) -> Any:
    loop = asyncio.get_running_loop()
    unwanted = threading.Event()
    listener = asyncio.create_task(_hung_up(comm, unwanted))
    try:
        factor = unpacked(left)
        for right in rights:
            # The pool of Dask's own tasks: products wait for a free thread like any of these.
            product = await loop.run_in_executor(
                worker.executors["default"], _product, field, factor, unpacked(right), unwanted
            )
            if product is None:
                break
            await comm.write({"status": "OK", "result": to_serialize(packed(product, field.p))})
        await listener
    finally:
        unwanted.set()
        listener.cancel()
    return Status.dont_reply


async def _hung_up(comm: Any, unwanted: threading.Event) -> None:
    """Wait until the other side, which has nothing more to say, closes the connection."""
    try:
        await comm.read()
    except (CommClosedError, OSError):
        pass
    finally:
        unwanted.set()


def _product(
    field: PrimeField, left: NDArray, right: NDArray, unwanted: threading.Event
) -> NDArray | None:
    """The product of two shares, or None if nobody wants it any more."""
    made = np.empty((left.shape[0], right.shape[1]), np.int64)
    step = max(1, int(_SLICE / max(left.shape[1] * right.shape[1], 1)))
    for top in range(0, len(made), step):
        if unwanted.is_set():
            return None
        made[top : top + step] = field.matmul(left[top : top + step], right)
    return made
