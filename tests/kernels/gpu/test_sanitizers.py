"""The CUDA source under the sanitizers of the C++ compiler, and the sanitizers under faults.

Launches are recorded behind the stand-in for CuPy and repeated in a program of their own, where
each array is an allocation of exactly its size and each CUDA thread a thread.
"""

import subprocess
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dask_coded.errors import EmulationError
from dask_coded.fields import COMPLEX
from dask_coded.kernels import candidate_distances, combine, fuse_distances, top_k
from dask_coded.kernels.gpu import combine_modulo
from dask_coded.kernels.gpu.emulation import (
    Recorded,
    _host,
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


def mersenne(cupy: Any) -> None:
    p = 2**31 - 1
    block = cupy.asarray(np.array([0, 1, p - 1] * 7, np.uint32))
    combine_modulo([[p - 1] * 9], [block] * 9, p)


def montgomery(cupy: Any) -> None:
    """Inputs held and settled sums, of the largest residues."""
    p = 2**61 - 1
    block = cupy.asarray(np.array([0, 1, p - 1] * 7, np.uint64))
    combine_modulo([[p - 1] * 17] * 2, [block] * 17, p)


def turned(cupy: Any) -> None:
    parts = np.random.default_rng(0).standard_normal((3, 38))
    combine([[1j, 2, 3 - 1j]], [cupy.asarray(x.view("c16")) for x in parts], field=COMPLEX)


def brains(cupy: Any) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    data = np.random.default_rng(0).standard_normal((3, 37)).astype(ml_dtypes.bfloat16)
    combine(np.full((2, 3), 0.1), [cupy.asarray(block) for block in data])


def masked(cupy: Any) -> None:
    """Rows that share most of their blocks are summed together, zeros among their weights."""
    data = np.random.default_rng(0).standard_normal((9, 39)).astype("f4")
    weights = np.full((4, 9), 0.1) * (1 - np.eye(4, 9))
    combine(weights, [cupy.asarray(block) for block in data])


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


def ragged(cupy: Any) -> None:
    values = np.random.default_rng(0).integers(0, 3, 150).astype("f4")
    top_k(cupy.asarray(values), 40, cupy.asarray(np.array([0, 3, 3, 150])))


def more_than_the_row(cupy: Any) -> None:
    top_k(cupy.asarray(np.random.default_rng(0).standard_normal((2, 30))), 70)


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


#: Every kernel under every sanitizer, sums in each kind of field.
OFTEN = [floats, residues, distances, fusion, selection]
#: These once each time, under the sanitizer that has most to say of them.
ONCE = [(unaligned, "undefined"), (montgomery, "undefined"), (ragged, "address")]
RARELY = [
    strided,
    halves,
    table,
    mersenne,
    turned,
    brains,
    masked,
    bytes_of_integers,
    more_than_the_row,
]
ALL = [*OFTEN, *[work for work, _ in ONCE], *RARELY]
USUAL = [(work, name) for work in OFTEN for name in SANITIZERS] + ONCE
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


def test_a_sanitizer_that_wants_fixed_addresses_gets_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A program that refuses until it is started by setarch, as ThreadSanitizer does."""
    launch = recorded(floats)
    given: list[list[str]] = []

    def run(command: list[str], **options: Any) -> Any:
        given.append(command)
        if "-R" not in command:
            return subprocess.CompletedProcess(command, 66, "", "FATAL: ThreadSanitizer: mapping")
        return subprocess.CompletedProcess(command, 1, "", "a report")

    def found(name: str) -> str:
        return f"/bin/{name}"

    monkeypatch.setattr(_host, "_compile", lambda arguments: None)
    monkeypatch.setattr(_host, "shutil", SimpleNamespace(which=found))
    monkeypatch.setattr(_host, "subprocess", SimpleNamespace(run=run))
    assert run_sanitized("// planted", launch.kernel, "thread", launch.job) == (None, "a report")
    assert [command[:2] == ["/bin/setarch", "-R"] for command in given] == [False, True]
    monkeypatch.setattr(_host, "shutil", SimpleNamespace(which=lambda name: None))
    with pytest.raises(EmulationError, match="thread sanitizer does not run here"):
        run_sanitized("// planted", launch.kernel, "thread", launch.job)


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
