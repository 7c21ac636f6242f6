"""Running out of device memory: an error that says how much was asked, and memory given back."""

import sys
import traceback
from types import TracebackType
from typing import Any, Literal

from dask_coded.errors import DeviceMemoryError

__all__ = ["device_memory", "is_out_of_memory"]

#: What errors of the CUDA libraries say where they are no MemoryError.
_SAID = ("out of memory", "out_of_memory", "alloc_failed")


class device_memory:
    """Context in which running out of device memory is a :class:`DeviceMemoryError`.

    The error says how much was asked for and how much is free, and it keeps no array alive: what
    the calls inside had made is given back even while somebody holds the exception, as a notebook
    does. The function with the ``with`` statement is still running then: arrays that it makes
    itself belong into a function that it calls. Contexts may be nested; the innermost names what
    failed. Memory of the host is none of its business, and neither is work where CuPy was never
    imported.

    Parameters
    ----------
    what
        What needs the memory, for the message.
    n_bytes
        How much it needs besides what it is given.

    Examples
    --------
    >>> with device_memory("the mask", 100) as demand:
    ...     demand.add(28)
    >>> demand.n_bytes
    128
    """

    def __init__(self, what: str, n_bytes: int = 0) -> None:
        self._what, self.n_bytes = what, n_bytes
        self._handled: BaseException | None = None

    def add(self, n_bytes: int) -> None:
        """Count memory whose need shows only on the way."""
        self.n_bytes += n_bytes

    def __enter__(self) -> "device_memory":
        self._handled = sys.exception()
        return self

    def __exit__(
        self,
        _: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        handled, self._handled = self._handled, None
        if error is None or not is_out_of_memory(error):
            return False
        free = _free(sys.modules.get("cupy"))
        if free is None:
            return False
        _forget(error, handled)
        if isinstance(error, DeviceMemoryError):
            return False
        raise DeviceMemoryError(
            f"{self._what} needs {_mib(self.n_bytes)} of device memory besides its blocks; {free} "
            f"({error}). Combine smaller chunks, or free arrays first; the pool is as usable as "
            "before"
        ) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device has too little memory, whichever library raised it."""
    if isinstance(error, MemoryError):
        return not type(error).__module__.startswith("numpy")
    return isinstance(error, RuntimeError) and any(said in str(error).lower() for said in _SAID)


def _free(module: Any) -> str | None:
    """What is free, in words; None where there is no device to ask."""
    try:
        free, total = module.cuda.runtime.memGetInfo()
        pooled = module.get_default_memory_pool().free_bytes()
    except Exception:
        return None
    return f"{_mib(free)} of {_mib(total)} are free, and {_mib(pooled)} more in CuPy's pool"


def _forget(error: BaseException, handled: BaseException | None) -> None:
    """Empty the frames that are done, of an error and of those that it was raised from.

    `handled` was being handled before, and is somebody else's.
    """
    seen = {id(handled)}
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        if one is not error or not isinstance(one, DeviceMemoryError):
            one.__traceback__ = None
        pending += [one.__context__, one.__cause__]


def _mib(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.1f} MiB"
