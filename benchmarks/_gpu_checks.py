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

from dask_coded.fields import PAIRED, REAL  # noqa: E402
from dask_coded.kernels import (  # noqa: E402
    candidate_distances,
    candidate_products,
    combine,
    fuse_distances,
    top_k,
)
from dask_coded.kernels.gpu import combine_modulo  # noqa: E402

GOLDILOCKS = 2**64 - 2**32 + 1


def checks(cupy: Any) -> Iterator[tuple[str, Callable[[], str]]]:
    """Every kernel once, against NumPy or Python's integers."""
    place = cupy.asarray
    stream = np.random.default_rng(0)

    def close(found: Any, right: Any, eps: float) -> str:
        error = float(np.abs(found.get().astype(right.dtype) - right).max() / np.abs(right).max())
        if not error <= 64 * eps:
            raise AssertionError(f"error {error:.2g} of the largest value")
        return f"error {error:.1e}"

    def sums(k: int, r: int, dtype: str, scale: float, field: Any) -> str:
        weights = scale * stream.uniform(-1, 1, (r, k)) / k
        if field == PAIRED:
            weights = weights * (1 + 2j)
        data = [stream.standard_normal((2, 501)).astype(dtype) for _ in range(k)]
        found = combine(weights, [place(block) for block in data], field=field)
        wide = [block.astype("c16" if "c" in dtype else "f8") for block in data]
        right = combine(weights, wide, field=field)
        return close(found[-1], right[-1], float(np.finfo(dtype).eps))

    def residues(p: int) -> str:
        data = [stream.integers(0, p, 301, np.uint64) for _ in range(9)]
        data[0][:3] = [0, 1, p - 1]
        (found,) = combine_modulo([[p - 1] * 9], [place(block) for block in data], p)
        if found.get().tolist() != [-sum(map(int, xs)) % p for xs in zip(*data, strict=True)]:
            raise AssertionError("sums differ from Python's")
        return "exact"

    def neighbors() -> str:
        points, queries = stream.standard_normal((90, 37)), stream.standard_normal((3, 37))
        rows, starts = stream.integers(0, 90, 50), np.array([0, 20, 20, 50])
        arrays = points, queries, rows, starts
        right = candidate_distances(*arrays)
        said = close(candidate_distances(*map(place, arrays)), right, 1e-15)
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
        (70, 2, "c8", 1),
    ]:
        label = f"{k} blocks into {r}, {dtype}, weights of size {scale:g}"
        yield label, partial(sums, k, r, dtype, scale, REAL)
    yield "paired", partial(sums, 4, 2, "f4", 1, PAIRED)
    for p in (2**31 - 1, 2**61 - 1, GOLDILOCKS):
        yield f"modulo {p}", partial(residues, p)
    yield "distances of candidates, fused from products", neighbors
    yield "top-k with ties, in tiles", selected
