"""Sums of device blocks modulo a prime, against Python's integers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dask_coded.errors import (
    BlockShapeError,
    DeviceError,
    FieldRangeError,
    ParameterError,
    UnsupportedDtypeError,
    UnsupportedOperationError,
    WeightsError,
)
from dask_coded.fields import PrimeField
from dask_coded.kernels import combine
from dask_coded.kernels.gpu import combine_modulo
from dask_coded.kernels.gpu.emulation import emulated_cupy, host_compiler

pytestmark = pytest.mark.skipif(
    host_compiler() is None, reason="emulation: no g++ with C++20 threads here"
)

GOLDILOCKS = 2**64 - 2**32 + 1
#: 2^61 - 1 is the largest of its kernel; 3 and 97 leave most bits idle.
PRIMES = [2**31 - 1, 2**61 - 1, GOLDILOCKS, 97, 3]


@pytest.fixture
def cupy() -> Iterator[Any]:
    with emulated_cupy() as module:
        yield module


def residues(stream: np.random.Generator, p: int, *shape: int) -> Any:
    """Random ones, among them many of the edges of the field."""
    values = stream.integers(0, p, shape, np.uint64)
    edges = np.array([0, 1, p - 1, p // 2, p - 2], np.uint64)
    at_edge = stream.random(shape) < 0.5
    return np.where(at_edge, stream.choice(edges, shape), values)


def exact(weights: Any, data: list[Any], p: int) -> list[list[int]]:
    columns = [[int(value) for value in block.ravel()] for block in data]
    return [
        [
            sum(int(w) * x for w, x in zip(row, xs, strict=True)) % p
            for xs in zip(*columns, strict=True)
        ]
        for row in weights
    ]


#: Sums held in registers, inputs held, a table in device memory; small primes share a kernel.
CASES = [(p, 20, 3) for p in PRIMES] + [
    (p, *size) for p in PRIMES[:3] for size in [(3, 5), (67, 1)]
]


@pytest.mark.parametrize(("p", "k", "r"), CASES)
def test_sums_are_exact(cupy: Any, p: int, k: int, r: int) -> None:
    stream = np.random.default_rng(k)
    weights = residues(stream, p, r, k)
    data = [residues(stream, p, 37) for _ in range(k)]
    data[0][:], weights[0] = p - 1, p - 1
    found = combine_modulo(weights, [cupy.asarray(block) for block in data], p)
    assert {array.dtype for array in found} == {np.dtype(np.uint64)}
    assert [array.get().tolist() for array in found] == exact(weights, data, p)


@pytest.mark.parametrize("p", [2**31 - 1, 2**61 - 1])
def test_a_sum_of_largest_elements_does_not_overflow(cupy: Any, p: int) -> None:
    largest = cupy.asarray(np.full(3, p - 1))
    (found,) = combine(np.full((1, 60), p - 1), [largest] * 60, field=PrimeField(p))
    assert found.dtype == np.int64
    assert found.get().tolist() == [60] * 3


@pytest.mark.parametrize("p", [2**31 - 1, 2**61 - 1])
def test_the_backend_is_that_of_numpy(cupy: Any, p: int) -> None:
    stream = np.random.default_rng(1)
    field = PrimeField(p)
    weights = [[-1, 2**80, 5], [0, 1, 0]]
    data = [residues(stream, p, 4, 5).astype(np.int64) for _ in range(3)]
    blocks = [cupy.asarray(block) for block in data]
    blocks[1] = cupy.asarray(np.asfortranarray(data[1]))
    for array, right in zip(
        combine(weights, blocks, field=field), combine(weights, data, field=field), strict=True
    ):
        assert array.dtype == right.dtype
        np.testing.assert_array_equal(array.get(), right)


@pytest.mark.parametrize("dtype", ["u4", "i4"])
def test_mersenne_elements_may_take_four_bytes(cupy: Any, dtype: str) -> None:
    p = 2**31 - 1
    data = [residues(np.random.default_rng(2), p, 19).astype(dtype) for _ in range(3)]
    blocks = [cupy.asarray(block) for block in data]
    out = [cupy.empty((19,), dtype)]
    combine([[5, 7, p - 1]], blocks, field=PrimeField(p), out=out)
    assert [out[0].get().tolist()] == exact([[5, 7, p - 1]], data, p)
    (wide,) = combine([[5, 7, p - 1]], blocks, field=PrimeField(p))
    assert wide.dtype == np.int64
    np.testing.assert_array_equal(wide.get(), out[0].get())


def test_small_dtypes_and_small_outputs_of_other_primes(cupy: Any) -> None:
    data = [np.array([0, 1, 96], "u1"), np.array([5, 6, 7], "i4")]
    out = [cupy.empty((3,), np.int32)]
    combine([[96, 3]], [cupy.asarray(block) for block in data], field=PrimeField(97), out=out)
    assert [out[0].get().tolist()] == exact([[96, 3]], data, 97)


@pytest.mark.parametrize("p", [2**31 - 1, 2**61 - 1, 97])
@pytest.mark.parametrize("bad", [-1, None])
def test_what_is_no_element_is_refused(cupy: Any, p: int, bad: int | None) -> None:
    values = np.zeros(9, np.int64)
    values[8] = p if bad is None else bad
    blocks = [cupy.asarray(np.zeros(9, np.int64)), cupy.asarray(values)]
    with pytest.raises(FieldRangeError, match=r"block 1 holds values.*encode_signed"):
        combine([[1, 3]], blocks, field=PrimeField(p))
    # A block that no output wants is not looked at.
    combine([[1, 0]], blocks, field=PrimeField(p))


def test_goldilocks_refuses_what_is_no_element(cupy: Any) -> None:
    block = cupy.asarray(np.array([GOLDILOCKS], np.uint64))
    with pytest.raises(FieldRangeError, match="block 0"):
        combine_modulo([[2]], [block], GOLDILOCKS)


def test_bad_input_is_named(cupy: Any) -> None:
    block = cupy.zeros((3,), np.int64)
    with pytest.raises(ParameterError, match="odd prime"):
        combine_modulo([[1]], [block], 2**63)
    with pytest.raises(BlockShapeError, match="column per block"):
        combine_modulo([[1, 2]], [block], 97)
    with pytest.raises(BlockShapeError, match="one shape"):
        combine_modulo([[1, 2]], [block, block[:2]], 97)
    with pytest.raises(UnsupportedDtypeError, match="block 0 has dtype float64"):
        combine_modulo([[1]], [cupy.zeros((3,))], 97)
    with pytest.raises(UnsupportedOperationError, match="bool"):
        combine([[1]], [block], field=PrimeField(2))
    with pytest.raises(BlockShapeError, match="must be int64"):
        combine([[1]], [block], field=PrimeField(2**61 - 1), out=[cupy.zeros((3,), np.int32)])


@pytest.mark.parametrize("weight", [0.5, np.nan, np.inf, 1j, "two", None])
def test_weights_that_are_not_whole_are_named(cupy: Any, weight: Any) -> None:
    with pytest.raises(WeightsError, match=r"whole numbers; the weight at \(0, [01]\) is"):
        combine_modulo([[1, weight]], [cupy.zeros((3,), np.int64)] * 2, 97)


def test_whole_weights_of_any_kind(cupy: Any) -> None:
    block = cupy.asarray(np.array([1, 2, 3]))
    for weight in (2.0, np.float32(2), 99, 97**20 + 2, np.int8(-95)):
        (found,) = combine_modulo([[weight]], [block], 97)
        assert found.get().tolist() == [2, 4, 6]


def test_blocks_of_another_library_are_named(cupy: Any) -> None:
    with pytest.raises(UnsupportedDtypeError, match=r"block 1 is a numpy\.ndarray.*asarray"):
        combine_modulo([[1, 2]], [cupy.zeros((3,), np.int64), np.zeros(3, int)], 97)


def test_out_on_another_device_is_named() -> None:
    with emulated_cupy(n_devices=2) as cupy:
        block = cupy.zeros((3,), np.int64)
        with cupy.cuda.Device(1):
            out = cupy.zeros((3,), np.int64)
        with pytest.raises(DeviceError, match=r"out\[0\] on device 1"):
            combine_modulo([[2]], [block], 97, out=[out])
