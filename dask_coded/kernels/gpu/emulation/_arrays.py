"""Arrays of a stand-in for CuPy: host memory behind the wall that a device has around it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np

from dask_coded.kernels.gpu.emulation._host import Job

__all__ = ["Device", "DeviceArray", "Recorded", "StandIn", "plain"]

_ALIGNMENT = 512


class OutOfMemoryError(MemoryError):
    """What the stand-in's pool raises, as CuPy's does."""


class Device:
    def __init__(self, standin: "StandIn", number: int) -> None:
        self._standin, self.id = standin, number
        self.compute_capability = "90"
        self.attributes = {"MultiProcessorCount": 2}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __enter__(self) -> "Device":
        self._standin.devices.append(self.id)
        return self

    def __exit__(self, *_: object) -> None:
        self._standin.devices.pop()

    def synchronize(self) -> None:
        """Everything has run when the call that asked for it returns."""


class StandIn:
    """What the module knows of itself: its memory, its devices, its launches."""

    def __init__(self, limit: int, n_devices: int) -> None:
        self.limit, self.used, self.n_devices = limit, 0, n_devices
        self.devices = [0]
        """Current device, last."""
        self.launches: list[tuple[str, str]] = []
        """Kernel and source of each launch."""
        self.recorded: list[Recorded] | None = None
        """Launches to be repeated under a sanitizer; a list to start recording."""
        self._live: WeakSet[Memory] = WeakSet()

    def memory(self, n_bytes: int) -> "Memory":
        """Aligned bytes, which count until they are gone."""
        if self.used + n_bytes > self.limit:
            raise OutOfMemoryError(
                f"Out of memory allocating {n_bytes:,} bytes (allocated so far: {self.used:,} "
                "bytes)."
            )
        memory = Memory(self, n_bytes)
        self._live.add(memory)
        return memory

    def record(self, kernel: str, source: str, job: Job, run: Callable[[], None]) -> None:
        """Run a launch, and keep it with all memory before and after if that is asked for."""
        self.launches.append((kernel, source))
        if self.recorded is None:
            run()
            return
        live = sorted(self._live, key=lambda memory: memory.start)
        job.buffers = [memory.bytes.copy() for memory in live]
        for where, data in enumerate([job.arguments.view(np.uint8), *job.buffers]):
            words = data[: data.size // 8 * 8].view(np.uint64)
            for number, memory in enumerate(live):
                inside = (words >= memory.start) & (words < memory.start + memory.bytes.size)
                job.pointers += [
                    (where, 8 * int(at), number, int(words[at]) - memory.start)
                    for at in np.flatnonzero(inside)
                ]
        run()
        after = [memory.bytes.copy() for memory in live]
        self.recorded.append(Recorded(kernel, source, job, after))


class Recorded(NamedTuple):
    """One launch, to be repeated."""

    kernel: str
    source: str
    job: Job
    after: list[Any]
    """Bytes of all buffers when it was done."""


class Memory:
    """One allocation, filled with bytes that are no plausible result."""

    def __init__(self, standin: StandIn, n_bytes: int) -> None:
        raw = np.full(n_bytes + _ALIGNMENT, 0xCD, np.uint8)
        start = -raw.ctypes.data % _ALIGNMENT
        self.bytes = raw[start : start + n_bytes]
        self.start = self.bytes.ctypes.data
        self.device = standin.devices[-1]
        self._standin, self._counted = standin, n_bytes
        standin.used += n_bytes

    def __del__(self) -> None:
        self._standin.used -= self._counted


class DeviceArray:
    """``cupy.ndarray`` as far as it is needed; host memory behind a wall."""

    standin: StandIn
    """Set in the subclass that each stand-in makes."""

    def __init__(
        self, shape: Any, dtype: Any = float, memptr: Any = None, order: str = "C"
    ) -> None:
        shape = tuple(shape) if isinstance(shape, tuple | list) else (int(shape),)
        n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if memptr is None:
            memptr = SimpleNamespace(mem=self.standin.memory(max(n_bytes, 1)), ptr=None)
        start = 0 if memptr.ptr is None else memptr.ptr - memptr.mem.start
        layout: Any = {"buffer": memptr.mem.bytes.data, "offset": start, "order": order}
        self._host: Any = np.ndarray(shape, dtype, **layout)
        self._memory = memptr.mem

    @classmethod
    def placed(cls, host: Any) -> Any:
        """The values of a host array in new memory, in its layout as far as that is dense."""
        made = cls(host.size, host.dtype)
        strides = np.empty_like(host, subok=False).strides
        made._host = np.lib.stride_tricks.as_strided(made._host, host.shape, strides)
        made._host[...] = host
        return made

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    size = property(lambda self: self._host.size)
    ndim = property(lambda self: self._host.ndim)
    nbytes = property(lambda self: self._host.nbytes)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: self._host.flags)
    device = property(lambda self: Device(self.standin, self._memory.device))

    @property
    def data(self) -> Any:
        """Pointer to the first element, which keeps the memory alive."""
        return SimpleNamespace(ptr=self._host.__array_interface__["data"][0], mem=self._memory)

    def __array__(self, *_: object, **__: object) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to "
            "construct a NumPy array explicitly."
        )

    def __array_function__(self, function: Any, _: Any, args: Any, kwargs: Any) -> Any:
        if function is not np.empty_like or kwargs.get("subok") is not None:
            raise TypeError(f"the stand-in for CuPy does not do {function.__name__}{kwargs}")
        like = np.empty_like(args[0]._host, **kwargs)
        return self.placed(like)

    def _view(self, host: Any) -> Any:
        made = object.__new__(type(self))
        made._host, made._memory = host, self._memory
        return made

    def get(self) -> Any:
        return self._host.copy(order="K")

    def item(self) -> Any:
        return self._host.item()

    def __int__(self) -> int:
        return int(self._host)

    def __float__(self) -> float:
        return float(self._host)

    def __bool__(self) -> bool:
        return bool(self._host)

    def __len__(self) -> int:
        return len(self._host)

    def __getitem__(self, index: Any) -> Any:
        found = self._host[plain(index)]
        if isinstance(found, np.ndarray) and np.may_share_memory(found, self._host):
            return self._view(found)
        return self.placed(np.asarray(found))

    def __setitem__(self, index: Any, value: Any) -> None:
        self._near()
        if isinstance(value, np.ndarray) and value.ndim:
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        with np.errstate(all="ignore"):
            self._host[plain(index)] = plain(value)

    def reshape(self, *shape: Any) -> Any:
        found = self._host.reshape(*shape)
        return self._view(found) if np.may_share_memory(found, self._host) else self.placed(found)

    def transpose(self, *axes: Any) -> Any:
        return self._view(self._host.transpose(*axes))

    T = property(transpose)
    real = property(lambda self: self._view(self._host.real))
    imag = property(lambda self: self._view(self._host.imag))

    def view(self, dtype: Any) -> Any:
        return self._view(self._host.view(dtype))

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        if not copy and self.dtype == dtype:
            return self
        self._near()
        with np.errstate(all="ignore"):
            return self.placed(self._host.astype(dtype))

    def _near(self) -> None:
        """Raise as CuPy does for work on a device that is not the current one."""
        if self._memory.device != self.standin.devices[-1]:
            raise ValueError(
                f"Array device must be same as the current device: array device = "
                f"{self._memory.device} while current = {self.standin.devices[-1]}"
            )

    def __lt__(self, other: Any) -> Any:
        self._near()
        return self.placed(np.asarray(self._host < plain(other)))

    def __sub__(self, other: Any) -> Any:
        self._near()
        return self.placed(np.asarray(self._host - plain(other)))

    def any(self) -> Any:
        self._near()
        return self.placed(np.asarray(self._host.any()))

    def min(self) -> Any:
        self._near()
        return self.placed(np.asarray(self._host.min()))

    def max(self) -> Any:
        self._near()
        return self.placed(np.asarray(self._host.max()))


def plain(value: Any) -> Any:
    """Device arrays taken from behind their wall, in tuples and lists too."""
    if isinstance(value, tuple | list):
        return type(value)(plain(part) for part in value)
    return value._host if isinstance(value, DeviceArray) else value
