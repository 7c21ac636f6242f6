"""How close do the GPU kernels come to copying, and how far do they leave cuBLAS behind?

    python benchmarks/gpu.py [--quick] [--minutes 8] [--json FILE]

Checks every kernel against NumPy and exact integers, then times: bytes read and written once, as a
share of what copying moves in the same time. cuBLAS gets the same blocks stacked, and stacking
counted. Needs CuPy, NumPy and SciPy only; Dask is not needed. Without a device it says so and, with
--quick, runs the same checks and measurements on the CPU emulation (whose times mean nothing) and
compiles the kernels, as far as there are compilers.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

# First, because it makes the package importable.
from _gpu_checks import GOLDILOCKS, checks

from dask_coded.codes import MDS
from dask_coded.errors import CodedError, DeviceError
from dask_coded.fields import PrimeField
from dask_coded.kernels import candidate_distances, combine, top_k
from dask_coded.kernels.gpu import combine_modulo, require_device
from dask_coded.kernels.gpu.emulation import cuda_compiler, emulated_cupy, host_compiler

GIB = 1 << 30
SIZES = [(4, 1), (8, 2), (16, 4), (32, 8), (64, 16)]
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
REAL_KINDS = {"float32", "float64", "float16", "bfloat16"}


class Bench:
    """One run: the device, how large and how long, and what was found."""

    def __init__(self, cupy: Any, quick: bool, minutes: float) -> None:
        self.cupy, self.quick = cupy, quick
        self.until = time.monotonic() + 60 * minutes
        self.rows: list[dict[str, Any]] = []
        self.failed: list[str] = []
        self.copy = 0.0
        free, _ = cupy.cuda.runtime.memGetInfo()
        self.bytes = min(free // 3, 16 * GIB) if not quick else 1 << 16

    def seconds(self, action: Callable[[], object]) -> float:
        """Median time on the device; the first call, which may compile, does not count."""
        cupy = self.cupy
        action()
        cupy.cuda.runtime.deviceSynchronize()
        taken: list[float] = []
        began = time.monotonic()
        while len(taken) < (2 if self.quick else 5) or (
            time.monotonic() - began < 0.25 and len(taken) < 50 and not self.quick
        ):
            start, stop = cupy.cuda.Event(), cupy.cuda.Event()
            start.record()
            action()
            stop.record()
            stop.synchronize()
            taken.append(cupy.cuda.get_elapsed_time(start, stop) / 1e3)
        return float(np.median(taken))

    def cases(self, what: str, actions: dict[str, Callable[[], str]]) -> None:
        """Run each and print what it returns; what fails is named and does not stop the rest."""
        print(f"\n{what}")
        for label, action in actions.items():
            if time.monotonic() > self.until:
                print(f"  {label:44} left out: time is up")
                continue
            try:
                print(f"  {label:44} {action()}", flush=True)
            except Exception as error:  # one kernel that fails must not hide what the others do
                self.failed.append(f"{what}: {label}: {type(error).__name__}: {error}")
                print(f"  {label:44} FAILED: {type(error).__name__}: {error}", flush=True)
            self.cupy.get_default_memory_pool().free_all_blocks()

    def note(self, table: str, **values: Any) -> None:
        self.rows.append({"table": table, **values})


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


def dtype_of(name: str) -> Any:
    if name != "bfloat16":
        return np.dtype(name)
    import ml_dtypes

    return np.dtype(ml_dtypes.bfloat16)


def combining(bench: Bench, k: int, r: int, kind: tuple[str, str, float, int]) -> str:
    label, name, scale, p = kind
    cupy, stream = bench.cupy, np.random.default_rng(0)
    dtype = dtype_of(name)
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
    row: dict[str, Any] = {"seconds": taken, "first_call": first, "of_copy": share}
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
    bench.cases("right?", dict(checks(bench.cupy)))
    bench.cases("copy of one array into another: the ceiling", {"copy": partial(copying, bench)})
    if not bench.copy:
        return
    n = 64 if quick else 1
    products = {f"{n * m} x {n * m}": n * m for m in ((1,) if quick else (8192, 16384))}
    sizes = SIZES[2:3] + SIZES[:2] + SIZES[3:] if not quick else SIZES[:1]
    kinds = KINDS if not quick else [KINDS[0], KINDS[-1]]
    for kind in kinds:
        bench.cases(
            f"combine: {kind[0]}",
            {f"{k} blocks into {r}": partial(combining, bench, k, r, kind) for k, r in sizes},
        )
    bench.cases(
        "products, float32, 8 + 2 shares, two lost",
        {label: partial(multiplying, bench, m) for label, m in products.items()},
    )
    bench.cases(
        "decoding lost outputs of 16 + 4 shares, float32",
        {f"{s} lost": partial(decoding, bench, s) for s in ((1,) if quick else (1, 2, 3, 4))},
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


# --- what is said -----------------------------------------------------------------------------


def goals(bench: Bench) -> list[dict[str, Any]]:
    """Each goal with the worst figure found for it; None where nothing was measured."""

    def worst(figures: list[float], least: bool) -> float | None:
        return (min(figures) if least else max(figures)) if figures else None

    wanted = [
        row
        for row in bench.rows
        if row["table"] == "combine" and (row["k"], row["r"]) in ((16, 4), (32, 8))
    ]
    shares = [row["of_copy"] for row in wanted if row["kind"] in REAL_KINDS]
    ahead = [row["stacking"] / row["seconds"] for row in wanted if "stacking" in row]
    overhead = [
        (row["encode"] + row["decode"]) / row["plain"]
        for row in bench.rows
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


def tell(bench: Bench, described: dict[str, Any], path: Path | None) -> None:
    print("\ngoals")
    reached = goals(bench)
    for goal in reached:
        verdict = {True: "met", False: "MISSED", None: "not measured"}[goal["met"]]
        figure = "" if goal["worst"] is None else f" (worst: {goal['worst']:.3g})"
        print(f"  {goal['goal']:64} {verdict}{figure}")
    for line in bench.failed:
        print(f"  FAILED {line}")
    if path is not None:
        whole = described | {"rows": bench.rows, "goals": reached, "failed": bench.failed}
        path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


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
    parser.add_argument("--minutes", type=float, default=8, help="no new case after so long")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
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
        with emulated_cupy() as cupy:
            bench = Bench(cupy, True, options.minutes)
            measure(bench)
            tell(bench, {"device": "CPU emulation"}, options.json)
        compiled()
        return 1 if bench.failed else 0
    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
    described = {
        "device": properties["name"].decode(),
        "cupy": cupy.__version__,
        "numpy": np.__version__,
        "nvrtc": ".".join(map(str, cupy.cuda.nvrtc.getVersion())),
        "driver": cupy.cuda.runtime.driverGetVersion(),
    }
    print(", ".join(f"{name} {value}" for name, value in described.items()))
    bench = Bench(cupy, options.quick, options.minutes)
    try:
        measure(bench)
    except CodedError as error:
        bench.failed.append(f"{type(error).__name__}: {error}")
    tell(bench, described, options.json)
    return 1 if bench.failed else 0


if __name__ == "__main__":
    sys.exit(main())
