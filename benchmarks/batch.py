"""Batches of products that share operands: thresholds, digits, and the work against other ways.

    python benchmarks/batch.py [--quick]

`ours` is the formula of FlexibleCSA with the partition that the search finds, and `measured` one
more than the largest set of its results found that does not decode, by ranks over a prime field.
It may be less than the formula, which holds for every set, where results are more than there are
products of any left with any right operand: they cannot span more. `apart` are the same two with
every pair a part of its own, which needs no random curve. `Lagrange` codes every pair with copies
of its operands. No code needs fewer results than there are products: `at least`. Cross-subspace
alignment, whose pairs share no operand, is measured in the same way.
"""

import argparse
import time
from typing import Any

import numpy as np
from _threshold import largest_undecodable

from dask_coded.array import plan_matmul_batch
from dask_coded.codes import (
    AbstractCode,
    CrossSubspaceAlignment,
    FlexibleCSA,
    GeneralizedCSA,
    Lagrange,
)
from dask_coded.fields import COMPLEX, PrimeField
from dask_coded.testing import loss_patterns

FIELD = PrimeField(2**31 - 1)
#: Pairs that share no operand, in groups; the second kind cuts the operands besides.
ALIGNED: tuple[AbstractCode, ...] = (
    *(CrossSubspaceAlignment(10, size=6 // groups, groups=groups) for groups in (2, 3, 6)),
    *(CrossSubspaceAlignment(10, size=2, groups=3, field=field) for field in (COMPLEX, FIELD)),
    *(
        GeneralizedCSA(n_shares, size=2, groups=groups, m=m, p=p, n=n, field=FIELD)
        for n_shares, groups, m, p, n in (
            (7, 2, 1, 1, 1),
            (15, 1, 2, 1, 2),
            (16, 1, 1, 2, 2),
            (24, 2, 2, 2, 1),
            (29, 1, 2, 2, 2),
        )
    ),
)
NAMED: dict[str, list[tuple[int, int]]] = {
    "matching of 4": [(i, i) for i in range(4)],
    "3 x 3": [(i, j) for i in range(3) for j in range(3)],
    "star of 6": [(0, j) for j in range(6)],
    "cycle of 6": [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (0, 2)],
    "two 2 x 2": [(i, j) for i in range(4) for j in range(4) if i // 2 == j // 2],
    "all but i = j": [(i, j) for i in range(4) for j in range(4) if i != j],
}


def random_pairs(left: int, right: int, density: float, seed: int) -> list[tuple[int, int]]:
    """A random bipartite graph without isolated vertices, numbered without gaps."""
    stream = np.random.RandomState(seed)
    cells = [(i, j) for i in range(left) for j in range(right) if stream.uniform() < density]
    cells = cells or [(0, 0)]
    names = [{v: n for n, v in enumerate(sorted(set(ends)))} for ends in zip(*cells, strict=True)]
    return [(names[0][i], names[1][j]) for i, j in cells]


def graphs(quick: bool) -> dict[str, list[tuple[int, int]]]:
    sizes = [(4, 4), (6, 3)] if quick else [(4, 4), (6, 3), (5, 6), (8, 8)]
    found = dict(NAMED)
    for left, right in sizes:
        for density in (0.3, 0.6, 0.9):
            found[f"{left} x {right}, {density:.0%}"] = random_pairs(left, right, density, 0)
    return found


def thresholds(quick: bool) -> None:
    print("recovery thresholds\n")
    print(
        f"{'pairs':14} {'at least':>9} {'ours':>5} {'measured':>9} {'apart':>6} {'measured':>9} "
        f"{'Lagrange':>9} "
        f"{'ours / least':>13} {'Lagrange / ours':>16} {'search s':>9}"
    )
    ratios = []
    tries = 20 if quick else 400
    for name, pairs in graphs(quick).items():
        start = time.perf_counter()
        code = FlexibleCSA.for_pairs(pairs, parity=2, field=FIELD)
        seconds = time.perf_counter() - start
        apart = FlexibleCSA.for_pairs(pairs, parity=2, apart=True, field=FIELD)
        ours, least = code.recovery_threshold, len(pairs)
        found, found_apart = (largest_undecodable(each, tries) + 1 for each in (code, apart))
        ratios.append(ours / least)
        print(
            f"{name:14} {least:9} {ours:5} {found:9} {apart.recovery_threshold:6} "
            f"{found_apart:9} {2 * least - 1:9} "
            f"{ours / least:13.2f} {(2 * least - 1) / ours:16.2f} {seconds:9.2f}",
            flush=True,
        )
    print(f"{'mean':14} {'':>51} {np.mean(ratios):13.2f}")
    print(f"\n{'code':96} {'shares':>6} {'formula':>8} {'measured':>9}")
    for aligned in ALIGNED:
        name = repr(aligned)
        print(
            f"{name:96} {aligned.n_shares:6} {aligned.recovery_threshold:8} "
            f"{largest_undecodable(aligned, tries) + 1:9}",
            flush=True,
        )


def amplifications(code: AbstractCode, n_random: int) -> tuple[float, float]:
    """Median and worst over runs of neighbours and random losses."""
    lost = code.n_shares - code.recovery_threshold
    everyone = set(range(code.n_shares))
    found = [
        code.decoder(everyone - set(gone)).amplification
        for gone in loss_patterns(code, lost, n_random)
    ]
    return float(np.median(found)), max(found)


def digits(quick: bool) -> None:
    n_random = 20 if quick else 500
    print(f"\namplification over reals, every run of losses and {n_random} random ones\n")
    print(f"{'pairs':14} {'lost':>5} {'ours':>17} {'apart':>17} {'Lagrange':>17}")
    for name, pairs in NAMED.items():
        for parity in (2,) if quick else (1, 2, 3, 4):
            codes = (
                FlexibleCSA.for_pairs(pairs, parity),
                FlexibleCSA.for_pairs(pairs, parity, apart=True),
                Lagrange(2 * len(pairs) - 1 + parity, len(pairs), 2),
            )
            cells = "".join(
                "{:8.1f} {:8.0f} ".format(*amplifications(code, n_random)) for code in codes
            )
            print(f"{name:14} {parity:5} {cells}", flush=True)


def work(quick: bool) -> None:
    """Products that all shares compute, for products of one chunk, and what `code=None` takes."""
    import dask.array as da

    print("\nproducts computed when nothing is late, divided by those wanted\n")
    print(f"{'pairs':14} {'parity':>7} {'copies':>7} {'Lagrange':>9} {'ours':>6} {'chosen':>7}  by")
    for name, pairs in NAMED.items():
        for parity in (1, 2, 3):
            lefts, rights = (
                [da.zeros((9000, 9000), chunks=9000) + i for i in range(8)] for _ in "ab"
            )
            arrays: Any = [(lefts[i], rights[j].T) for i, j in pairs]
            plan = plan_matmul_batch(arrays, parity=parity)
            codes = [codeword.code for codeword, _, _ in plan.codewords]
            kinds = sorted({type(code).__name__ for code in codes})
            ours = FlexibleCSA.for_pairs(pairs, parity).n_shares
            wanted = len(pairs)
            print(
                f"{name:14} {parity:7} {parity + 1:7.2f} "
                f"{(2 * wanted - 1 + parity) / wanted:9.2f} {ours / wanted:6.2f} "
                f"{sum(code.n_shares for code in codes) / wanted:7.2f}  "
                f"{len(codes)} {', '.join(kinds)}",
                flush=True,
            )
        if quick:
            break
    print(
        "\nWith one parity nothing beats two copies of pairs that share no operand. Operands of\n"
        "many chunks are cheaper one by one (coded_matmul), and the plan says so."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few graphs, for a first look")
    quick = parser.parse_args().quick
    thresholds(quick)
    digits(quick)
    work(quick)


if __name__ == "__main__":
    main()
