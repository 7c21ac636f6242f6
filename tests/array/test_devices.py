"""Chunks on a device go through every verb, and nothing is fetched to the host unasked.

The ordinary run computes with a stand-in that raises where CuPy does (``device_arrays.py``); with a
GPU the same tests run over CuPy.
"""

import itertools
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import dask
import dask.array as da
import device_arrays
import numpy as np
import pytest
from dask.base import tokenize
from device_support import DTYPES, Library, check, close, library, lossy, sent, values

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
from dask_coded.codes import MDS, FlexibleCSA, Polynomial
from dask_coded.errors import (
    DeviceError,
    UnsupportedDtypeError,
    UnsupportedOperationError,
)
from dask_coded.fields import COMPLEX, PAIRED, REAL
from dask_coded.graph import GroupSpec, carried_task, combination
from dask_coded.kernels import combine
from dask_coded.testing import CODES

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
