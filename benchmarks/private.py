"""Private products: thresholds beside their formulas, and what privacy costs.

python benchmarks/private.py [--quick] [--json FILE]

Threshold: the fewest results of which every set tried decodes, by rank over the prime field, beside
the formula. Cost: wall time and bytes sent and returned, beside what a user would do instead:
multiply on workers that may see everything, send it all to one trusted worker, or stay at home.
All processes share this machine, so times compare amounts of work and not clusters.
"""

import time
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
from _goals import Goals, machine, options
from distributed import Client

from dask_coded import private
from dask_coded.codes import (
    AbstractPrivateCode,
    PrivateBivariate,
    PrivateEntangled,
    PrivateLagrange,
)
from dask_coded.fields import PrimeField
from dask_coded.testing import EmulatedCluster

M31, M61 = PrimeField(2**31 - 1), PrimeField(2**61 - 1)


def measured_threshold(code: AbstractPrivateCode, samples: int) -> int:
    """Largest count at which a sampled set fails, plus one."""
    stream = np.random.default_rng(0)
    field = code.field
    targets = code.targets()
    responses = code.responses()
    worst = 0
    for _ in range(samples):
        order = stream.permutation(code.n_shares)
        low, high = 0, code.n_shares
        while high - low > 1:
            count = (low + high) // 2
            found = field.solve(responses[order[:count]], targets)
            low, high = (low, count) if found is not None else (count, high)
        worst = max(worst, high)
    return worst


def thresholds(samples: int, goals: Goals) -> None:
    cases: list[tuple[str, AbstractPrivateCode]] = []
    for m, p, n, t in ((1, 2, 1, 1), (1, 4, 1, 2), (3, 1, 1, 1), (2, 1, 2, 2), (2, 2, 2, 1)):
        needed = (m * p + t) * (n + 1) - 1
        cases.append(("(mp+T)(n+1)-1", PrivateEntangled(needed + 3, m, p, n, t, M31)))
    for k, t in ((2, 1), (4, 2), (3, 3)):
        cases.append(("2(k+T-1)+1", PrivateLagrange(2 * (k + t - 1) + 4, k, 2, t, M31)))
    for m, n, s, t in ((2, 2, 2, 1), (2, 3, 2, 1), (2, 3, 3, 2)):
        needed = (m + t) * n + s * (m + t - 1)
        n_shares = (needed // s + 2) * s
        cases.append(("(m+T)n+s(m+T-1)", PrivateBivariate(n_shares, m, n, s, t, field=M31)))
    print(f"{'code':66} {'formula':16} {'stated':>7} {'measured':>9}")
    for formula, code in cases:
        name = repr(code).partition(", field")[0].partition(", seed")[0] + ")"
        found = measured_threshold(code, samples)
        goals.note("thresholds", code=name, stated=code.recovery_threshold, measured=found)
        print(f"{name:66} {formula:16} {code.recovery_threshold:7d} {found:9d}", flush=True)


def timed(action: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Least seconds of a call, and its result."""
    times = []
    result: Any = None
    for _ in range(repeats):
        start = time.perf_counter()
        result = action()
        times.append(time.perf_counter() - start)
    return min(times), result


def moved(code: AbstractPrivateCode, r: int, k: int, c: int) -> float:
    """Megabytes to and from all workers."""
    (m, p), (_, n) = code.operand_grids
    size = 4 if code.field == M31 else 8
    left = len(code.workers) * (-(-r // m) * -(-k // p))
    each = -(-k // p) * -(-c // n) + -(-r // m) * -(-c // n)
    return (left + code.n_shares * each) * size / 1e6


def costs(client: Client, cluster: EmulatedCluster, size: int, repeats: int, goals: Goals) -> None:
    r, k, c = size, size, size // 2
    stream = np.random.default_rng(0)
    a, b = stream.integers(-99, 100, (r, k)), stream.integers(-99, 100, (k, c))
    expected = a @ b
    plain_bytes = (r * k + 8 * k * c + r * c) * 8 / 1e6
    one_bytes = (r * k + k * c + r * c) * 8 / 1e6
    trusted = cluster.workers["w0"].address

    def uncoded() -> Any:
        left = da.from_array(a.astype(float), chunks=(-(-r // 8), k))
        return (left @ da.from_array(b.astype(float), chunks=(k, c))).compute()

    def one_worker() -> Any:
        left, right = client.scatter([a.astype(float), b.astype(float)], workers=[trusted])
        return client.submit(np.matmul, left, right, workers=[trusted], pure=False).result()

    arms: list[tuple[str, Callable[[], Any], float]] = [
        ("NumPy here, float64", lambda: a.astype(float) @ b.astype(float), 0.0),
        (
            "exact here, one prime",
            lambda: M61.decode_signed(M61.matmul(M61.encode_signed(a), M61.encode_signed(b))),
            0.0,
        ),
        ("plain Dask, seen by all", uncoded, plain_bytes),
        ("all to one trusted worker", one_worker, one_bytes),
    ]
    for t in (1, 2):
        for field in (M31, M61):
            code = PrivateEntangled(8, 1, 3 - t + 1, 1, t, field)
            for verify in (False, True):
                label = f"private p={code.p} T={t} {'2^31' if field == M31 else '2^61'}"
                arms.append(
                    (
                        label + (" verified" if verify else ""),
                        lambda code=code, t=t, verify=verify: private.matmul(
                            a, b, t, code=code, verify=verify, client=client
                        ),
                        moved(code, r, k, c),
                    )
                )
    partial = PrivateBivariate(16, 2, 2, 2, 1, field=M31)
    arms.append(
        (
            "private bivariate T=1 2^31",
            lambda: private.matmul(a, b, 1, code=partial, client=client),
            moved(partial, r, k, c),
        )
    )
    print(f"\n({r}, {k}) @ ({k}, {c}), 8 workers, integers")
    print(f"{'':36} {'seconds':>8} {'x plain':>8} {'MB moved':>9} {'exact':>6}")
    rows = [(name, *timed(action, repeats), megabytes) for name, action, megabytes in arms]
    plain = next(seconds for name, seconds, *_ in rows if name.startswith("plain Dask"))
    for name, seconds, result, megabytes in rows:
        exact = "yes" if (result == expected).all() else "no"
        goals.note("costs", size=size, arm=name, seconds=seconds, megabytes=megabytes, exact=exact)
        print(f"{name:36} {seconds:8.3f} {seconds / plain:7.1f}x {megabytes:9.1f} {exact:>6}")


def main() -> None:
    args = options(__doc__ or "").parse_args()
    quick = args.quick
    print(machine())
    goals = Goals()
    thresholds(5 if quick else 200, goals)
    with EmulatedCluster(8) as cluster, cluster.client() as client:
        for size in (96,) if quick else (512, 1536):
            costs(client, cluster, size, 1 if quick else 3, goals)
    goals.write(args.json)


if __name__ == "__main__":
    main()
