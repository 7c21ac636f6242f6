"""Everything again on a real device; skipped where there is none."""

from typing import Any

import numpy as np
import pytest

from dask_coded.errors import DeviceMemoryError
from dask_coded.fields import COMPLEX, PAIRED, PrimeField
from dask_coded.kernels import (
    candidate_distances,
    candidate_products,
    combine,
    fuse_distances,
    top_k,
    warm_up,
)
from dask_coded.kernels.gpu import combine_modulo, use_route

pytestmark = pytest.mark.gpu


@pytest.fixture
def cupy() -> Any:
    return pytest.importorskip("cupy")


def check(cupy: Any, weights: Any, data: list[Any], **options: Any) -> None:
    found = combine(weights, [cupy.asarray(block) for block in data], **options)
    expected = combine(weights, data, **options)
    for array, right in zip(found, expected, strict=True):
        assert isinstance(array, cupy.ndarray)
        assert array.dtype == right.dtype
        if right.dtype.kind in "biu":
            np.testing.assert_array_equal(array.get(), right)
        else:
            size = np.abs(right).max(initial=1)
            np.testing.assert_allclose(
                array.get(), right, rtol=0, atol=16 * size * np.finfo(right.dtype).eps
            )


@pytest.mark.parametrize(("k", "r"), [(4, 1), (2, 9), (16, 4), (32, 8), (64, 16), (70, 3), (3, 70)])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("scale", [1, 1e5])
def test_sums(cupy: Any, k: int, r: int, dtype: str, scale: float) -> None:
    stream = np.random.default_rng(k)
    weights = stream.uniform(-1, 1, (r, k)) * (scale if dtype != "f2" else 1) / k
    for length in (1, 7, 1023, 100_003):
        check(cupy, weights, [stream.standard_normal(length).astype(dtype) for _ in range(k)])


def test_fields(cupy: Any) -> None:
    stream = np.random.default_rng(0)
    weights = stream.standard_normal((3, 8, 2)) @ [1, 1j]
    data = [stream.standard_normal((10, 31)).astype("f4") for _ in range(8)]
    check(cupy, weights, data, field=COMPLEX)
    check(cupy, weights, data, field=PAIRED)
    for p in (2**31 - 1, 2**61 - 1, 97):
        elements = [stream.integers(0, p, 1001) for _ in range(8)]
        check(cupy, stream.integers(0, p, (3, 8)), elements, field=PrimeField(p))
    for dtype in ("?", "u1", "i2", "i4", "u8"):
        whole = [stream.integers(0, 2, 1001).astype(dtype) * 77 for _ in range(3)]
        check(cupy, [[1, -2, 3]], [block.astype(dtype) for block in whole])


def test_goldilocks(cupy: Any) -> None:
    p = 2**64 - 2**32 + 1
    stream = np.random.default_rng(0)
    data = [stream.integers(0, p, 501, np.uint64) for _ in range(5)]
    (found,) = combine_modulo([[p - 1] * 5], [cupy.asarray(block) for block in data], p)
    exact = [-sum(int(x) for x in column) % p for column in zip(*data, strict=True)]
    assert found.get().tolist() == exact


@pytest.mark.parametrize("layout", ["offset", "mixed", "columns"])
def test_layouts(cupy: Any, layout: str) -> None:
    stream = np.random.default_rng(0)
    data = [stream.standard_normal((60, 50)) for _ in range(3)]
    if layout == "offset":
        blocks = [cupy.asarray(np.append(0, block))[1:].reshape(60, 50) for block in data]
    elif layout == "mixed":
        blocks = [cupy.asarray(np.asfortranarray(data[0])), *map(cupy.asarray, data[1:])]
    else:
        blocks = [cupy.asarray(np.repeat(block, 2, 1))[:, ::2] for block in data]
    for array, right in zip(combine([[2, 3, 4]], blocks), combine([[2, 3, 4]], data), strict=True):
        np.testing.assert_allclose(array.get(), right, rtol=1e-12, atol=1e-12)


def test_on_a_stream_of_its_own(cupy: Any) -> None:
    block = cupy.ones((1 << 20,), np.float32)
    cupy.cuda.Device().synchronize()
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        (found,) = combine([[2, 3]], [block, block])
    stream.synchronize()
    assert bool((found == 5).all())


def test_routes_agree(cupy: Any) -> None:
    stream = np.random.default_rng(0)
    stack = cupy.asarray(stream.standard_normal((40, 999)))
    weights = stream.standard_normal((36, 40))
    by_rule = combine(weights, list(stack))
    use_route("combine")
    try:
        by_kernel = combine(weights, list(stack))
    finally:
        use_route(None)
    for one, other in zip(by_rule, by_kernel, strict=True):
        np.testing.assert_allclose(one.get(), other.get(), rtol=0, atol=1e-12)


def test_neighbors(cupy: Any) -> None:
    stream = np.random.default_rng(0)
    points, queries = stream.standard_normal((500, 70)), stream.standard_normal((9, 70))
    starts = np.concatenate([[0], np.cumsum(stream.integers(0, 90, 9))])
    rows = stream.integers(0, 500, starts[-1])
    arrays = points, queries, rows, starts
    for verb in (candidate_distances, candidate_products):
        found = verb(*[cupy.asarray(array) for array in arrays])
        np.testing.assert_allclose(found.get(), verb(*arrays), rtol=1e-9, atol=1e-9)
    norms = (points**2).sum(1), (queries**2).sum(1)
    partials = [
        candidate_products(points[:, s], queries[:, s], rows, starts)
        for s in (slice(0, 30), slice(30, 70))
    ]
    found = fuse_distances(
        [1, 1],
        [cupy.asarray(partial) for partial in partials],
        *[cupy.asarray(array) for array in (*norms, rows, starts)],
    )
    np.testing.assert_allclose(found.get(), candidate_distances(*arrays), atol=1e-9)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("k", [1, 10, 300, 3000])
def test_selection(cupy: Any, dtype: str, k: int) -> None:
    values = np.random.default_rng(k).integers(0, 500, (3, 100_001)).astype(dtype)
    values[1, ::3] = np.nan
    for found, right in zip(top_k(cupy.asarray(values), k), top_k(values, k), strict=True):
        np.testing.assert_array_equal(found.get(), right)


def test_warm_up(cupy: Any) -> None:
    warm_up([(4, 1)], ["float32"], nearest=[10], required=True)


def test_out_of_memory(cupy: Any) -> None:
    free, _ = cupy.cuda.runtime.memGetInfo()
    count = free // 2 // 4
    block = cupy.empty((count,), np.float32)
    with pytest.raises(DeviceMemoryError, match="MiB"):
        combine(np.ones((8, 2)), [block, block])
    del block
    check(cupy, [[1, 2]], [np.ones(5), np.ones(5)])
