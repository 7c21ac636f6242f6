"""Blocks of prime field elements, against Python integers."""

from typing import Any

import numpy as np
import pytest

from dask_coded.errors import BlockShapeError, FieldRangeError, UnsupportedDtypeError
from dask_coded.fields import PrimeField
from dask_coded.kernels import combine

PRIMES = [2, 3, 31, 65537, 2**31 - 1, 2**45 - 55, 2**61 - 1]


@pytest.mark.parametrize("p", PRIMES)
@pytest.mark.parametrize(
    ("outputs", "blocks"), [(1, 1), (1, 6), (4, 16), (7, 100), (2, 1500), (40, 40)]
)
def test_sums_are_python_arithmetic(p: int, outputs: int, blocks: int) -> None:
    stream = np.random.default_rng(blocks)
    data = stream.integers(0, p, (blocks, 5, 6))
    data[:, 0], data[:, 1, 1] = p - 1, 0
    weights = stream.integers(0, p, (outputs, blocks))
    weights[0] = p - 1
    weights[-1, ::2] = 0
    found = combine(weights, list(data), field=PrimeField(p))
    expected = np.tensordot(weights.astype(object), data.astype(object), axes=1) % p
    assert found[0].dtype == np.int64
    assert (np.stack(found) == expected).all()


@pytest.mark.parametrize("p", [31, 2**31 - 1, 2**61 - 1])
def test_many_tiles(p: int) -> None:
    stream = np.random.default_rng(8)
    data = [stream.integers(0, p, 20_001) for _ in range(3)]
    field = PrimeField(p)
    weights = np.array([[1, 2, 3], [0, 1, 0], [p - 1, 0, p // 2], [0, 0, 0]]) % p
    expected = np.tensordot(weights.astype(object), np.stack(data).astype(object), axes=1) % p
    out = [np.full(20_001, -1) for _ in range(4)]
    assert (np.stack(combine(weights, data, field=field, out=out)) == expected).all()


@pytest.mark.parametrize("dtype", ["?", *np.typecodes["AllInteger"]])
@pytest.mark.parametrize("p", [251, 2**61 - 1])
def test_every_integer_dtype_holds_elements(dtype: str, p: int) -> None:
    values = np.array([0, 1, 1, 0]) if dtype == "?" else np.array([0, 1, 100, 127])
    (found,) = combine([[3, 7]], [values.astype(dtype)] * 2, field=PrimeField(p))
    assert found.tolist() == [10 * int(v) % p for v in values.astype(dtype)]


@pytest.mark.parametrize("weights", [[[1, 2]], [[0, 1]]], ids=["sum", "copy"])
@pytest.mark.parametrize(
    ("p", "bad"),
    [
        (31, np.array([31])),
        (31, np.array([-1])),
        (31, np.array([200], np.uint8)),
        (2**31 - 1, np.array([2**62])),
        (2**61 - 1, np.array([2**61 - 1])),
        (2**61 - 1, np.array([-(2**63)])),
        (2**61 - 1, np.array([2**64 - 1], np.uint64)),
    ],
)
def test_what_is_no_element_is_refused(weights: Any, p: int, bad: Any) -> None:
    block = np.zeros(9000, bad.dtype)
    block[8000] = bad[0]
    with pytest.raises(FieldRangeError, match=r"block 1 holds values .*encode_signed"):
        combine(weights, [np.zeros(9000, int), block], field=PrimeField(p))


def test_unread_blocks_are_not_judged() -> None:
    field = PrimeField(31)
    (found,) = combine([[2, 0, 1]], [np.array([5]), np.array([99]), np.array([25])], field=field)
    assert found.tolist() == [4]


def test_floats_are_refused() -> None:
    with pytest.raises(UnsupportedDtypeError, match="block 0 has dtype float64"):
        combine([[1]], [np.zeros(3)], field=PrimeField(31))
    with pytest.raises(BlockShapeError, match="int64"):
        combine([[1]], [np.zeros(3, int)], field=PrimeField(31), out=[np.zeros(3)])


@pytest.mark.parametrize("p", PRIMES)
def test_encode_lose_decode(p: int) -> None:
    """A systematic code from a random invertible matrix gives the blocks back."""
    field = PrimeField(p)
    stream = np.random.default_rng(9)
    data = list(stream.integers(0, p, (4, 30)))
    lower = np.tril(stream.integers(0, p, (4, 4)), -1) + np.eye(4, dtype=np.int64)
    upper = np.triu(stream.integers(0, p, (4, 4)), 1) + np.eye(4, dtype=np.int64)
    mixing = field.matmul(lower, upper)
    shares = combine(mixing, data, field=field)
    found = combine(field.inverse(mixing), shares, field=field)
    assert (np.stack(found) == np.stack(data)).all()


@pytest.mark.parametrize("p", [257, 2**31 - 1])
def test_signed_data_survives(p: int) -> None:
    field = PrimeField(p)
    data = [np.array([-3, 4, 0, -1], np.int8), np.array([5, -6, 2, -2], np.int8)]
    encoded = [field.encode_signed(block) for block in data]
    (found,) = combine([[7, -5]], encoded, field=field)
    assert field.decode_signed(found).tolist() == (7 * data[0].astype(int) - 5 * data[1]).tolist()
