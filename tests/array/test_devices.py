"""Chunks on a device go through every verb, and nothing is fetched to the host unasked.

The ordinary run computes with a stand-in that raises where CuPy does (``device_arrays.py``); with a
GPU the same tests run over CuPy.
"""

import importlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import dask
import dask.array as da
import device_arrays
import numpy as np
import pytest

from dask_coded.array import (
    coded_matmul,
    coded_matmul_batch,
    encode,
    explain,
    optimize,
    plan_matmul,
    plan_matmul_batch,
)
from dask_coded.codes import MDS, FlexibleCSA, Polynomial
from dask_coded.errors import UnsupportedDtypeError, UnsupportedOperationError
from dask_coded.fields import COMPLEX, PAIRED, REAL
from dask_coded.graph import combination, combine_results, mixed, spec_of
from dask_coded.kernels import settled


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


@pytest.fixture(params=["device_arrays", pytest.param("cupy", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> Iterator[Library]:
    with dask.config.set(scheduler="sync"):
        yield library(request.param)


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


# The stand-in itself


def test_the_stand_in_refuses_what_cupy_refuses() -> None:
    array = device_arrays.asarray(np.ones((2, 2)))
    for deed in (
        lambda: np.asarray(array),
        lambda: np.linalg.norm(array),
        lambda: np.add(array, np.ones((2, 2))),
        lambda: np.concatenate([array, np.ones((2, 2))]),
        lambda: np.ones((2, 2)) @ array,
        lambda: array @ np.ones((2, 2)),
        lambda: array.max(initial=0.0),
        lambda: np.hypot.reduce([array, array]),
        lambda: array.__setitem__(0, np.ones(2)),
    ):
        with pytest.raises(TypeError):
            deed()


def test_the_stand_in_works_behind_the_back_of_its_caller() -> None:
    array = device_arrays.asarray(np.ones(2)) + 1
    assert not array.ready
    assert settled(array).ready


# One product


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_stay_on_the_device(device: Library, dtype: str) -> None:
    a, b = values((9, 8), dtype), values((8, 7), dtype)
    lazy = coded_matmul(sent(device, a, (2, 3)), sent(device, b, (3, 4)), parity=1)
    wide = np.zeros(1, a.dtype).sum().dtype if a.dtype.kind in "iu" else a.dtype
    check(device, lazy, a.astype(wide) @ b.astype(wide))


@pytest.mark.parametrize("field", [REAL, PAIRED, COMPLEX], ids=lambda field: field.name)
@pytest.mark.parametrize("single", [True, False])
def test_lost_chunks_are_decoded_on_the_device(device: Library, field: Any, single: bool) -> None:
    dtype = ("complex" if field == COMPLEX else "float") + str(
        (32 if single else 64) * (1 + (field == COMPLEX))
    )
    a, b = values((11, 8), dtype), values((8, 7), dtype)
    code = MDS(6, k=4, field=field)
    lazy = coded_matmul(sent(device, a, (3, 3)), sent(device, b, (3, 4)), code=code)
    for lost in itertools.combinations(range(6), 2):
        check(device, lossy(lazy, set(lost)), a @ b, scale=10)


def test_whole_numbers_are_decoded_exactly(device: Library) -> None:
    a, b = values((9, 8), "int32"), values((8, 7), "int32")
    code = MDS(4, k=3, parity="ones")
    lazy = coded_matmul(sent(device, a, (3, 8)), sent(device, b, (8, 7)), code=code)
    for lost in range(4):
        check(device, lossy(lazy, {lost}), a @ b)


def test_codes_of_both_operands(device: Library) -> None:
    a, b = values((10, 8), "float64"), values((8, 9), "float64")
    code = Polynomial(7, m=2, n=2)
    lazy = coded_matmul(sent(device, a, (5, 4)), sent(device, b, (4, 5)), code=code)
    check(device, lossy(lazy, {0, 4, 6}), a @ b, scale=100)


def test_stacks_vectors_and_void_tiles(device: Library) -> None:
    a, b = values((3, 5, 4), "float64"), values((4, 6), "float64")
    stack = sent(device, a, (1, 2, 4))
    check(device, coded_matmul(stack, sent(device, b, (4, 6)), parity=2), a @ b)
    vector = values((4,), "float64")
    check(device, coded_matmul(stack, sent(device, vector, 4), parity=1), a @ vector)
    # Five chunk rows in stripes of four: the second stripe has one tile, and void shares.
    tall = values((10, 4), "float64")
    lazy = coded_matmul(sent(device, tall, (2, 4)), sent(device, b, (4, 6)), code=MDS(6, k=4))
    for lost in range(6):
        check(device, lossy(lazy, {lost}), tall @ b, scale=10)


def test_operands_in_memory(device: Library) -> None:
    a, b = values((6, 4), "float64"), values((4, 5), "float64")
    check(device, coded_matmul(device.asarray(a), device.asarray(b), parity=1), a @ b)


def test_host_and_device_do_not_mix(device: Library) -> None:
    a, b = values((6, 4), "float64"), values((4, 5), "float64")
    there, here = sent(device, a, (2, 4)), da.from_array(b, chunks=4)
    with pytest.raises(UnsupportedOperationError, match="ndarray"):
        coded_matmul(there, here, code=MDS(4, k=3))
    assert plan_matmul(there, here, parity=1).code is None
    encoded = encode(there, parity=1)
    with pytest.raises(UnsupportedOperationError, match=f"{device.name}.asarray"):
        encoded @ b
    with pytest.raises(UnsupportedOperationError, match="map_blocks"):
        encoded @ here


def test_arrays_of_an_unknown_kind_are_refused() -> None:
    masked = da.ma.masked_equal(da.ones((6, 4), chunks=(2, 4)), 5)
    with pytest.raises(UnsupportedDtypeError, match="MaskedArray"):
        encode(masked, parity=1)
    assert plan_matmul(masked, masked.T, parity=1).code is None


# The optimisation


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_are_rewritten_where_they_stand(device: Library, dtype: str) -> None:
    a, b = values((9, 8), dtype), values((8, 7), dtype)
    x, y = sent(device, a, (2, 3)), sent(device, b, (3, 4))
    for product in (x @ y, da.dot(x, y), da.tensordot(x, y, axes=1)):
        assert explain(product, parity=1).rewritten
        with optimize(parity=1):
            check(
                device,
                product,
                dask.compute(da.from_array(a, (2, 3)) @ da.from_array(b, (3, 4)))[0],
            )


def test_rewritten_products_decode_on_the_device(device: Library) -> None:
    a, b = values((9, 8), "float64"), values((8, 7), "float64")
    product = sent(device, a, (2, 3)) @ sent(device, b, (3, 4))
    with optimize(parity=2):
        (optimized,) = dask.optimize(product)
    for lost in itertools.combinations(range(4), 2):
        check(device, lossy(optimized, set(lost)), a @ b, scale=10)


# Encoded matrices


@pytest.mark.parametrize("parity", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_encoded_matrices_live_on_the_device(device: Library, dtype: str, parity: int) -> None:
    a, x, y = values((23, 6), dtype), values((6, 3), dtype), values((23, 2), dtype)
    encoded = encode(sent(device, a, (4, 3)), parity=parity, adjoint=True).persist()
    assert all(
        type(tile) is device.kind for tile in encoded.rows.graph.values() if hasattr(tile, "dtype")
    )
    check(device, encoded @ device.asarray(x), a @ x)
    check(device, encoded @ sent(device, x, (3, 2)), a @ x)
    check(device, encoded @ device.asarray(x[:, 0]), a @ x[:, 0])
    check(device, encoded.H @ device.asarray(y), a.conj().T @ y)
    check(device, encoded.H @ (encoded @ device.asarray(x)), a.conj().T @ (a @ x), scale=30)
    check(device, encoded.decode(), a)
    check(device, encoded.H.decode(), a.conj().T)
    assert type(encoded.compute()) is device.kind
    for lost in itertools.combinations(range(10), parity):
        check(device, lossy(encoded @ device.asarray(x), set(lost)), a @ x, scale=10)


def test_wide_matrices_are_encoded_by_columns(device: Library) -> None:
    a, x, y = values((5, 21), "float64"), values((21,), "float64"), values((5,), "float64")
    encoded = encode(sent(device, a, (5, 7)), parity=2, adjoint=True)
    check(device, encoded @ device.asarray(x), a @ x)
    check(device, encoded.T @ device.asarray(y), a.T @ y)


# Batches


def test_batches_stay_on_the_device(device: Library) -> None:
    hosts = [values((6, 4), "float64"), values((4, 6), "float64"), values((4, 6), "float64")]
    a, b, c = (sent(device, host, 3) for host in hosts)
    ab, ac = coded_matmul_batch([(a, b), (a, c)], parity=1)
    check(device, ab, hosts[0] @ hosts[1])
    check(device, ac, hosts[0] @ hosts[2])
    assert plan_matmul_batch([(a, b), (a, c)], parity=1).codewords


def test_batches_decode_on_the_device(device: Library) -> None:
    hosts = [(values((4, 4), "float64"), values((4, 4), "float64")) for _ in range(2)]
    code = FlexibleCSA(6, (((0,), (0,)), ((1,), (1,))))
    made = coded_matmul_batch(
        [(sent(device, x, 2), sent(device, y, 2)) for x, y in hosts], code=code
    )
    for lazy, (x, y) in zip(made, hosts, strict=True):
        for lost in range(6):
            check(device, lossy(lazy, {lost}), x @ y, scale=1e4)


# Waiting


def test_a_decoded_output_is_there_when_its_task_is_done() -> None:
    before = device_arrays.counts.waits
    blocks = [device_arrays.asarray(values((3, 8), "float64")) for _ in range(4)]
    weights = np.array([1.0, -1.0, 0.5, 2.0])
    assert combine_results(weights, *blocks).ready
    assert device_arrays.counts.waits == before + 1
    # A tile that is multiplied next is only begun.
    assert not mixed(weights, *blocks, field=REAL, dtype="float64").ready
    assert device_arrays.counts.waits == before + 1


def test_shares_are_there_when_their_tasks_are_done_and_nothing_else_is_waited_for() -> None:
    device = library("device_arrays")
    a, b = values((12, 8), "float64"), values((8, 7), "float64")
    lazy = coded_matmul(sent(device, a, (3, 8)), sent(device, b, (8, 7)), code=MDS(5, k=4))
    graph = dict(lazy.__dask_graph__())
    (spec,) = {spec.group: spec for spec in map(spec_of, graph.values()) if spec}.values()
    before = device_arrays.counts.waits
    for key, result in zip(spec.share_keys, dask.get(graph, list(spec.share_keys)), strict=True):
        assert result.ready, key
    # One for each share, and one for the look whether the mixture is finite.
    assert device_arrays.counts.waits == before + 5 + 1
