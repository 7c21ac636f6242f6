"""How close do the GPU kernels come to copying, and how far do they leave cuBLAS behind?

    python benchmarks/gpu.py [--quick] [--minutes 8] [--results FOLDER]

Checks every kernel against NumPy and exact integers, and times: bytes read and written once, as a
share of what copying moves in the same time. cuBLAS gets the same blocks stacked, and stacking
counted. After each case it writes results/gpu-DEVICE-DATE.json and .txt; after --minutes it writes
what it has and ends. Needs CuPy, NumPy and SciPy only; Dask is not needed. Without a device it says
so and, with --quick, runs the same checks and measurements on the CPU emulation (whose times mean
nothing) and compiles the kernels, as far as there are compilers.
"""

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

# First, because the second makes the package importable.
from _gpu_bench import Bench
from _gpu_checks import GOLDILOCKS, bfloat16, checks

from dask_coded.codes import MDS
from dask_coded.errors import DeviceError
from dask_coded.fields import PrimeField
from dask_coded.kernels import (
    candidate_distances,
    candidate_products,
    combine,
    fuse_distances,
    top_k,
)
from dask_coded.kernels.gpu import combine_modulo, require_device, use_route
from dask_coded.kernels.gpu.emulation import cuda_compiler, emulated_cupy, host_compiler

WANTED = [(16, 4), (32, 8)]
SIZES = [*WANTED, (4, 1), (8, 2), (64, 16)]
#: Label, dtype, weights that are multiplied by so much, prime.
KINDS: list[tuple[str, str, float, int]] = [
    ("float32", "f4", 1, 0),
    ("float32, float64 sums", "f4", 1e5, 0),
    ("float64", "f8", 1, 0),
    ("float16", "f2", 1, 0),
    ("bfloat16", "bfloat16", 1, 0),
    ("complex64", "c8", 1, 0),
    ("complex128", "c16", 1, 0),
    ("2^31 - 1, uint32", "u4", 1, 2**31 - 1),
    ("2^31 - 1, int64", "i8", 1, 2**31 - 1),
    ("2^61 - 1", "i8", 1, 2**61 - 1),
    ("2^64 - 2^32 + 1", "u8", 1, GOLDILOCKS),
]
REAL_KINDS = {"float32", "float32, float64 sums", "float64", "float16", "bfloat16"}


# --- measurements -----------------------------------------------------------------------------


def copying(bench: Bench) -> str:
    """The ceiling: one array into another."""
    cupy = bench.cupy
    source = cupy.zeros((bench.bytes // 4,), np.uint8)
    target = cupy.empty((bench.bytes // 4,), np.uint8)

    def copy() -> None:
        target[...] = source

    bench.copy = 2 * source.nbytes / bench.seconds(copy)
    bench.note("copy", bytes_per_second=bench.copy)
    return f"{bench.copy / 1e9:8.0f} GB/s"


def combining(bench: Bench, k: int, r: int, kind: tuple[str, str, float, int]) -> str:
    label, name, scale, p = kind
    cupy, stream = bench.cupy, np.random.default_rng(0)
    dtype = bfloat16() if name == "bfloat16" else np.dtype(name)
    # Blocks, their outputs, and both again in a stack for cuBLAS.
    length = int(bench.bytes // (2 * (k + r)) // dtype.itemsize)
    length = length // 4096 * 4096 or length // 16 * 16
    pattern = stream.integers(0, 2**31 - 1, 4096) if p else stream.standard_normal(4096)
    pattern = cupy.asarray(pattern.astype(dtype))
    blocks = []
    for _ in range(k):
        filled = cupy.empty((length,), dtype)
        filled.reshape(-1, min(length, 4096))[...] = pattern[:length]
        blocks.append(filled)
    out = [cupy.empty((length,), dtype) for _ in range(r)]
    weights: Any = scale * stream.uniform(0.5, 1, (r, k)) / k
    if p == GOLDILOCKS:
        weights = stream.integers(0, 2**62, (r, k))
        run = partial(combine_modulo, weights, blocks, p, out=out)
    elif p:
        weights = stream.integers(0, p, (r, k))
        run = partial(combine, weights, blocks, field=PrimeField(p), out=out)
    else:
        run = partial(combine, weights, blocks, out=out)
    began = time.monotonic()
    run()
    first = time.monotonic() - began
    taken = bench.seconds(run)
    rate = (k + r) * blocks[0].nbytes / taken
    share = rate / bench.copy
    said = f"{1e3 * taken:9.3f} ms {rate / 1e9:8.0f} GB/s {share:7.1%} of copy"
    waited = bench.latency(run)
    said += f" {1e3 * waited:9.3f} ms if waited for,"
    row: dict[str, Any] = {
        "seconds": taken,
        "latency": waited,
        "first_call": first,
        "of_copy": share,
    }
    if not p and name != "bfloat16":
        row |= by_cublas(bench, weights.astype(dtype), blocks)
        said += (
            f" {row['cublas'] / taken:6.1f}x cuBLAS on a stack,"
            f" {row['stacking'] / taken:6.1f}x with stacking"
        )
    if p:
        row["multiply_adds_per_second"] = k * r * length / taken
        said += f" {k * r * length / taken / 1e9:8.0f} G multiply-adds/s"
    bench.note("combine", kind=label, k=k, r=r, length=length, **row)
    return said


def by_cublas(bench: Bench, weights: Any, blocks: list[Any]) -> dict[str, float]:
    cupy = bench.cupy
    matrix = cupy.asarray(weights)
    stack = cupy.stack(blocks)
    plain = bench.seconds(partial(cupy.matmul, matrix, stack))
    del stack
    stacking = bench.seconds(lambda: cupy.matmul(matrix, cupy.stack(blocks)))
    return {"cublas": plain, "stacking": stacking}


def routed(bench: Bench, k: int, r: int, name: str) -> str:
    """Many outputs of blocks that lie in one stack: which route is faster, and which is taken?"""
    cupy, dtype = bench.cupy, np.dtype(name)
    length = int(bench.bytes // (2 * (k + r)) // dtype.itemsize // 16 * 16)
    # Both routes allocate their outputs here: with `out` no rule is asked.
    blocks = list(cupy.full((k, length), 0.5, dtype))
    weights = np.random.default_rng(0).uniform(0.5, 1, (r, k)) / k
    taken: dict[str, float] = {}
    try:
        for route in ("combine", "cublas", None):
            use_route(route)
            taken[route or "default"] = bench.seconds(partial(combine, weights, blocks))
    finally:
        use_route(None)
    bench.note("routes", kind=name, k=k, r=r, length=length, **taken)
    better = min(("combine", "cublas"), key=lambda route: taken[route])
    lost = taken["default"] / taken[better]
    shown = ", ".join(f"{route} {1e3 * each:.3f} ms" for route, each in taken.items())
    return f"{shown}: the rule takes {lost:.2f} of the time of {better}"


def decoding(bench: Bench, lost: int) -> str:
    """Of a systematic code of 16 + 4 shares: the lost outputs only, the others are there."""
    code = MDS(20, 16)
    decoder = code.decoder(range(lost, 20))
    weights = np.asarray(decoder.weights)[:lost]
    length = int(bench.bytes // 64 // 4 // 16 * 16)
    results = [bench.cupy.full((length,), 0.5, np.float32) for _ in decoder.shares]
    out = [bench.cupy.empty((length,), np.float32) for _ in range(lost)]
    taken = bench.seconds(partial(combine, weights, results, out=out))
    moved = int((weights != 0).any(axis=0).sum()) + lost
    share = moved * results[0].nbytes / taken / bench.copy
    bench.note("decode", lost=lost, seconds=taken, of_copy=share)
    return f"{1e3 * taken:9.3f} ms, {share:7.1%} of copy"


def selecting(bench: Bench, n_rows: int, columns: int, k: int) -> str:
    cupy = bench.cupy
    values = cupy.asarray(np.random.default_rng(0).random((n_rows, columns), np.float32))
    ours = bench.seconds(lambda: top_k(values, k))
    theirs = bench.seconds(lambda: cupy.argpartition(values, k - 1, axis=1)[:, :k])
    bench.note("top_k", rows=n_rows, columns=columns, k=k, seconds=ours, argpartition=theirs)
    return f"{1e3 * ours:9.3f} ms {theirs / ours:8.1f}x cupy.argpartition"


def gathering(bench: Bench, n_pairs: int, features: int) -> str:
    cupy, stream = bench.cupy, np.random.default_rng(0)
    n_points = n_pairs // 2 + 1
    points = cupy.full((n_points, features), 0.5, np.float32)
    queries = cupy.full((100, features), 0.5, np.float32)
    rows = cupy.asarray(stream.integers(0, n_points, n_pairs))
    starts = cupy.asarray(np.linspace(0, n_pairs, 101).astype(np.int64))
    taken = bench.seconds(lambda: candidate_distances(points, queries, rows, starts))
    rate = n_pairs * features * 4 / taken
    bench.note("candidates", pairs=n_pairs, features=features, seconds=taken, bytes_per_second=rate)
    return f"{1e3 * taken:9.3f} ms {rate / 1e9:8.0f} GB/s of gathered rows"


def fusing(bench: Bench, n_pairs: int, parts: int) -> str:
    """Distances from products of features that are dealt to some places."""
    cupy, stream = bench.cupy, np.random.default_rng(0)
    n_points, features = n_pairs // 2 + 1, 32
    points = cupy.full((n_points, features), 0.5, np.float32)
    queries = cupy.full((100, features), 0.5, np.float32)
    rows = cupy.asarray(stream.integers(0, n_points, n_pairs))
    starts = cupy.asarray(np.linspace(0, n_pairs, 101).astype(np.int64))
    products = [candidate_products(points, queries, rows, starts) for _ in range(parts)]
    norms = [cupy.full((count,), 8.0 * parts) for count in (n_points, 100)]
    taken = bench.seconds(lambda: fuse_distances([1] * parts, products, *norms, rows, starts))
    rate = n_pairs * (parts + 1) * products[0].dtype.itemsize / taken
    bench.note("fuse", pairs=n_pairs, parts=parts, seconds=taken, bytes_per_second=rate)
    return f"{1e3 * taken:9.3f} ms {rate / 1e9:8.0f} GB/s of products and distances"


def multiplying(bench: Bench, n: int) -> str:
    """A product of n x n, plain, and coded with 8 + 2 shares of which two are lost."""
    cupy, k, s = bench.cupy, 8, 2
    code = MDS(k + s, k)
    a = cupy.asarray(np.random.default_rng(0).standard_normal((n, n), np.float32))
    b = cupy.asarray(np.random.default_rng(1).standard_normal((n, n), np.float32))
    plain = bench.seconds(lambda: cupy.matmul(a, b))
    blocks = [a[i * n // k : (i + 1) * n // k] for i in range(k)]
    generator = np.asarray(code.generator())[k:]
    shares = [*blocks, *combine(generator, blocks)]
    encode = bench.seconds(lambda: combine(generator, blocks))
    survivors = list(range(s, k + s))
    results = [cupy.matmul(shares[i], b) for i in survivors]
    weights = np.asarray(code.decoder(survivors).weights)[:s]
    lost = combine(weights, results)
    decode = bench.seconds(lambda: combine(weights, results))
    exact = cupy.matmul(blocks[0], b).get()
    error = float(np.abs(lost[0].get() - exact).max() / np.abs(exact).max())
    extra = bench.seconds(lambda: [cupy.matmul(share, b) for share in shares]) - plain
    bench.note("product", n=n, plain=plain, encode=encode, decode=decode, extra=extra, error=error)
    return (
        f"{1e3 * plain:9.3f} ms plain, encode {encode / plain:6.2%}, decode {decode / plain:6.2%}, "
        f"parity products {extra / plain:6.1%}, error {error:.1e}"
    )


def measure(bench: Bench) -> None:
    """Everything, the most wanted first: time may run out."""
    quick = bench.quick
    bench.cases("copy of one array into another: the ceiling", {"copy": partial(copying, bench)})
    if not bench.copy:
        return

    def sums(kind: tuple[str, str, float, int], sizes: list[tuple[int, int]]) -> None:
        bench.cases(
            f"combine: {kind[0]}",
            {f"{k} blocks into {r}": partial(combining, bench, k, r, kind) for k, r in sizes},
        )

    sums(KINDS[0], WANTED if not quick else SIZES[2:3])
    bench.cases(
        "decoding lost outputs of 16 + 4 shares, float32",
        {f"{s} lost": partial(decoding, bench, s) for s in ((1,) if quick else (1, 2, 3, 4))},
    )
    bench.cases(
        "products, float32, 8 + 2 shares, two lost",
        {f"{n} x {n}": partial(multiplying, bench, n) for n in ((64,) if quick else (16384, 8192))},
    )
    bench.cases("right?", dict(checks(bench.cupy)))
    for kind in KINDS[1:] if not quick else KINDS[-1:]:
        sums(kind, WANTED if not quick else SIZES[2:3])
    stacked = [(16, 32), (64, 32), (64, 64)] if not quick else [(4, 32)]
    bench.cases(
        "combine: blocks in one stack, by either route",
        {
            f"{k} blocks into {r}, {name}": partial(routed, bench, k, r, name)
            for name in (("float32", "float64") if not quick else ("float32",))
            for k, r in stacked
        },
    )
    shapes = [(2, 300, 10)] if quick else [(1000, 8192, 10), (100, 10**6, 100), (1, 10**8, 10)]
    bench.cases(
        "top-k, float32",
        {f"{k} of {m} in {q} rows": partial(selecting, bench, q, m, k) for q, m, k in shapes},
    )
    shape = (100, 64) if quick else (500_000, 128)
    bench.cases(
        "distances of candidates, float32",
        {f"{shape[0]} pairs of {shape[1]} features": partial(gathering, bench, *shape)},
    )
    pairs = 100 if quick else 20_000_000
    bench.cases(
        "distances from products of parts, float32",
        {f"{pairs} pairs, 4 parts": partial(fusing, bench, pairs, 4)},
    )
    if not quick:
        for kind in KINDS:
            sums(kind, SIZES[len(WANTED) :])


# --- what is said -----------------------------------------------------------------------------


def goals(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each goal with the worst figure found for it; None where nothing was measured."""

    def worst(figures: list[float], least: bool) -> float | None:
        return (min(figures) if least else max(figures)) if figures else None

    wanted = [row for row in rows if row["table"] == "combine" and (row["k"], row["r"]) in WANTED]
    shares = [row["of_copy"] for row in wanted if row["kind"] in REAL_KINDS]
    ahead = [row["stacking"] / row["seconds"] for row in wanted if "stacking" in row]
    overhead = [
        (row["encode"] + row["decode"]) / row["plain"]
        for row in rows
        if row["table"] == "product" and row["n"] == 16384
    ]
    found = [
        ("real fields at (16, 4) and (32, 8), share of copy", ">=", 0.85, worst(shares, True)),
        ("the same, times cuBLAS with stacking", ">=", 2.0, worst(ahead, True)),
        ("encode + decode of a product of 16384", "<", 0.05, worst(overhead, False)),
    ]
    return [
        {
            "goal": f"{text} {sign} {bound:g}",
            "worst": value,
            "met": None if value is None else (value >= bound) == (sign == ">="),
        }
        for text, sign, bound, value in found
    ]


def compiled() -> None:
    """Registers and spills of some kernels, where there is a CUDA compiler."""
    compiler = cuda_compiler()
    if compiler is None:
        print("\nnot compiled: no NVRTC (wheel nvidia-cuda-nvrtc-cu12) and no nvcc")
        return
    print(f"\ncompiled by {compiler.name} for compute capability 9.0")
    with emulated_cupy() as cupy:
        blocks = [cupy.zeros((64,), np.float32)] * 16
        combine(np.full((4, 16), 0.5), blocks)
        top_k(cupy.zeros((1, 64), np.float32), 10)
        for name, source in cupy.standin.launches:
            found = compiler.compiled(source)
            print(f"  {name:44} {found.registers} registers, {found.spilled} bytes spilled")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="tiny; without a device too")
    parser.add_argument("--minutes", type=float, default=8, help="write and end after so long")
    parser.add_argument(
        "--results", type=Path, help="where to write; results/, or nowhere without a device"
    )
    options = parser.parse_args()
    try:
        cupy = require_device()
    except DeviceError as error:
        print(f"no device: {error}")
        if not options.quick:
            return 1
        if host_compiler() is None:
            print("not emulated: no g++ with C++20 threads")
            return 0
        print("emulated on the CPU: what is checked is checked, what is timed means nothing")
        described = {"device": "CPU emulation"}
        with (
            emulated_cupy() as cupy,
            Bench(cupy, described, True, options.minutes, options.results, goals) as bench,
        ):
            measure(bench)
        compiled()
        return 1 if bench.failed else 0
    device = cupy.cuda.Device()
    properties = cupy.cuda.runtime.getDeviceProperties(device.id)
    described = {
        "device": properties["name"].decode(),
        "capability": device.compute_capability,
        "cupy": cupy.__version__,
        "nvrtc": ".".join(map(str, cupy.cuda.nvrtc.getVersion())),
        "driver": cupy.cuda.runtime.driverGetVersion(),
    }
    folder = options.results or Path("results")
    with Bench(cupy, described, options.quick, options.minutes, folder, goals) as bench:
        try:
            measure(bench)
        except Exception as error:  # what was measured before is written all the same
            bench.failed.append(f"{type(error).__name__}: {error}")
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
