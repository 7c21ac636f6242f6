"""Chunks on a device go through every verb, and nothing is fetched to the host unasked.

The ordinary run computes with a stand-in that raises where CuPy does (``device_arrays.py``); with a
GPU the same tests run over CuPy.
"""

import importlib
import itertools
import pickle
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import dask
import dask.array as da
import device_arrays
import numpy as np
import pytest
from dask.base import tokenize

from dask_coded import private
from dask_coded.array import (
    _products,
    coded_matmul,
    coded_matmul_batch,
    encode,
    explain,
    optimize,
    plan_matmul,
    plan_matmul_batch,
)
from dask_coded.cluster import ShareCancelled, _slices, sliced_adjoint, sliced_matmul
from dask_coded.codes import MDS, FlexibleCSA, Polynomial
from dask_coded.errors import (
    DeviceError,
    DeviceMemoryError,
    UnsupportedDtypeError,
    UnsupportedOperationError,
)
from dask_coded.fields import COMPLEX, PAIRED, REAL
from dask_coded.graph import GroupSpec, carried_task, combination, combine_results, mixed, spec_of
from dask_coded.kernels import combine, settled
from dask_coded.testing import CODES


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


@pytest.mark.parametrize("sent_with_tasks", [True, False])
def test_graphs_are_made_of_arrays_in_memory_without_fetching_them(
    monkeypatch: pytest.MonkeyPatch, sent_with_tasks: bool
) -> None:
    if not sent_with_tasks:
        monkeypatch.setattr(_products, "_SENT_WITH_TASKS", 8)
    device = library("device_arrays")
    a, x, y = values((9, 6), "float64"), values((6, 3), "float64"), values((9, 2), "float64")
    there, x_there, y_there = map(device.asarray, (a, x, y))
    before = device_arrays.counts.fetched
    encoded = encode(there, parity=1)
    made = [
        encoded @ x_there,
        encoded @ x_there[:, 0],
        encoded.H @ y_there,
        y_there.T @ encoded,
        coded_matmul(there, x_there, parity=1),
        coded_matmul(there, encoded.H.decode(), parity=1),
        *coded_matmul_batch([(there, x_there), (there, x_there)], parity=1),
    ]
    assert device_arrays.counts.fetched == before
    expected = [a @ x, a @ x[:, 0], a.T @ y, y.T @ a, a @ x, a @ a.T, a @ x, a @ x]
    for lazy, right in zip(made, expected, strict=True):
        check(device, lazy, right)
    batch = plan_matmul_batch([(there, x_there), (there, x_there)], parity=1)
    assert len(batch.operands) == 2
    # Two of the same operands may not be taken for one.
    again = encoded @ x_there
    x_there[:] = 0.0
    assert (encoded @ x_there).name != again.name


def test_an_array_in_a_graph_leaves_it_where_it_is_read() -> None:
    array = device_arrays.asarray(values((50, 4), "float64"))
    task = carried_task("key", array)
    before = device_arrays.counts.fetched
    assert task({}) is array
    assert tokenize(task) == tokenize(task)
    assert device_arrays.counts.fetched == before
    # A scheduler without a device passes it on.
    sent = pickle.dumps(task)
    assert device_arrays.counts.fetched == before + 1
    device_arrays.counts.absent = True
    try:
        passed_on = pickle.dumps(pickle.loads(sent))
        with pytest.raises(DeviceError, match=r"no CUDA-capable device.*resources=\{"):
            pickle.loads(passed_on)({})
    finally:
        device_arrays.counts.absent = False
    close(pickle.loads(passed_on)({}).get(), array.get())


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


# Several devices in one process


def check_elsewhere(lazy: da.Array, expected: Any) -> None:
    """The chunks one by one: Dask would join them on the current device."""
    cuts = [np.cumsum((0, *sizes)) for sizes in lazy.chunks]
    for place in itertools.product(*(range(len(sizes)) for sizes in lazy.chunks)):
        chunk = dask.get(dict(lazy.__dask_graph__()), (lazy.name, *place))
        assert type(chunk) is device_arrays.DeviceArray
        assert chunk.device.id == 1
        where = tuple(slice(*cut[i : i + 2]) for i, cut in zip(place, cuts, strict=True))
        close(chunk.get(), expected[where], scale=10)


def put(host: Any, rows: tuple[int, ...], columns: tuple[int, ...]) -> da.Array:
    """Chunk by chunk: Dask's own slices are copies on the current device."""
    row, column = (np.cumsum((0, *sizes)) for sizes in (rows, columns))
    return da.block(
        [
            [
                da.from_array(device_arrays.asarray(host[top:bottom, left:right]), chunks=-1)
                for left, right in itertools.pairwise(column)
            ]
            for top, bottom in itertools.pairwise(row)
        ]
    )


@pytest.mark.parametrize("field", [REAL, PAIRED], ids=lambda field: field.name)
def test_products_run_on_the_device_of_their_chunks(field: Any) -> None:
    a, b, y = values((19, 8), "float64"), values((8, 7), "float64"), values((19, 2), "float64")
    code = MDS(6, k=4, field=field)
    # Graphs are made there, as are Dask's metas. Nothing is computed yet.
    with device_arrays.Device(1):
        # Five uneven chunks of rows: padding, void shares and outputs that are cut back.
        x, z = put(a, (4, 4, 4, 4, 3), (3, 5)), put(b, (3, 5), (7,))
        lazy = coded_matmul(x, z, code=code)
        with optimize(parity=1):
            (rewritten,) = dask.optimize(x @ z)
        encoded = encode(put(a, (5, 5, 5, 4), (8,)), code=code)
    encoded = encoded.persist(scheduler="sync")
    with device_arrays.Device(1):
        forth = encoded @ device_arrays.asarray(b)
        back = encoded.H @ device_arrays.asarray(y)
    for lost in ({0, 1}, {3, 5}):
        check_elsewhere(lossy(lazy, lost), a @ b)
    check_elsewhere(lossy(rewritten, {1}), a @ b)
    check_elsewhere(lossy(forth, {1}), a @ b)
    check_elsewhere(back, a.T @ y)


def test_operands_on_two_devices_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    here = device_arrays.asarray(np.eye(4))
    with device_arrays.Device(1):
        there = device_arrays.asarray(np.eye(4))
    for deed in (
        lambda: sliced_matmul(here, there),
        lambda: sliced_adjoint(here, there),
        lambda: combine_results(np.ones(2), here, there),
        lambda: mixed(np.ones(2), here, there, field=REAL, dtype="float64"),
    ):
        with pytest.raises(DeviceError, match=r"is on device 0, .* on device 1"):
            deed()
    monkeypatch.setattr(_slices, "cancelled_check", lambda: lambda: False)
    monkeypatch.setattr(_slices, "_FIRST_FLOP_ON_DEVICE", 1.0)
    for product in (sliced_matmul(there, there), sliced_adjoint(there, there)):
        assert product.device.id == 1
        close(product.get(), np.eye(4))


def test_a_product_that_does_not_fit_its_device_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise MemoryError("out of memory allocating 128 bytes")

    cupy = SimpleNamespace(
        cuda=SimpleNamespace(runtime=SimpleNamespace(memGetInfo=lambda: (2**20, 2**30))),
        get_default_memory_pool=lambda: SimpleNamespace(free_bytes=lambda: 0),
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(device_arrays.DeviceArray, "__matmul__", full)
    array = device_arrays.asarray(np.zeros((512, 256)))
    for product in (lambda: sliced_matmul(array.T, array), lambda: sliced_adjoint(array, array)):
        with pytest.raises(DeviceMemoryError, match=r"a product needs 0\.5 MiB"):
            product()


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


def test_a_product_on_a_device_waits_between_its_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_slices, "cancelled_check", lambda: lambda: False)
    monkeypatch.setattr(_slices, "_FIRST_FLOP_ON_DEVICE", 200.0)
    a, b = values((64, 5), "float64"), values((5, 2), "float64")
    before = device_arrays.counts.waits
    product = sliced_matmul(device_arrays.asarray(a), device_arrays.asarray(b))
    assert product.ready
    # Slices double at most: 10, 20 and 34 rows at best.
    assert 3 <= device_arrays.counts.waits - before <= 7
    close(product.get(), a @ b)
    adjoint = sliced_adjoint(device_arrays.asarray(a), device_arrays.asarray(a))
    assert adjoint.ready
    close(adjoint.get(), a.T @ a)


def test_a_product_that_fits_one_slice_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_slices, "cancelled_check", lambda: lambda: False)
    before = device_arrays.counts.waits
    product = sliced_matmul(*(device_arrays.asarray(np.eye(4)) for _ in range(2)))
    assert not product.ready
    assert device_arrays.counts.waits == before


def test_a_cancelled_product_on_a_device_queues_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = iter([False, False, True])
    monkeypatch.setattr(_slices, "cancelled_check", lambda: lambda: next(looks))
    monkeypatch.setattr(_slices, "_FIRST_FLOP_ON_DEVICE", 1.0)
    monkeypatch.setattr(_slices, "_tell", lambda started: None)
    monkeypatch.setattr(_slices.thread_state, "key", "share", raising=False)
    with pytest.raises(ShareCancelled):
        sliced_matmul(*(device_arrays.asarray(values((9, 9), "float64")) for _ in range(2)))
    assert device_arrays.counts.done == device_arrays.counts.queued


# Every code

CODES_ON_DEVICES = [code for code in CODES if code.n_shares <= 16]


@pytest.mark.parametrize("code", CODES_ON_DEVICES, ids=repr)
def test_every_code_decodes_on_the_device(device: Library, code: Any) -> None:
    rng = np.random.default_rng(3)
    unknowns = code.responses().shape[1]
    shape = (4, 3)
    if code.field.exact:
        blocks = [code.field.asarray(rng.integers(0, code.field.p, shape)) for _ in range(unknowns)]
    else:
        blocks = [rng.standard_normal(shape) for _ in range(unknowns)]
        if code.field == COMPLEX:
            blocks = [block + 1j * rng.standard_normal(shape) for block in blocks]
    there = [device.asarray(block) for block in blocks]
    results = combine(code.responses(), there, field=code.field)
    outputs = [("output", q) for q in range(code.targets().shape[0])]
    spec = GroupSpec("g", code, tuple(("share", i) for i in range(code.n_shares)), tuple(outputs))
    expected = combine(code.targets(), blocks, field=code.field)
    everyone = range(code.n_shares)
    losses = [[], *([share] for share in everyone)]
    for lost in losses:
        survivors = [share for share in everyone if share not in lost]
        if not code.is_decodable(survivors):
            continue
        amplification = code.decoder(survivors).amplification
        data = dict(zip(spec.share_keys, results, strict=True))
        for key, wanted in zip(outputs, expected, strict=True):
            task = combination(spec, key, survivors)
            value = task({name: data[name] for name in task.dependencies})
            assert type(value) is device.kind
            if code.field.exact:
                np.testing.assert_array_equal(device.asnumpy(value), wanted)
            else:
                close(device.asnumpy(value), wanted, scale=max(amplification, 1.0))


# Host and device


def products_of_case(case: int, bring: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
    """Values of some random verb, and by how much rounding may move them."""
    rng = np.random.default_rng(case)
    rows, inner, columns = (int(n) for n in rng.integers(1, 40, 3))
    kind = str(rng.choice(["float32", "float64", "complex64", "complex128"]))

    def drawn(shape: tuple[int, ...]) -> Any:
        made = rng.standard_normal(shape)
        return (made + 1j * rng.standard_normal(shape) if kind[0] == "c" else made).astype(kind)

    a, b = drawn((rows, inner)), drawn((inner, columns))
    size = float((np.abs(a) @ np.abs(b)).max()) * (inner + 8) * float(np.finfo(kind).eps)
    chunks = [int(rng.integers(1, n + 1)) for n in (rows, inner, columns)]
    chunks = [max(n, m // 5 + 1) for n, m in zip(chunks, (rows, inner, columns), strict=True)]
    x = da.from_array(bring(a), chunks=(chunks[0], chunks[1]))
    y = da.from_array(bring(b), chunks=(chunks[1], chunks[2]))
    parity = int(rng.integers(1, 3))
    verb = int(rng.integers(4))
    lost = set(rng.choice(4, size=parity, replace=False).tolist())
    if verb == 0:
        yield lossy(coded_matmul(x, y, parity=parity), lost).compute(), 1e3 * size
    elif verb == 1:
        # Two of these run in turn, and the configuration has to be left in the order of entering.
        with optimize(parity=parity):
            value = (x @ y).compute()
        yield value, size
    elif verb == 2:
        yield lossy(encode(x, parity=parity).persist() @ y, lost).compute(), 1e3 * size
    else:
        z = drawn((rows, 2))
        limit = float((np.abs(a).T @ np.abs(z)).max()) * (rows + 8) * float(np.finfo(kind).eps)
        yield (encode(x, parity=parity).H @ bring(z)).compute(), limit


@pytest.mark.parametrize(
    ("name", "cases"),
    [("device_arrays", 200), pytest.param("cupy", 1000, marks=pytest.mark.gpu)],
)
def test_host_and_device_agree_to_rounding(name: str, cases: int) -> None:
    device = library(name)
    with dask.config.set(scheduler="sync"):
        for case in range(cases):
            here = products_of_case(case, lambda host: host)
            there = products_of_case(case, device.asarray)
            for (expected, limit), (value, _) in zip(here, there, strict=True):
                assert type(value) is device.kind
                assert value.dtype == expected.dtype
                error = np.abs(device.asnumpy(value) - expected).max(initial=0.0)
                assert error <= limit, case


# Results that are compared


def test_comparing_results_on_a_device_is_refused(device: Library) -> None:
    a = sent(device, values((6, 4), "float64"), (2, 4))
    with pytest.raises(UnsupportedOperationError, match="verify='detect'"):
        coded_matmul(a, a.T, parity=2, verify="detect")
    with pytest.raises(UnsupportedOperationError, match="verify=2"):
        encode(a, parity=2).verified(2)


@pytest.mark.parametrize("lazy", [True, False])
def test_private_products_of_device_arrays_are_refused_by_name(device: Library, lazy: bool) -> None:
    # Before anything is asked of a client: there is none.
    here = values((6, 4), "float64")
    there: Any = sent(device, here, (2, 4)) if lazy else device.asarray(here)
    with pytest.raises(UnsupportedOperationError, match=rf"b is of {device.name}.*b\.get\(\)"):
        private.matmul(here.T, there, 1)
    with pytest.raises(UnsupportedOperationError, match=rf"a is of {device.name}"):
        private.matmul(there, here.T, 1)
