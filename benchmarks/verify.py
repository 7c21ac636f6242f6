"""What comparing results finds, what it overlooks, and what it costs.

    python benchmarks/verify.py [--quick] [--json FILE]

A group is one code, random blocks, one operand; results are NumPy products of shares, which are
then compared as on a cluster. Five tables, and figures beside their goals:

* clean products that are taken for wrong ones: none should be, for any data and dtype, small ones
  or so large that they are not summed in pieces;
* each bit of one entry flipped: how often that is noticed, how often the right share is named, and
  how large the errors are that pass (relative to the largest entry of the output);
* wrong results beside each other, up to as many as there are surplus results;
* seconds that measuring and comparing add to the products, linear algebra on one thread;
* seconds of a plain and of a verified product on a cluster of processes, parity included.
"""

# isort: split
import _one_thread  # noqa: F401  before NumPy

# isort: split
import time
import warnings
from typing import Any

import dask.array as da
import numpy as np
from _goals import Goals
from _goals import options as parser
from distributed import wait
from tqdm import tqdm  # type: ignore[import-untyped]

from dask_coded import encode
from dask_coded.cluster import enable
from dask_coded.codes import (
    MDS,
    AbstractCode,
    GeneralizedPolyDot,
    MatDot,
    Polynomial,
    Replication,
)
from dask_coded.errors import UnverifiableError, WrongResultError, WrongResultWarning
from dask_coded.fields import PAIRED
from dask_coded.graph import (
    PlainArithmetic,
    Verification,
    measured_result,
    row_lengths,
    verified,
)
from dask_coded.kernels import combine
from dask_coded.testing import EmulatedCluster

KINDS = ("normal", "positive", "constant", "sorted", "cancelling", "wide")


def blocks(kind: str, shape: tuple[int, int], dtype: str, rng: np.random.Generator) -> Any:
    """Data that rounds in all the ways we could think of."""
    values: Any = rng.normal(size=shape)
    if kind == "positive":
        values = rng.uniform(size=shape)
    elif kind == "constant":
        values = np.full(shape, rng.uniform(0.1, 1.0))
    elif kind == "sorted":
        values = np.sort(values, axis=1)
    elif kind == "cancelling":
        values -= values.mean(axis=1, keepdims=True)
    elif kind == "wide":
        values *= 10.0 ** rng.uniform(-8, 8, size=(shape[0], 1))
    if np.dtype(dtype).kind == "i":
        return (1000 * values).clip(-1e9, 1e9).astype(dtype)
    if dtype == "float16":
        # As large as sums of products may become without overflow.
        values = values.clip(-1, 1) / np.sqrt(shape[1])
    if np.dtype(dtype).kind == "c":
        values = values + 1j * rng.normal(size=shape)
    return values.astype(dtype)


class Group:
    """Measured results of one group."""

    def __init__(
        self,
        code: AbstractCode,
        dtype: str,
        rng: np.random.Generator,
        kind: str = "normal",
        shape: tuple[int, int, int] = (8, 64, 5),
    ) -> None:
        rows, inner, columns = shape
        self.code, self.how = code, Verification.asked("correct", inner)
        count = code.operand_grids[0][-1] if code.operation == "matmul" else code.k  # type: ignore[attr-defined]
        cuts = code.operand_grids[0][0] if code.operation == "matmul" else 1
        left = [blocks(kind, (rows, inner), dtype, rng) for _ in range(count * cuts)]
        shares = combine(code.generator(), left, field=code.field)
        if code.operation == "matmul":
            grid = code.operand_grids[1]
            right = [
                blocks(kind, (columns, inner), dtype, rng).T.copy()
                for _ in range(grid[0] * grid[1])
            ]
            operands = combine(code.generator(1), right, field=code.field)
        else:
            operand = blocks(kind, (columns, inner), dtype, rng).T.copy()
            if kind == "cancelling":
                operand = np.ones_like(operand)
            operands = [operand] * code.n_shares
        self.pairs = list(zip(shares, operands, strict=True))
        arithmetic = PlainArithmetic(np.matmul, dtype)
        self.results: list[Any] = [
            measured_result(arithmetic, None, None, a, b) for a, b in self.pairs
        ]

    def compare(self) -> tuple[str, tuple[Any, ...] | None, tuple[int, ...]]:
        """What is found, the outputs, and the shares named."""
        shares = range(self.code.n_shares)
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", WrongResultWarning)
                outputs = verified(self.how, self.code, "group", shares, *self.results)
        except WrongResultError:
            return "refused", None, ()
        for warning in caught:
            if warning.category is WrongResultWarning:
                named = str(warning.message).partition("[")[2].partition("]")[0]
                return "corrected", outputs, tuple(map(int, named.split(",")))
        return "clean", outputs, ()


CODES: list[AbstractCode] = [
    MDS(7, 4),
    MDS(12, 8, parity="gaussian"),
    MDS(8, 5, field=PAIRED),
    Polynomial(9, 2, 3),
    MatDot(8, 3),
    GeneralizedPolyDot(8, m=2, n=2),
]


#: Whose checks are whole numbers, as comparing integers takes.
WHOLE: list[AbstractCode] = [MDS(5, 4), Replication(9, 3)]


def clean(n_products: int, n_large: int, goals: Goals) -> None:
    print(
        f"clean products taken for wrong ones, of {n_products} small and {n_large} large per dtype"
    )
    print(f"{'dtype':12}{'false':>8}   by kind of data: {', '.join(KINDS)}")
    total = 0
    for dtype in ("float16", "float32", "float64", "complex64", "complex128", "int64"):
        rng = np.random.default_rng(0)
        false = dict.fromkeys(KINDS, 0)
        codes = WHOLE if dtype == "int64" else CODES
        codes = [c for c in codes if c.field != PAIRED or dtype[0] == "f"]
        # Products of these dtypes have no fast path, large or small.
        large = 0 if dtype in ("float16", "int64") else n_large
        for number in tqdm(range(n_products + large), dtype, leave=False, disable=None):
            kind = KINDS[number % len(KINDS)]
            shape = (8, int(rng.choice([3, 30, 300, 3000])), 5)
            if number >= n_products:
                shape = (96, 600, 80)
            group = Group(codes[number // len(KINDS) % len(codes)], dtype, rng, kind, shape)
            try:
                false[kind] += group.compare()[0] != "clean"
            except UnverifiableError:
                false[kind] += 1
        counts = ", ".join(map(str, false.values()))
        total += sum(false.values())
        print(f"{dtype:12}{sum(false.values()):8d}   {counts}", flush=True)
    goals.at_most("clean products taken for wrong ones", total, 0)


def flipped(dtype: str, n_groups: int, inner: int) -> None:
    bits = np.dtype(dtype).itemsize * 8
    code = MDS(7, 4)
    print(
        f"\nbits of {dtype} flipped in one entry of one result, {inner} products summed per entry, "
        f"{n_groups} groups per bit"
    )
    print("bits           noticed  right share named  largest error of an output")
    rows: list[tuple[float, float, float]] = []
    for bit in range(bits):
        noticed = named = 0
        worst = 0.0
        for seed in range(n_groups):
            rng = np.random.default_rng([seed, bit])
            group = Group(code, dtype, rng, shape=(8, inner, 5))
            right = [result[0].copy() for result in group.results[:4]]
            share = int(rng.integers(code.n_shares))
            flat = group.results[share][0].reshape(-1).view(f"u{bits // 8}")
            flat[rng.integers(flat.size)] ^= flat.dtype.type(1 << bit)
            verdict, outputs, shares = group.compare()
            if not np.isfinite(group.results[share][0]).all():
                noticed, named = noticed + 1, named + 1  # an erasure
            else:
                noticed += verdict != "clean"
                named += shares == (share,)
            if outputs is not None:
                size = max(np.abs(output).max() for output in right)
                errors = (
                    np.abs(x.astype(float) - y).max() for x, y in zip(outputs, right, strict=True)
                )
                worst = max(worst, float(max(errors) / size))
        rows.append((noticed / n_groups, named / n_groups, worst))
    first = 0
    for bit in range(1, bits + 1):
        # Bits that fare alike make one line.
        if bit == bits or rows[bit][:2] != rows[first][:2] or rows[first][0] not in (0, 1):
            span = f"{first}" if bit == first + 1 else f"{first}-{bit - 1}"
            found, named_part = rows[first][:2]
            worst = max(row[2] for row in rows[first:bit])
            print(f"{span:14} {found:7.0%}  {named_part:17.0%}  {worst:26.1e}", flush=True)
            first = bit


def several(n_groups: int, goals: Goals) -> None:
    print(f"\nwrong results beside each other: outputs right, refused, wrong, of {n_groups}")
    print(f"{'code':58} {'wrong':>5}  independent errors  all alike")
    missed = 0
    for code in CODES:
        if code.field == PAIRED:
            continue
        surplus = len(code.checker(range(code.n_shares)))
        for count in range(1, surplus + 1):
            cells = []
            for alike in (False, True):
                tally = {"right": 0, "refused": 0, "wrong": 0}
                for seed in range(n_groups):
                    rng = np.random.default_rng([seed, count])
                    group = Group(code, "float64", rng)
                    expected = [output.copy() for output in group.compare()[1] or ()]
                    error = rng.normal(size=group.results[0][0].shape)
                    for share in rng.choice(code.n_shares, count, replace=False):
                        own = error if alike else rng.normal(size=error.shape)
                        group.results[share][0][...] += own * (1 if alike else 10 ** rng.normal())
                    _, outputs, _ = group.compare()
                    if outputs is None:
                        tally["refused"] += 1
                    else:
                        close = all(
                            np.allclose(x, y, atol=1e-9)
                            for x, y in zip(outputs, expected, strict=True)
                        )
                        tally["right" if close else "wrong"] += 1
                if count < surplus and (not alike or 2 * count <= surplus):
                    missed += n_groups - tally["right"]
                cells.append(" / ".join(f"{number:4d}" for number in tally.values()))
            label = f"{code!r}, {surplus} surplus" if count == 1 else ""
            print(f"{label:58.58} {count:5d}  {cells[0]}  {cells[1]}", flush=True)
    goals.at_most("groups not corrected, of those that can be", missed, 0)


def cost(repeats: int, scale: float, goals: Goals) -> None:
    print("\nwhat comparing adds to the products of a group, best of several, one thread")
    print(
        f"{'blocks x inner x columns':28}{'dtype':9}{'products':>12}{'lengths':>11}{'compare':>11}"
        "  both  compare only (lengths kept)"
    )
    code = MDS(8, 6)
    for shape in ((1000, 1000, 1000), (500, 2000, 500), (2000, 2000, 8), (2000, 4000, 1)):
        rows, inner, columns = (max(1, int(length * scale)) for length in shape)
        for dtype in ("float32", "float64"):
            group = Group(code, dtype, np.random.default_rng(0), shape=(rows, inner, columns))
            times = []
            for work in (
                lambda group=group: [a @ b for a, b in group.pairs],
                lambda group=group: [(row_lengths(a), row_lengths(b.T)) for a, b in group.pairs],
                group.compare,
            ):
                best = np.inf
                for _ in range(repeats):
                    started = time.perf_counter()
                    work()
                    best = min(best, time.perf_counter() - started)
                times.append(best)
            label = f"{code.n_shares} of {rows} x {inner} x {columns}"
            print(
                f"{label:28}{dtype:9}{times[0]:10.4f} s{times[1]:9.4f} s{times[2]:9.4f} s"
                f"{(times[1] + times[2]) / times[0]:8.1%}  {times[2] / times[0]:6.1%}",
                flush=True,
            )

            # Small products cost next to nothing, and so are no measure.
            if scale == 1.0 and shape[2] > 100:
                added = 100 * (times[1] + times[2]) / times[0]
                goals.at_most(f"added to {label} {dtype}", added, 5.0, " %")


def on_a_cluster(repeats: int, scale: float, goals: Goals) -> None:
    """A matrix that is kept, times another: plain, with parity, and with results compared."""
    rows, inner, columns = (int(length * scale) for length in (6000, 2000, 1000))
    rng = np.random.default_rng(0)
    a, x = rng.normal(size=(rows, inner)), rng.normal(size=(inner, columns))
    arms: dict[str, float] = {}
    with EmulatedCluster(8) as cluster, cluster.client() as client:
        enable(client)
        chunked = da.from_array(a, chunks=(-(-rows // 6), -1))
        for name, matrix in (
            ("plain", chunked),
            ("coded", encode(chunked, parity=2)),
            ("verified", encode(chunked, parity=2, verify="correct")),
        ):
            kept = matrix.persist()
            wait(kept)
            times = []
            for _ in range(repeats + 1):
                started = time.perf_counter()
                wait((kept @ x).persist())
                times.append(time.perf_counter() - started)
            arms[name] = float(np.median(times[1:]))
            del kept
    print(f"\n{rows} x {inner} x {columns} on 8 workers of a cluster, median of {repeats} products")
    for name, seconds in arms.items():
        print(f"{name:10} {seconds:8.3f} s  {seconds / arms['plain']:6.2f} of plain", flush=True)
    goals.raw["cluster"] = arms


def main() -> None:
    asked = parser((__doc__ or "").partition("\n")[0]).parse_args()
    quick, goals = asked.quick, Goals()
    clean(60 if quick else 10_000, 12 if quick else 300, goals)
    for dtype, inner in (("float64", 1000), ("float32", 1000), ("float32", 30)):
        flipped(dtype, 2 if quick else 50, inner)
    several(3 if quick else 100, goals)
    cost(2 if quick else 5, 0.1 if quick else 1.0, goals)
    on_a_cluster(2 if quick else 15, 0.1 if quick else 1.0, goals)
    goals.print()
    goals.write(asked.json)


if __name__ == "__main__":
    main()
