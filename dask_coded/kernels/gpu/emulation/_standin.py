"""A stand-in for the module ``cupy``: arrays of host memory, kernels run by emulation.

It has what the backend and its benchmark use and no more, and it refuses what CuPy refuses:
conversion to NumPy that nobody asked for, NumPy values put into arrays, more memory than there is.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from dask_coded.kernels.gpu.emulation._arrays import Device, DeviceArray, StandIn, plain
from dask_coded.kernels.gpu.emulation._host import Job, load_emulated

__all__ = ["StandIn", "emulated_cupy"]

#: Kernels whose threads wait for each other, so that each needs a thread of the CPU.
_WAITING = ("candidates", "top_k")
#: CUDA threads of a block of these; they stride over what is left.
_FEW_THREADS = 64
_SHARED_FUNCTIONS = (
    "arange",
    "argpartition",
    "argsort",
    "cumsum",
    "matmul",
    "partition",
    "searchsorted",
    "stack",
    "take_along_axis",
)


@contextmanager
def emulated_cupy(*, limit: int = 1 << 30, n_devices: int = 1) -> Iterator[Any]:
    """Let ``import cupy`` find a stand-in while the context lasts.

    Parameters
    ----------
    limit
        Bytes of device memory.
    n_devices
        Devices; none at all for 0.

    Yields
    ------
    module
        The stand-in. Its attribute ``standin`` is a :class:`StandIn`.

    Examples
    --------
    >>> import numpy as np
    >>> with emulated_cupy() as cupy:
    ...     array = cupy.asarray(np.arange(3.0))
    >>> array.get()
    array([0., 1., 2.])
    """
    before = sys.modules.get("cupy")
    module = sys.modules["cupy"] = _module(StandIn(limit, n_devices))
    try:
        yield module
    finally:
        if before is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = before


class _Kernel:
    def __init__(self, standin: StandIn, code: str, name: str) -> None:
        self._standin, self._code, self._name = standin, code, name
        self._run = load_emulated(code, name)

    def __call__(self, grid: Any, block: Any, args: Any) -> None:
        (arguments,) = args
        waiting = self._name in _WAITING
        threads = min(block[0], _FEW_THREADS) if waiting else block[0]
        self._standin.record(
            self._name,
            self._code,
            Job(grid[0], threads, waiting, arguments.copy(), []),
            lambda: self._run(grid[0], threads, waiting, arguments.ctypes.data),
        )


class _Event:
    def record(self) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        """Everything has run when the call that asked for it returns."""


def _module(standin: StandIn) -> Any:
    kind: Any = type("ndarray", (DeviceArray,), {"__module__": "cupy", "standin": standin})
    module: Any = ModuleType("cupy")

    def filled(shape: Any, value: Any, dtype: Any = None) -> Any:
        array = kind(shape, np.asarray(value).dtype if dtype is None else dtype)
        array[...] = value
        return array

    def asarray(values: Any, dtype: Any = None) -> Any:
        if isinstance(values, DeviceArray):
            return values if dtype is None else values.astype(dtype, copy=False)
        return kind.placed(np.asarray(values, dtype))

    def ascontiguousarray(array: Any) -> Any:
        if array.flags.c_contiguous:
            return array
        made = kind(array.shape, array.dtype)
        made[...] = array
        return made

    def shared(function: Any) -> Any:
        def apply(*args: Any, **kwargs: Any) -> Any:
            return kind.placed(np.asarray(function(*plain(args), **kwargs)))

        return apply

    module.__version__ = "0 (stand-in)"
    module.standin = standin
    module.ndarray = kind
    # Garbage, as from a device: its memory is never zero.
    module.empty = lambda shape, dtype=float, order="C": kind(shape, dtype, order=order)
    module.zeros = lambda shape, dtype=float: filled(shape, 0, dtype)
    module.full = filled
    module.asarray = module.array = asarray
    module.ascontiguousarray = ascontiguousarray
    for name in _SHARED_FUNCTIONS:
        setattr(module, name, shared(getattr(np, name)))
    module.RawModule = lambda *, code, options: SimpleNamespace(
        compile=lambda: None, get_function=lambda name: _Kernel(standin, code, name)
    )
    module.get_default_memory_pool = lambda: SimpleNamespace(
        free_bytes=lambda: 0, used_bytes=lambda: standin.used, free_all_blocks=lambda: None
    )
    module.cuda = SimpleNamespace(
        Device=lambda number=None: Device(
            standin, standin.devices[-1] if number is None else number
        ),
        Event=_Event,
        get_current_stream=lambda: SimpleNamespace(synchronize=lambda: None),
        get_elapsed_time=lambda start, stop: 1e3 * (stop.time - start.time),
        is_available=lambda: standin.n_devices > 0,
        nvrtc=SimpleNamespace(getVersion=lambda: (12, 9)),
        runtime=SimpleNamespace(
            deviceSynchronize=lambda: None,
            driverGetVersion=lambda: 12090,
            getDeviceCount=lambda: standin.n_devices,
            getDeviceProperties=lambda number: {"name": b"CPU emulation"},
            memGetInfo=lambda: (standin.limit - standin.used, standin.limit),
        ),
    )
    return module
