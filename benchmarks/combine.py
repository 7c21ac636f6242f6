"""How close `combine` comes to plain copying, and how far it leaves plain sums behind.

    python benchmarks/combine.py [--quick]

Bandwidth counts bytes read and written: every block once, every output once. It is held against
`numpy.copyto` of the same arrays, so that both start from memory and neither from a cache.
"""

import argparse
import gc
import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np

from dask_coded.fields import REAL, Field, PrimeField
from dask_coded.kernels import combine

MIB = 1 << 20


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Best time of one call: the machine may be shared, and only ever makes it longer."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return best


def peak_bytes(action: Callable[[], object]) -> int:
    """Most memory that one call holds beyond what was there before."""
    gc.collect()
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        action()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def naive(weights: Any, blocks: list[Any], field: Field) -> list[Any]:
    """What anybody would write first, in the dtype of the blocks."""
    if not isinstance(field, PrimeField):
        rows = weights.astype(blocks[0].dtype)
        return [sum(w * x for w, x in zip(row, blocks, strict=True)) for row in rows]
    totals = []
    for row in weights:
        total = np.zeros_like(blocks[0])
        for w, x in zip(row, blocks, strict=True):
            total = field.add(total, field.multiply(w, x))
        totals.append(total)
    return totals


def measure(
    label: str,
    field: Field,
    blocks: list[Any],
    weights: Any,
    repeats: int,
) -> str:
    """One line of the table."""
    n_outputs, n_blocks = weights.shape
    block_bytes = blocks[0].nbytes
    moved = (n_outputs + n_blocks) * block_bytes
    out = [np.zeros(blocks[0].shape, blocks[0].dtype) for _ in range(n_outputs)]

    def copy_all() -> None:
        for index in range((n_outputs + n_blocks) // 2):
            np.copyto(out[index % n_outputs], blocks[index % n_blocks])

    def run() -> None:
        combine(weights, blocks, field=field, out=out)

    copied = 2 * ((n_outputs + n_blocks) // 2) * block_bytes
    copy_rate = copied / seconds(copy_all, repeats)
    taken = seconds(run, repeats)
    extra = peak_bytes(run)
    naive_taken = seconds(lambda: naive(weights, blocks, field), 1)
    tensordot = "-"
    if not field.exact:
        stacked = np.stack(blocks)
        narrow = weights.astype(stacked.dtype)
        without = seconds(lambda: np.tensordot(narrow, stacked, axes=1), repeats)
        del stacked
        stacking = seconds(lambda: np.tensordot(narrow, np.stack(blocks), axes=1), 1)
        tensordot = f"{without / taken:.1f}x ({stacking / taken:.1f}x)"
    return (
        f"{label:32} {moved / taken / 1e9:8.2f} {copy_rate / 1e9:8.2f} "
        f"{moved / taken / copy_rate:8.0%} {naive_taken / taken:10.1f}x {tensordot:>16} "
        f"{extra / MIB:10.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="blocks of 2 MiB instead of 64 MiB")
    quick = parser.parse_args().quick
    size, repeats = (2 * MIB, 1) if quick else (64 * MIB, 3)
    n_blocks, n_outputs = 16, 4
    stream = np.random.default_rng(0)
    weights = stream.standard_normal((n_outputs, n_blocks))
    amplifying = 100 * weights
    print(
        f"{n_blocks} blocks of {size // MIB} MiB into {n_outputs} outputs; {os.cpu_count()} cores, "
        f"NumPy {np.__version__}; best of {repeats}"
    )
    print(
        f"{'':32} {'GB/s':>8} {'copy':>8} {'of copy':>8} {'naive sums':>11} "
        f"{'tensordot*':>16} {'extra MiB':>10}"
    )
    cases: list[tuple[str, Field, str, Any]] = [
        ("float32", REAL, "f4", weights),
        ("float32, weights that amplify", REAL, "f4", amplifying),
        ("float64", REAL, "f8", weights),
        ("float16", REAL, "f2", weights),
        ("complex64", REAL, "c8", weights),
        ("float64, one all-ones parity", REAL, "f8", np.ones((1, n_blocks))),
        ("int32, whole weights", REAL, "i4", np.rint(3 * weights)),
        ("prime 2**31 - 1", PrimeField(2**31 - 1), "i8", None),
        ("prime 2**61 - 1", PrimeField(2**61 - 1), "i8", None),
    ]
    for number, (label, field, dtype, given) in enumerate(cases, 1):
        print(f"[{number}/{len(cases)}] {label}", file=sys.stderr, flush=True)
        count = size // np.dtype(dtype).itemsize
        if isinstance(field, PrimeField):
            blocks = [stream.integers(0, field.p, count) for _ in range(n_blocks)]
            matrix = stream.integers(0, field.p, (n_outputs, n_blocks))
        else:
            blocks = [
                stream.standard_normal(count, np.float32).astype(dtype) for _ in range(n_blocks)
            ]
            matrix = given
        print(measure(label, field, blocks, matrix, repeats), flush=True)
        del blocks
    print(
        "\n'naive sums' and 'tensordot': their time over that of combine. "
        "* of an array that is stacked already\n(in brackets: stacking counted), with weights "
        "rounded to the dtype of the data. 'extra': peak memory\nbesides blocks and outputs."
    )


if __name__ == "__main__":
    main()
