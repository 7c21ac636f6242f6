"""Products in slices, which stop when nobody wants them any more.

A thread cannot be killed. A share that was cancelled would keep its slot until it is done, and
the next group would wait behind it. So a product looks between slices at what the worker thinks
of the task that runs it; outside a worker there is nothing to look at, and it is one plain call.
"""

import math
import operator
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from distributed import get_worker
from distributed.utils import thread_state

from dask_coded.cluster._settings import slice_seconds
from dask_coded.kernels import settled, where_they_lie
from dask_coded.typing import AnyArray

__all__ = ["ShareCancelled", "cancelled_check", "sliced_adjoint", "sliced_matmul"]

_FIRST_FLOP = 2e7
"""Work of the first slice: a few milliseconds on any machine of the last ten years."""
_FIRST_FLOP_ON_DEVICE = 2e9
"""The same where a device computes, on the assumption that it is a hundred times as fast."""


class ShareCancelled(Exception):
    """Nobody wants this share any more; the worker has forgotten it and drops the exception."""


def cancelled_check() -> Callable[[], bool] | None:
    """A function that says whether the task on this thread was cancelled; None outside a worker."""
    key = getattr(thread_state, "key", None)
    if key is None:
        return None
    try:
        tasks = get_worker().state.tasks
    except ValueError:
        return None

    def cancelled() -> bool:
        ts = tasks.get(key)
        return ts is None or ts.state == "cancelled"

    return cancelled


def _tell(started: float) -> None:
    worker = get_worker()
    event = {"action": "slot-free", "key": str(thread_state.key), "ran": perf_counter() - started}
    worker.loop.add_callback(worker.log_event, "dask-coded", event)


def _first_rows(a: AnyArray, b: AnyArray) -> int:
    """Rows of the first slice of a product."""
    work = _FIRST_FLOP if isinstance(a, np.ndarray) else _FIRST_FLOP_ON_DEVICE
    return max(1, int(work / max(2.0 * a.shape[1] * (b.shape[1] if b.ndim == 2 else 1), 1.0)))


def _aligned(a: AnyArray) -> AnyArray:
    """A copy of what came from another worker, and so may begin anywhere in memory.

    NumPy would copy it too, element by element.
    """
    return np.require(a, requirements=["ALIGNED"]) if type(a) is np.ndarray else a


def _bytes_of_product(a: Any, b: Any) -> int:
    """What ``a @ b`` takes; 0 for anything but a matrix and a matrix or vector."""
    if getattr(a, "ndim", 0) != 2 or getattr(b, "ndim", 0) not in (1, 2):
        return 0
    if not all(hasattr(x, "dtype") and hasattr(x, "shape") for x in (a, b)):
        return 0
    return int(np.result_type(a.dtype, b.dtype).itemsize * a.shape[0] * math.prod(b.shape[1:]))


def sliced_matmul(
    a: AnyArray,
    b: AnyArray,
    multiply: Callable[[AnyArray, AnyArray], AnyArray] = operator.matmul,
) -> AnyArray:
    """``a @ b``, given up between two slices of rows if the task was cancelled.

    Parameters
    ----------
    a
        ``(m, k)``, or anything ``@`` accepts; only matrices of two dimensions are sliced.
    b
        ``(k, n)`` or ``(k,)``.
    multiply
        In another arithmetic than NumPy's: of a prime field.

    Returns
    -------
    product
        What ``a @ b`` is, to rounding.

    Raises
    ------
    ShareCancelled
        Only inside a worker, whose task has been cancelled meanwhile.

    Examples
    --------
    >>> import numpy as np
    >>> sliced_matmul(np.eye(2), np.array([3.0, 4.0]))
    array([3., 4.])
    """
    with where_they_lie((a, b), "a product", _bytes_of_product(a, b)):
        return _sliced_matmul(a, b, multiply)


def _sliced_matmul(
    a: AnyArray, b: AnyArray, multiply: Callable[[AnyArray, AnyArray], AnyArray]
) -> AnyArray:
    cancelled = cancelled_check()
    if cancelled is None or getattr(a, "ndim", 0) != 2 or getattr(b, "ndim", 0) not in (1, 2):
        return multiply(a, b)
    started = perf_counter()
    b = _aligned(b)
    rows = a.shape[0]
    step = _first_rows(a, b)
    if cancelled():
        _tell(started)
        raise ShareCancelled(str(thread_state.key))
    if step >= rows:
        return multiply(a, b)
    limit = slice_seconds()
    product = None
    row = 0
    while row < rows:
        before = perf_counter()
        part = multiply(_aligned(a[row : row + step]), b)
        if product is None:
            # The first part knows the type: of NumPy's promotion, and of the library.
            product = np.empty_like(part, shape=(rows, *part.shape[1:]))
        product[row : row + step] = part
        # A device computes when the call is over. To wait for it costs less than the slice, makes
        # the clock right, and leaves nothing queued that could not be taken back.
        settled(product)
        row += step
        if row < rows and cancelled():
            _tell(started)
            raise ShareCancelled(str(thread_state.key))
        speed = min(step, part.shape[0]) / max(perf_counter() - before, 1e-6)
        # Never more than twice as far at once: a slice that was lucky says little of the next.
        step = max(1, min(int(speed * limit), 2 * step))
    return product


def sliced_adjoint(a: AnyArray, b: AnyArray) -> AnyArray:
    """``a.T @ b.conj()``, given up between two slices of rows if the task was cancelled.

    Parameters
    ----------
    a
        ``(m, k)``.
    b
        ``(m', n)`` or ``(m',)``; rows that only one of the two has do not count.

    Returns
    -------
    product
        ``(k, n)`` or ``(k,)``.

    Raises
    ------
    ShareCancelled
        Only inside a worker, whose task has been cancelled meanwhile.

    Examples
    --------
    >>> import numpy as np
    >>> sliced_adjoint(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([1.0]))
    array([1., 2.])
    """
    with where_they_lie((a, b), "a product", _bytes_of_product(a.T, b)):
        return _sliced_adjoint(a, b)


def _sliced_adjoint(a: AnyArray, b: AnyArray) -> AnyArray:
    rows = min(len(a), len(b))
    a, b = a[:rows], _aligned(b[:rows])
    if b.dtype.kind == "c":
        b = b.conj()
    cancelled = cancelled_check()
    step = _first_rows(a, b)
    if cancelled is None or step >= rows:
        return a.T @ b
    started, limit = perf_counter(), slice_seconds()
    total, row = None, 0
    while row < rows:
        if cancelled():
            _tell(started)
            raise ShareCancelled(str(thread_state.key))
        before = perf_counter()
        part = _aligned(a[row : row + step]).T @ b[row : row + step]
        total = settled(part if total is None else total + part)
        speed = min(step, rows - row) / max(perf_counter() - before, 1e-6)
        row += step
        step = max(1, min(int(speed * limit), 2 * step))
    return total
