"""What a coded product costs before anything is computed: building and optimising its graph.

python benchmarks/graphs.py [--quick] [--json FILE]
"""

import gc
import pickle
import time
import warnings
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
from _goals import Goals, machine, options
from dask.array.optimization import optimize as dask_optimize
from dask.core import flatten

from dask_coded.array import coded_matmul, optimize

#: Times what Dask takes for both steps, for the product of the most chunks.
WITHIN = 2.0


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of one call, and its result, with nothing else to collect."""
    gc.collect()
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def measure(
    build: Callable[[], da.Array], hook: Callable[..., Any], repeats: int
) -> tuple[float, float, int, int]:
    """Least seconds to build and to optimise, number of tasks, and bytes as sent."""
    building, optimising = [], []
    graph: dict[Any, Any] = {}
    for _ in range(repeats):
        seconds, array = timed(build)
        building.append(seconds)
        keys = list(flatten(array.__dask_keys__()))
        high = array.__dask_graph__()
        seconds, graph = timed(lambda high=high, keys=keys: dict(hook(high, keys)))
        optimising.append(seconds)
    sent = len(pickle.dumps(build().__dask_graph__()))
    return min(building), min(optimising), len(graph), sent


def operands(rows: int, inner: int, columns: int) -> tuple[da.Array, da.Array]:
    """Matrices of zeros with that many chunks; what is in them does not matter here."""
    a = da.zeros((rows * 4, inner * 4), chunks=(4, 4))
    b = da.zeros((inner * 4, columns * 4), chunks=(4, 4))
    return a, b


def main() -> None:
    args = options(__doc__).parse_args()
    quick = args.quick
    print(machine())
    goals = Goals()
    # That a product has more chunks than its operands is what is measured here.
    warnings.simplefilter("ignore", da.PerformanceWarning)
    repeats = 1 if quick else 5
    cases = [(8, 1, 8), (4, 4, 4)] if quick else [(64, 1, 64), (16, 16, 16), (64, 1, 1)]
    print(
        f"{'chunks':>12} {'product':22} {'build ms':>9} {'optimise ms':>12} {'both':>6} "
        f"{'tasks':>7} {'sent kB':>8}"
    )
    for case in cases:
        a, b = operands(*case)
        with optimize(parity=2) as hook:
            arms: dict[str, tuple[Callable[[], da.Array], Callable[..., Any]]] = {
                "Dask's": (lambda a=a, b=b: a @ b, dask_optimize),
                "coded_matmul": (lambda a=a, b=b: coded_matmul(a, b, parity=2), dask_optimize),
                "Dask's, optimised": (lambda a=a, b=b: a @ b, hook),
            }
        plain = np.nan
        for name, (build, optimiser) in arms.items():
            building, optimising, tasks, sent = measure(build, optimiser, repeats)
            total = building + optimising
            chunks = "x".join(map(str, case))
            if name == "Dask's":
                plain = total
            elif case == cases[0]:
                what = f"build and optimise, {chunks} chunks: {name} / Dask's"
                goals.at_most(what, total / plain, WITHIN)
            goals.note(
                "graphs",
                chunks=chunks,
                product=name,
                build=building,
                optimise=optimising,
                tasks=tasks,
                sent=sent,
            )
            print(
                f"{chunks:>12} {name:22} {building * 1e3:9.1f} "
                f"{optimising * 1e3:12.1f} {total / plain:5.2f}x {tasks:7d} {sent / 1e3:8.0f}",
                flush=True,
            )
    goals.print()
    goals.write(args.json)


if __name__ == "__main__":
    main()
