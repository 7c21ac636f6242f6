"""The CUDA source under the sanitizers of the C++ compiler, and the sanitizers under faults.

Launches are recorded behind the stand-in for CuPy and repeated in a program of their own, where
each array is an allocation of exactly its size and each CUDA thread a thread.
"""

from typing import Any

import numpy as np
import pytest

from dask_coded.errors import EmulationError
from dask_coded.kernels import candidate_distances, combine, fuse_distances, top_k
from dask_coded.kernels.gpu import combine_modulo
from dask_coded.kernels.gpu.emulation import (
    Recorded,
    emulated_cupy,
    host_compiler,
    run_sanitized,
)

pytestmark = pytest.mark.skipif(
    host_compiler() is None, reason="emulation: no g++ with C++20 threads here"
)

SANITIZERS = ["address", "undefined", "thread"]


def floats(cupy: Any) -> None:
    """A ragged length, blocks that start off the grain of an access, all paths of the loop."""
    data = np.random.default_rng(0).standard_normal((10, 39)).astype("f4")
    combine(np.full((2, 10), 0.1), [cupy.asarray(block) for block in data])


def unaligned(cupy: Any) -> None:
    data = np.random.default_rng(0).standard_normal((10, 40)).astype("f4")
    combine(np.full((2, 10), 0.1), [cupy.asarray(block)[1:] for block in data])


def strided(cupy: Any) -> None:
    whole = cupy.asarray(np.random.default_rng(0).standard_normal((4, 6)))
    combine([[2, 3], [0, 5]], [whole[:, ::2], whole[:, 1::2]])


def halves(cupy: Any) -> None:
    data = np.random.default_rng(0).standard_normal((3, 37)).astype("f2")
    combine(np.full((5, 3), 0.1), [cupy.asarray(block) for block in data])


def table(cupy: Any) -> None:
    data = np.random.default_rng(0).standard_normal((66, 5))
    combine(np.full((1, 66), 0.1), [cupy.asarray(block) for block in data])


def residues(cupy: Any) -> None:
    p = 2**64 - 2**32 + 1
    block = cupy.asarray(np.array([0, 1, p - 1] * 7, np.uint64))
    combine_modulo([[p - 1] * 9], [block] * 9, p)


def bytes_of_integers(cupy: Any) -> None:
    block = cupy.asarray(np.arange(53, dtype="u1"))
    combine([[200, 3]], [block, block])


def distances(cupy: Any) -> None:
    stream = np.random.default_rng(0)
    points, queries = stream.standard_normal((7, 45)), stream.standard_normal((2, 45))
    rows, starts = stream.integers(0, 7, 5), np.array([0, 2, 5])
    candidate_distances(*[cupy.asarray(array) for array in (points, queries, rows, starts)])


def fusion(cupy: Any) -> None:
    given = np.ones(3), np.ones(2), np.array([0, 2, 1, 1, 0]), np.array([0, 2, 5])
    partials = [cupy.asarray(np.ones(5, "f4"))] * 2
    fuse_distances([1, 2], partials, *[cupy.asarray(array) for array in given])


def selection(cupy: Any) -> None:
    values = np.random.default_rng(0).integers(0, 3, (2, 150)).astype("f4")
    top_k(cupy.asarray(values), 40)


def recorded(work: Any) -> Recorded:
    with emulated_cupy() as cupy:
        cupy.standin.recorded = []
        work(cupy)
        (launch,) = cupy.standin.recorded
        return launch


def repeat(launch: Recorded, sanitizer: str, source: str | None = None) -> tuple[Any, str]:
    job = launch.job
    if sanitizer == "thread":
        # As many threads as make conflicts, and no more than a machine of two cores likes.
        job.threads, job.block = True, min(job.block, 64)
    try:
        return run_sanitized(source or launch.source, launch.kernel, sanitizer, job)
    except EmulationError as error:
        if "does not run here" in str(error):
            pytest.skip(str(error))
        raise


ALL = [
    floats,
    unaligned,
    strided,
    halves,
    table,
    residues,
    bytes_of_integers,
    distances,
    fusion,
    selection,
]
#: What runs each time; everything under everything takes a minute.
USUAL = [(floats, "address"), (unaligned, "undefined"), (selection, "thread")]
PAIRS = [
    pytest.param(work, name, marks=[] if (work, name) in USUAL else [pytest.mark.slow])
    for work in ALL
    for name in SANITIZERS
]


@pytest.mark.parametrize(("work", "sanitizer"), PAIRS)
def test_no_sanitizer_objects(work: Any, sanitizer: str) -> None:
    launch = recorded(work)
    found, report = repeat(launch, sanitizer)
    assert report == ""
    with_pointers = {where - 1 for where, *_ in launch.job.pointers}
    for number, (buffer, right) in enumerate(zip(found, launch.after, strict=True)):
        if number not in with_pointers:
            np.testing.assert_array_equal(buffer, right)


def replaced(source: str, old: str, new: str) -> str:
    assert source.count(old) == 1, old
    return source.replace(old, new)


def test_a_missing_barrier_is_caught() -> None:
    launch = recorded(selection)
    broken = replaced(
        launch.source,
        "histogram[b] = 0;\n    __syncthreads();",
        "histogram[b] = 0;",
    )
    found, report = repeat(launch, "thread", broken)
    assert found is None
    assert "data race" in report


def test_a_read_out_of_bounds_is_caught() -> None:
    launch = recorded(floats)
    broken = replaced(
        launch.source, "first; i < a.length; i += threads", "first; i <= a.length; i += threads"
    )
    found, report = repeat(launch, "address", broken)
    assert found is None
    assert "heap-buffer-overflow" in report


@pytest.mark.slow
def test_an_access_off_its_grain_is_caught() -> None:
    launch = recorded(unaligned)
    broken = replaced(launch.source, "#define WIDTH 1\n", "#define WIDTH 4\n")
    found, report = repeat(launch, "undefined", broken)
    assert found is None
    assert "misaligned" in report
