"""The demo from beginning to end."""

import logging
import time
from pathlib import Path
from typing import Any

from dask_coded.demo._arms import Run, run_coded, run_plain
from dask_coded.demo._check import Check
from dask_coded.demo._patches import DTYPE, photograph_patches
from dask_coded.demo._picture import draw
from dask_coded.demo._power import eigenpairs
from dask_coded.demo._story import COMPONENTS, Story
from dask_coded.demo._table import iterations_table, medians_table

__all__ = ["run"]

PICTURE = "dask_coded_demo.png"
#: The coded run is given up after so many seconds of iterating; a third of that is usual.
_CODED_LIMIT = 120.0


def run(*, workers: int | None, quick: bool, faults: bool, out: Path) -> bool:
    """Both arms, their times, the check and the picture.

    Returns
    -------
    bool
        Whether the coded components are right, and plain Dask's too if it found any.
    """
    began = time.perf_counter()
    small: dict[str, Any] = {"every": 16, "n_iterations": 15, "plain_limits": (5.0, 10.0)}
    story = Story(workers or (5 if quick else 10), faults=faults, **(small if quick else {}))
    out.mkdir(parents=True, exist_ok=True)
    # The cluster is going to lose workers; Dask need not tell.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)

    patches = photograph_patches(story.every)
    n, d = patches.shape
    print(
        f"{n:,} distinct patches of 8 x 8 pixels from two photographs: a matrix of {n:,} x {d}, "
        f"mean-centred, {DTYPE}, {n * d * DTYPE.itemsize / 2**20:.0f} MiB\n"
        f"its {COMPONENTS} leading principal components by {story.n_iterations} block power "
        f"iterations, V = qr(A.T @ (A @ V)), on {story.n_workers} worker processes\n"
    )
    k = story.n_workers - story.parity
    print(f"dask_coded, any {k} of {story.n_workers} shares suffice:", flush=True)
    coded = run_coded(story, patches, _CODED_LIMIT)
    print(_preparation("encoded", coded), flush=True)

    limit = story.plain_limit(sum(coded.seconds))
    print(f"plain Dask, given up after {limit:.0f} s of iterating:", flush=True)
    plain = run_plain(story, patches, limit)
    print(_preparation("loaded", plain), flush=True)

    print(f"\n{iterations_table(story, coded, plain)}\n\n{medians_table(story, coded, plain)}\n")
    # Its first line sums up, the others are one for each group.
    print(f"dask_coded's report: {str(coded.report).splitlines()[0]}\n")

    expected = eigenpairs(patches.covariance()).leading(COMPONENTS)
    checks = {}
    for name, arm in (("coded", coded), ("plain Dask", plain)):
        if arm.found is not None:
            checks[name] = Check.of(arm.found.leading(COMPONENTS), expected)
            print(f"{name}, against numpy.linalg.eigh: {checks[name]}")
    if coded.found is None:
        print(f"coded: no components, the iterations did not end within {_CODED_LIMIT:.0f} s")
    draw(out / PICTURE, story, patches, coded, plain, expected)
    print(f"wrote {out / PICTURE}; {time.perf_counter() - began:.0f} s in all")
    return "coded" in checks and all(check.passed for check in checks.values())


def _preparation(what: str, arm: Run) -> str:
    return f"  {what} in {arm.preparation:.1f} s, iterated for {sum(arm.seconds):.1f} s"
