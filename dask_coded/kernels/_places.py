"""Calls on arrays of a device, made where these arrays lie."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from dask_coded.kernels.gpu._device import shared_device
from dask_coded.kernels.gpu._memory import device_memory

__all__ = ["where_they_lie"]


@contextmanager
def where_they_lie(arrays: Iterable[Any], what: str, n_bytes: int | None = None) -> Iterator[None]:
    """Context in which calls are made on the device that all arrays lie on.

    A process may have several devices, and calls of CuPy are made on its current one. Arrays of the
    host, and what is no array, lie nowhere.

    Parameters
    ----------
    arrays
        What the calls read.
    what
        What is made of them, for messages.
    n_bytes
        How much memory that takes; if given, running out of it is named.

    Raises
    ------
    DeviceError
        If the arrays lie on several devices.
    DeviceMemoryError
        If their device has too little memory.

    Examples
    --------
    >>> with where_they_lie([np.ones(2), None], "a sum"):
    ...     pass
    """
    named = [(f"array {n} of {what}", x) for n, x in enumerate(arrays) if _has_device(x)]
    if not named:
        yield
        return
    memory = nullcontext() if n_bytes is None else device_memory(what, n_bytes)
    with shared_device(named), memory:
        yield


def _has_device(array: Any) -> bool:
    device = None if isinstance(array, np.ndarray) else getattr(array, "device", None)
    return hasattr(device, "__enter__") and hasattr(device, "id")
