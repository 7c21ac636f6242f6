"""Where benchmarks/gpu.py finds the package without Dask, and its checks of every kernel."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]


def find_package() -> None:
    """Make ``dask_coded`` importable from here, and its pure half also where Dask is missing."""
    if importlib.util.find_spec("dask_coded") is None:
        sys.path.insert(0, str(ROOT))
    if any(importlib.util.find_spec(name) is None for name in ("dask", "distributed")):
        # Kernels, codes and fields import no Dask; only the package's own front page does.
        package = ModuleType("dask_coded")
        package.__path__ = [str(ROOT / "dask_coded")]
        sys.modules["dask_coded"] = package


find_package()

from _gpu_bench import LeftOut  # noqa: E402

from dask_coded.fields import COMPLEX, PAIRED, REAL  # noqa: E402
from dask_coded.kernels import (  # noqa: E402
    candidate_distances,
    candidate_products,
    combine,
    fuse_distances,
    top_k,
)
from dask_coded.kernels.gpu import combine_modulo  # noqa: E402

GOLDILOCKS = 2**64 - 2**32 + 1


def bfloat16() -> np.dtype[Any]:
    """The dtype, where there is one."""
    cupy = sys.modules["cupy"]
    major = cupy.__version__.partition(".")[0]
    try:
        import ml_dtypes
    except ImportError:
        raise LeftOut("bfloat16 needs ml_dtypes, and CuPy 14") from None
    if major.isdecimal() and int(major) < 14:
        raise LeftOut(f"bfloat16 needs CuPy 14, this is {cupy.__version__}")
    return np.dtype(ml_dtypes.bfloat16)


def checks(cupy: Any) -> Iterator[tuple[str, Callable[[], str]]]:
    """Every kernel once, against NumPy or Python's integers."""
    place = cupy.asarray
    stream = np.random.default_rng(0)

    def close(found: Any, right: Any, eps: float) -> str:
        return all_close([found], [right], eps)

    def all_close(found: Any, right: Any, eps: float) -> str:
        worst = 0.0
        for x, y in zip(found, right, strict=True):
            size = float(np.abs(y).max()) or 1.0
            error = float(np.abs(x.get().astype(y.dtype) - y).max()) / size
            if not error <= 64 * eps:
                raise AssertionError(f"error {error:.2g} of the largest value")
            worst = max(worst, error)
        return f"error {worst:.1e}"

    def sums(
        k: int, r: int, name: str, scale: float, field: Any, lay: Callable[[Any], Any] = place
    ) -> str:
        dtype = bfloat16() if name == "bfloat16" else np.dtype(name)
        weights = scale * stream.uniform(-1, 1, (r, k)) / k
        if field != REAL:
            weights = weights * (1 + 2j)
        data = [stream.standard_normal((2, 501)).astype(dtype) for _ in range(k)]
        found = combine(weights, list(map(lay, data)), field=field)
        wide = [block.astype("c16" if dtype.kind == "c" else "f8") for block in data]
        right = combine(weights, wide, field=field)
        # bfloat16 has eight bits.
        eps = 2.0**-8 if name == "bfloat16" else float(np.finfo(dtype).eps)
        return all_close(found, right, eps)

    def integers() -> str:
        weights = np.array([[1, -2, 3, 0, 5], [0, 1, 0, 0, 0], [7, 0, -1, 2, 2]])
        data = [stream.integers(-(2**31), 2**31, 301, np.int64).astype("i4") for _ in range(5)]
        found = combine(weights, list(map(place, data)))
        right = combine(weights, data)
        if not all((x.get() == y).all() for x, y in zip(found, right, strict=True)):
            raise AssertionError("sums differ from NumPy's")
        return "exact, and wraps as NumPy's"

    def masked() -> str:
        """Rows that leave blocks out, and one that is a block."""
        weights = stream.uniform(-1, 1, (12, 24)) * (stream.random((12, 24)) < 0.4)
        weights[3], weights[3, 7], weights[5] = 0, 1, 0
        data = [stream.standard_normal(777).astype("f4") for _ in range(24)]
        found = combine(weights, list(map(place, data)))
        right = combine(weights, [block.astype("f8") for block in data])
        return all_close(found, right, 1e-7)

    def strided(block: Any) -> Any:
        wide = cupy.zeros((block.shape[0], 2 * block.shape[1]), block.dtype)
        wide[:, ::2] = place(block)
        return wide[:, ::2]

    def unaligned(block: Any) -> Any:
        longer = cupy.zeros((block.size + 1,), block.dtype)
        longer[1:] = place(block.reshape(-1))
        return longer[1:].reshape(block.shape)

    def residues(p: int) -> str:
        data = [stream.integers(0, p, 301, np.uint64) for _ in range(9)]
        data[0][:3] = [0, 1, p - 1]
        (found,) = combine_modulo([[p - 1] * 9], [place(block) for block in data], p)
        if found.get().tolist() != [-sum(map(int, xs)) % p for xs in zip(*data, strict=True)]:
            raise AssertionError("sums differ from Python's")
        return "exact"

    def neighbors(dtype: str = "f8", eps: float = 1e-15) -> str:
        points, queries = (stream.standard_normal((n, 37)).astype(dtype) for n in (90, 3))
        rows, starts = stream.integers(0, 90, 50), np.array([0, 20, 20, 50])
        arrays = points, queries, rows, starts
        right = candidate_distances(points.astype("f8"), queries.astype("f8"), rows, starts)
        said = close(candidate_distances(*map(place, arrays)), right, eps)
        if dtype != "f8":
            return said
        partial = candidate_products(*map(place, arrays))
        norms = place((points**2).sum(1)), place((queries**2).sum(1))
        fused = fuse_distances([1], [partial], *norms, place(rows), place(starts))
        return f"{said}, fused {close(fused, right, 1e-14)}"

    def selected() -> str:
        values = stream.integers(0, 50, (2, 9001)).astype("f4")
        found, right = top_k(place(values), 20), top_k(values, 20)
        if not all((x.get() == y).all() for x, y in zip(found, right, strict=True)):
            raise AssertionError("another selection than NumPy's")
        return "the same, ties included"

    for k, r, dtype, scale in [
        (16, 4, "f4", 1),
        (16, 4, "f4", 1e5),
        (3, 20, "f8", 1),
        (8, 2, "f2", 1),
        (8, 2, "bfloat16", 1),
        (70, 2, "c8", 1),
        (5, 3, "c16", 1),
    ]:
        label = f"{k} blocks into {r}, {dtype}, weights of size {scale:g}"
        yield label, partial(sums, k, r, dtype, scale, REAL)
    yield "paired", partial(sums, 4, 2, "f4", 1, PAIRED)
    yield "complex weights, complex blocks", partial(sums, 4, 2, "c8", 1, COMPLEX)
    yield "complex weights, real blocks", partial(sums, 4, 2, "f4", 1, COMPLEX)
    yield "whole weights, int32", integers
    yield "weights with many zeros", masked
    yield "every other element", partial(sums, 16, 4, "f4", 1, REAL, strided)
    yield "not aligned to vectors", partial(sums, 16, 4, "f4", 1, REAL, unaligned)
    for p in (2**31 - 1, 2**61 - 1, GOLDILOCKS):
        yield f"modulo {p}", partial(residues, p)
    yield "distances of candidates, fused from products", neighbors
    yield "distances of candidates, float32", partial(neighbors, "f4", 1e-6)
    yield "distances of candidates, float16", partial(neighbors, "f2", 1e-3)
    yield "top-k with ties, in tiles", selected
