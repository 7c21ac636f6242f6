"""A thousand random sums by the CUDA source, run on a CPU, against sums of wider numbers.

Few kernels and many cases: what a kernel is compiled for stays, and data, shape, place and weights
change.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dask_coded.fields import COMPLEX, REAL, Field, PrimeField
from dask_coded.kernels import combine
from dask_coded.kernels.gpu.emulation import emulated_cupy, host_compiler

pytestmark = pytest.mark.skipif(
    host_compiler() is None, reason="emulation: no g++ with C++20 threads here"
)

#: dtype, inputs, outputs, field, layout; each stands for one kernel, or one for each alignment.
KERNELS: list[tuple[str, int, int, Field, str]] = [
    ("f2", 8, 2, REAL, "aligned"),
    ("f2", 5, 1, REAL, "strided"),
    ("f4", 16, 4, REAL, "anywhere"),
    ("f4", 32, 8, REAL, "aligned"),
    ("f4", 3, 9, REAL, "aligned"),
    ("f4", 4, 1, REAL, "strided"),
    ("f8", 6, 2, REAL, "anywhere"),
    ("c8", 4, 2, COMPLEX, "aligned"),
    ("c16", 3, 1, COMPLEX, "strided"),
    ("?", 4, 2, REAL, "aligned"),
    ("u1", 3, 2, REAL, "anywhere"),
    ("i4", 7, 2, REAL, "strided"),
    ("i8", 4, 1, REAL, "aligned"),
    ("i8", 5, 2, PrimeField(97), "aligned"),
    ("i4", 6, 1, PrimeField(2**31 - 1), "anywhere"),
    ("i8", 9, 2, PrimeField(2**61 - 1), "strided"),
]
CASES_EACH = 64


@pytest.fixture
def cupy() -> Iterator[Any]:
    with emulated_cupy() as module:
        yield module


def drawn(stream: np.random.Generator, dtype: Any, field: Field, shape: tuple[int, ...]) -> Any:
    """Elements of many sizes, or of all that a type or field holds, its ends among them."""
    if isinstance(field, PrimeField):
        edges = np.array([0, 1, field.p - 1, field.p // 2])
        values = stream.integers(0, field.p, shape)
        return np.where(stream.random(shape) < 0.3, stream.choice(edges, shape), values).astype(
            dtype
        )
    if dtype.kind in "biu":
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        wide = np.int64 if dtype.kind == "b" else dtype
        return stream.integers(low, high, shape, wide, endpoint=True).astype(dtype)
    spread = 4 if dtype.itemsize == 2 else 12
    values = stream.standard_normal((2, *shape)) * 2.0 ** stream.integers(-spread, spread, shape)
    return (values[0] + 1j * values[1] if dtype.kind == "c" else values[0]).astype(dtype)


def weights_of(stream: np.random.Generator, dtype: Any, field: Field, r: int, k: int) -> Any:
    """None is zero, so that all outputs come of one launch, and none amplifies."""
    if isinstance(field, PrimeField):
        return stream.integers(1, field.p, (r, k))
    if dtype.kind in "biu":
        # Odd, so that none vanishes where booleans are summed.
        return 2 * stream.integers(-1000, 1000, (r, k)) + 1
    weights = stream.uniform(0.1, 0.9, (r, k)) * stream.choice([-1, 1], (r, k))
    return weights * np.exp(1j * stream.uniform(0.1, 1.4, (r, k))) if field == COMPLEX else weights


def placed(cupy: Any, stream: np.random.Generator, host: Any, layout: str) -> Any:
    """The array on the device, somewhere in an allocation that is larger."""
    if layout == "strided":
        step = int(stream.integers(2, 4))
        spread = np.zeros((*host.shape[:-1], step * host.shape[-1]), host.dtype)
        spread[..., ::step] = host
        return cupy.asarray(spread)[..., ::step]
    start = int(stream.integers(0, 4)) if layout == "anywhere" else 0
    whole = np.concatenate([np.zeros(start, host.dtype), host.ravel()])
    return cupy.asarray(whole)[start:].reshape(host.shape)


def check(found: Any, weights: Any, data: list[Any], field: Field) -> None:
    kind = data[0].dtype.kind
    if isinstance(field, PrimeField):
        exact = np.tensordot(weights.astype(object), np.array(data, object), 1) % field.p
        assert [array.get().tolist() for array in found] == exact.tolist()
        return
    if kind in "biu":
        modulus = 2 if kind == "b" else 2 ** (8 * data[0].dtype.itemsize)
        exact = np.tensordot(weights.astype(object), np.array(data).astype(object), 1) % modulus
        for array, right in zip(found, exact, strict=True):
            assert array.dtype == data[0].dtype
            assert (array.get().astype(object) % modulus == right).all()
        return
    wide = np.array(data).astype(np.clongdouble)
    exact = np.tensordot(weights.astype(np.clongdouble), wide, 1)
    sizes = np.tensordot(abs(weights).astype(np.longdouble), abs(wide), 1)
    eps = np.finfo(data[0].dtype).eps
    # float16 is summed in float32: there is its one rounding, of the sum or of the smallest step.
    half = data[0].dtype.itemsize == 2
    inner = float(np.finfo(np.float32).eps) if half else float(eps)
    for array, right, size in zip(found, exact, sizes, strict=True):
        assert array.dtype == data[0].dtype
        limit = (len(data) + 4) * inner * size + (eps * abs(right) + 2.0**-24 if half else 0)
        assert (abs(array.get() - right) <= limit).all()


@pytest.mark.parametrize("number", range(len(KERNELS)))
def test_sums_agree_to_the_rounding_of_their_dtype(cupy: Any, number: int) -> None:
    name, k, r, field, layout = KERNELS[number]
    dtype = np.dtype(name)
    for case in range(CASES_EACH):
        stream = np.random.default_rng([number, case])
        axes = 2 if layout == "strided" else int(stream.integers(1, 4))
        shape = tuple(int(n) for n in stream.integers(2, 40 // axes**2 + 3, axes))
        data = [drawn(stream, dtype, field, shape) for _ in range(k)]
        weights = weights_of(stream, dtype, field, r, k)
        blocks = [placed(cupy, stream, block, layout) for block in data]
        options: dict[str, Any] = {"field": field}
        if case % 3 == 0 and layout != "anywhere":
            options["out"] = [cupy.empty(shape, dtype) for _ in range(r)]
        found = combine(weights, blocks, **options)
        check(found, weights, data, field)
    # One launch to a case, and few kernels to all of them.
    launches = cupy.standin.launches
    assert len(launches) == CASES_EACH
    assert len(set(launches)) <= 4


def test_there_are_a_thousand() -> None:
    assert len(KERNELS) * CASES_EACH >= 1000
