"""Arrays that stand in for CuPy's: host memory that nobody gets at without saying so.

They keep to what CuPy does and refuse what it refuses: conversion to NumPy that nobody asked for,
NumPy arrays among operands, functions and arguments that CuPy does not know. As on a device, work
is only queued when a call returns; whoever asks for a value, or synchronises, waits for it.

Importing the module registers the type with Dask and with the kernels, as CuPy's is; a process
that shall hold such arrays has to be able to import it.
"""

import functools
import operator
import threading
from typing import Any

import dask.array as da
import numpy as np
from dask.array.backends import einsum_lookup
from dask.array.dispatch import (
    concatenate_lookup,
    empty_lookup,
    numel_lookup,
    take_lookup,
    tensordot_lookup,
)
from dask.sizeof import sizeof

from dask_coded.kernels import Backend, register_backend, register_synchronizer
from dask_coded.kernels._numpy import combine_numpy
from dask_coded.kernels.gpu._device import shared_device

__all__ = ["Device", "DeviceArray", "asarray", "asnumpy", "counts", "synchronize"]


class Counts:
    """What the device was told to do in this process, and what it has done."""

    def __init__(self) -> None:
        self.queued = self.done = self.waits = self.refused = 0
        self.fetched = 0
        """How often the host was given values."""
        self.absent = False
        """Whether this process has no device."""


counts = Counts()


class Device:
    """A device, or the current one of this thread; a context in which it is that."""

    _current = threading.local()

    def __init__(self, number: int | None = None) -> None:
        self.id = getattr(self._current, "id", 0) if number is None else number
        self._before: list[int] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __enter__(self) -> "Device":
        self._before.append(Device().id)
        self._current.id = self.id
        return self

    def __exit__(self, *_: object) -> None:
        self._current.id = self._before.pop()


#: Functions of NumPy that CuPy has, and the arguments by name that its own take.
FUNCTIONS = {
    "broadcast_to": {"shape"},
    "concatenate": {"axis"},
    "dot": set(),
    "einsum": {"dtype"},
    "empty": {"shape", "dtype", "order"},
    "empty_like": {"dtype", "order", "shape"},
    "expand_dims": {"axis"},
    "full_like": {"dtype", "order", "shape"},
    "moveaxis": {"source", "destination"},
    "pad": {"mode"},
    "reshape": {"order"},
    "squeeze": {"axis"},
    "stack": {"axis"},
    "sum": {"axis", "dtype", "out", "keepdims"},
    "swapaxes": set(),
    "take": {"axis"},
    "tensordot": {"axes"},
    "transpose": {"axes"},
    "zeros": {"shape", "dtype", "order"},
    "zeros_like": {"dtype", "order", "shape"},
}
#: Functions that ask for no element.
ABOUT = {"ndim", "result_type", "shape", "size"}


class DeviceArray:
    """``cupy.ndarray``, as far as products and their codes need one."""

    __array_priority__ = 100
    __module__ = "device_arrays"

    def __init__(self, host: Any) -> None:
        if counts.absent:
            counts.refused += 1
            raise RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
        self._memory = np.asarray(host)
        self.device = Device()
        counts.queued += 1
        self._ticket = counts.queued

    shape = property(lambda self: self._memory.shape)
    dtype = property(lambda self: self._memory.dtype)
    ndim = property(lambda self: self._memory.ndim)
    size = property(lambda self: self._memory.size)
    nbytes = property(lambda self: self._memory.nbytes)
    strides = property(lambda self: self._memory.strides)
    flags = property(lambda self: self._memory.flags)
    itemsize = property(lambda self: self._memory.itemsize)
    T = property(lambda self: self._same_ticket(self._memory.T))
    real = property(lambda self: DeviceArray(self._host.real))
    imag = property(lambda self: DeviceArray(self._host.imag))

    @property
    def _host(self) -> Any:
        """What a call reads: of the current device only."""
        if self.device != Device():
            raise ValueError(
                "Array device must be same as the current device: array device = "
                f"{self.device.id} while current = {Device().id}"
            )
        return self._memory

    @property
    def ready(self) -> bool:
        """Whether somebody has waited for it since it was queued."""
        return counts.done >= self._ticket

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. Please use `.get()` to "
            "construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or not kwargs.keys() <= {"out", "dtype", "casting"}:
            return NotImplemented
        if (out := kwargs.pop("out", None)) is not None:
            kwargs["out"] = tuple(_host(array) for array in out)
        made = ufunc(*map(_host, inputs), **kwargs)
        if out is not None:
            counts.queued += 1
            for array in out:
                array._ticket = counts.queued
            return out[0]
        return DeviceArray(made)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if not all(issubclass(kind, DeviceArray | np.ndarray) for kind in types):
            return NotImplemented
        if func.__name__ in ABOUT:
            return func(*map(_bare, args))
        known = FUNCTIONS.get(func.__name__)
        if known is None or getattr(np, func.__name__, None) is not func:
            return NotImplemented
        if unknown := kwargs.keys() - known:
            raise TypeError(f"{func.__name__}() got an unexpected argument {min(unknown)!r}")
        return DeviceArray(func(*_host(args), **{k: _host(v) for k, v in kwargs.items()}))

    # Values, each of which waits for the device

    def get(self) -> Any:
        synchronize()
        counts.fetched += 1
        return self._memory.copy()

    def item(self) -> Any:
        return self.get().item()

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __complex__(self) -> complex:
        return complex(self.get())

    def __repr__(self) -> str:
        return repr(self.get())

    def __len__(self) -> int:
        return len(self._memory)

    def __iter__(self) -> Any:
        return (self[index] for index in range(len(self)))

    def __reduce__(self) -> Any:
        return asarray, (self.get(),)

    # Elements and views

    def __getitem__(self, index: Any) -> Any:
        return self._same_ticket(self._memory[_host(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._host[_host(index)] = _host(value)
        counts.queued += 1
        self._ticket = counts.queued

    def _same_ticket(self, host: Any) -> Any:
        if not np.may_share_memory(host, self._memory):
            # No view: a copy, which is made on the current device.
            assert self._host is not None
            return DeviceArray(host)
        with self.device:
            made = DeviceArray(host)
        made._ticket = self._ticket
        return made

    def astype(self, dtype: Any, order: str = "K", copy: bool = True) -> Any:
        if not copy and self.dtype == np.dtype(dtype):
            return self
        return DeviceArray(self._host.astype(dtype, order=order))

    def view(self, dtype: Any = None) -> Any:
        return self._same_ticket(self._memory.view() if dtype is None else self._memory.view(dtype))

    def reshape(self, *shape: Any) -> Any:
        return self._same_ticket(self._memory.reshape(*shape))

    def transpose(self, *axes: Any) -> Any:
        return self._same_ticket(self._memory.transpose(*axes))

    def squeeze(self, axis: Any = None) -> Any:
        return self._same_ticket(self._memory.squeeze(axis))

    def ravel(self, order: str = "C") -> Any:
        return self._same_ticket(self._memory.ravel(order))

    def copy(self, order: str = "C") -> Any:
        # From any device to the current one.
        return DeviceArray(self._memory.copy(order))

    def conj(self) -> Any:
        return DeviceArray(self._host.conj())

    conjugate = conj

    def dot(self, other: "DeviceArray") -> Any:
        return DeviceArray(self._host.dot(_host(other)))

    def sum(
        self, axis: Any = None, dtype: Any = None, out: None = None, keepdims: Any = False
    ) -> Any:
        return DeviceArray(self._host.sum(axis=axis, dtype=dtype, keepdims=keepdims))

    def max(self, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
        return DeviceArray(self._host.max(axis=axis, keepdims=keepdims))

    def min(self, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
        return DeviceArray(self._host.min(axis=axis, keepdims=keepdims))

    def all(self, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
        return DeviceArray(self._host.all(axis=axis, keepdims=keepdims))

    def any(self, axis: Any = None, out: None = None, keepdims: bool = False) -> Any:
        return DeviceArray(self._host.any(axis=axis, keepdims=keepdims))


def _operation(function: Any, swapped: bool) -> Any:
    @functools.wraps(function)
    def method(self: DeviceArray, other: Any) -> Any:
        if not isinstance(other, DeviceArray | np.ndarray | np.generic | int | float | complex):
            return NotImplemented
        x, y = (other, self) if swapped else (self, other)
        return DeviceArray(function(_host(x), _host(y)))

    return method


for _name in ("add", "sub", "mul", "truediv", "matmul", "floordiv", "mod", "pow"):
    _function = getattr(operator, _name)
    setattr(DeviceArray, f"__{_name}__", _operation(_function, swapped=False))
    setattr(DeviceArray, f"__r{_name}__", _operation(_function, swapped=True))
for _name in ("lt", "le", "gt", "ge", "eq", "ne", "and_", "or_", "xor"):
    _plain = _name.rstrip("_")
    setattr(DeviceArray, f"__{_plain}__", _operation(getattr(operator, _name), swapped=False))
for _name in ("neg", "abs", "invert"):
    _function = getattr(operator, _name)
    setattr(DeviceArray, f"__{_name}__", lambda self, f=_function: DeviceArray(f(self._host)))


def _bare(value: Any) -> Any:
    return value._host if isinstance(value, DeviceArray) else value


def _host(value: Any) -> Any:
    """The memory of device arrays, in tuples and lists too; NumPy's arrays are refused."""
    if isinstance(value, tuple | list):
        return type(value)(map(_host, value))
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    return _bare(value)


def asarray(values: Any, dtype: Any = None) -> DeviceArray:
    """An array on the device, sent there on purpose."""
    if isinstance(values, DeviceArray):
        return values if dtype is None else values.astype(dtype, copy=False)
    return DeviceArray(np.array(values, dtype))


def asnumpy(values: Any) -> Any:
    """The values on the host, fetched on purpose."""
    return values.get() if isinstance(values, DeviceArray) else values


def synchronize() -> None:
    """Wait for all that was queued."""
    counts.done = counts.queued
    counts.waits += 1


def combine(weights: Any, blocks: Any, *, field: Any, out: Any) -> list[Any]:
    """The backend: computed by NumPy, where a device would."""
    with shared_device([(f"block {n}", block) for n, block in enumerate(blocks)]):
        return _combined(weights, blocks, field, out)


def _combined(weights: Any, blocks: Any, field: Any, out: Any) -> list[Any]:
    hosts = [block._host for block in blocks]
    if out is None:
        return list(map(DeviceArray, combine_numpy(weights, hosts, field=field, out=None)))
    combine_numpy(weights, hosts, field=field, out=[array._host for array in out])
    counts.queued += 1
    for array in out:
        array._ticket = counts.queued
    return list(out)


_combine: Backend = combine
register_backend(DeviceArray.__module__, _combine)
register_synchronizer(DeviceArray.__module__, lambda array: synchronize())
da.register_chunk_type(DeviceArray)
concatenate_lookup.register(DeviceArray, np.concatenate)
take_lookup.register(DeviceArray, np.take)
tensordot_lookup.register(DeviceArray, np.tensordot)
numel_lookup.register(DeviceArray, lambda x, **kwargs: x.size)
empty_lookup.register(
    DeviceArray, lambda shape, dtype=float, order="C": asarray(np.empty(shape, dtype))
)


@einsum_lookup.register(DeviceArray)
def _einsum(*args: Any, casting: Any = None, order: Any = None, **kwargs: Any) -> Any:
    return np.einsum(*args, **kwargs)


@sizeof.register(DeviceArray)
def _sizeof(array: DeviceArray) -> int:
    return int(array.nbytes)
