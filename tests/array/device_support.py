"""What tests of chunks on a device share: the array libraries, and products with losses."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import dask.array as da
import numpy as np

from dask_coded.graph import combination, spec_of


class Library(NamedTuple):
    """An array library of a device."""

    name: str
    kind: type
    asarray: Callable[[Any], Any]
    asnumpy: Callable[[Any], Any]


def library(name: str) -> Library:
    module = importlib.import_module(name)
    kind = getattr(module, "DeviceArray", None) or module.ndarray
    return Library(name, kind, module.asarray, module.asnumpy)


DTYPES = ["float32", "float64", "complex64", "complex128", "int32", "uint8"]
RNG = np.random.default_rng(1)


def values(shape: tuple[int, ...], dtype: str) -> Any:
    kind = np.dtype(dtype).kind
    if kind in "iu":
        return RNG.integers(0, 9, shape).astype(dtype)
    made = RNG.standard_normal(shape)
    return (made + 1j * RNG.standard_normal(shape) if kind == "c" else made).astype(dtype)


def sent(device: Library, host: Any, chunks: Any) -> da.Array:
    return da.from_array(device.asarray(host), chunks=chunks)


def check(device: Library, lazy: da.Array, expected: Any, scale: float = 1.0) -> Any:
    """Type and dtype of meta and value, and the value."""
    assert type(lazy._meta) is device.kind
    assert lazy.dtype == lazy._meta.dtype == expected.dtype
    assert lazy._meta.ndim == lazy.ndim == expected.ndim
    value = lazy.compute()
    assert type(value) is device.kind
    assert value.dtype == expected.dtype
    assert lazy.shape == value.shape == expected.shape
    close(device.asnumpy(value), expected, scale)
    return value


def close(value: Any, expected: Any, scale: float = 1.0) -> None:
    if expected.dtype.kind in "iu":
        np.testing.assert_array_equal(value, expected)
        return
    size = float(np.abs(expected).max(initial=1.0))
    eps = float(np.finfo(expected.dtype).eps)
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e3 * scale * eps * size)


def lossy(array: da.Array, lost: set[int]) -> da.Array:
    """The same array, its outputs decoded without the results of some shares."""
    graph = dict(array.__dask_graph__())
    specs = {spec.group: spec for spec in map(spec_of, graph.values()) if spec is not None}
    assert specs
    for spec in specs.values():
        survivors = [share for share in range(spec.code.n_shares) if share not in lost]
        names: dict[Any, Any] = {}
        for share, key in enumerate(spec.share_keys):
            if key in spec.output_keys:
                names[key] = ("kept", spec.group, share)
                graph[names[key]] = graph[key].plain(names[key])
        keys = [names.get(key, key) for key in spec.share_keys]
        for key in spec.output_keys:
            if key in graph:
                graph[key] = combination(spec, key, survivors, keys)
    return da.Array(graph, array.name, array.chunks, meta=array._meta)
