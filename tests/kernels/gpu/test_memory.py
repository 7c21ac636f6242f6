"""Too little device memory: named, counted, and given back while somebody keeps the exception."""

import gc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dask_coded.errors import DeviceMemoryError
from dask_coded.fields import PAIRED
from dask_coded.kernels import (
    candidate_distances,
    combine,
    device_memory,
    fuse_distances,
    top_k,
)
from dask_coded.kernels.gpu import combine_modulo
from dask_coded.kernels.gpu.emulation import emulated_cupy, host_compiler

emulation = pytest.mark.skipif(
    host_compiler() is None, reason="emulation: no g++ with C++20 threads here"
)

MIB = 1 << 20


def test_the_helper_names_counts_and_lets_go() -> None:
    with emulated_cupy(limit=3 * MIB) as cupy:

        def work() -> None:
            made = [cupy.empty((MIB,), np.uint8) for _ in range(2)]
            try:
                cupy.empty((2 * MIB,), np.uint8)
            finally:
                made.append(None)

        def asked() -> None:
            with device_memory("the work", 3 * MIB) as demand:
                demand.add(MIB)
                work()

        held = None
        try:
            with device_memory("what is around it"):
                asked()
        except DeviceMemoryError as error:
            held = error
        assert "the work needs 4.0 MiB" in str(held)
        assert "1.0 MiB of 3.0 MiB are free" in str(held)
        gc.collect()
        assert cupy.standin.used == 0


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (MemoryError("pool"), True),
        (RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"), True),
        (RuntimeError("cudaErrorMemoryAllocation: out of memory"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("invalid argument"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_which_errors_are_of_device_memory(error: Any, named: bool) -> None:
    expected = pytest.raises(DeviceMemoryError if named else type(error))
    with emulated_cupy(), expected as caught, device_memory("it", 1):
        raise error
    assert isinstance(caught.value, DeviceMemoryError) == named


def test_what_was_being_handled_before_keeps_its_frames() -> None:
    def failing() -> None:
        kept = "here"
        raise ValueError(kept)

    def work() -> None:
        raise MemoryError("pool")

    with emulated_cupy():
        try:
            failing()
        except ValueError as earlier:
            with pytest.raises(DeviceMemoryError), device_memory("it"):
                work()
            trace = earlier.__traceback__
            assert trace is not None
            assert trace.tb_next is not None
            assert trace.tb_next.tb_frame.f_locals == {"kept": "here"}


def test_memory_of_the_host_is_left_to_numpy() -> None:
    with emulated_cupy(), pytest.raises(MemoryError) as caught, device_memory("it"):
        np.empty(2**60, np.uint8)
    assert not isinstance(caught.value, DeviceMemoryError)


def test_without_a_device_errors_are_left_alone() -> None:
    with emulated_cupy() as cupy:
        del cupy.cuda.runtime.memGetInfo
        with pytest.raises(MemoryError, match="of the host") as caught, device_memory("it"):
            raise MemoryError("of the host")
    assert type(caught.value) is MemoryError


def sums_too_large(cupy: Any, case: str) -> tuple[Callable[[], Any], int]:
    """Work that does not fit into 8 MiB, and how many MiB it asks for besides its blocks."""
    blocks = [cupy.asarray(np.ones((2, MIB // 16))) for _ in range(2)]
    weights: Any = np.full((7, 2), 0.5)
    if case == "paired":
        return lambda: combine(1j * weights, blocks, field=PAIRED), 7
    if case == "floats":
        return lambda: combine(weights, blocks), 7
    if case == "converted":
        blocks[1] = blocks[1].astype(np.float32)
        return lambda: combine(weights, blocks), 7 + 1
    if case == "copied":
        # More inputs than pointers and strides go by value.
        blocks = [cupy.asarray(np.ones((MIB // 64, 16)))[:, ::2]] * 66
        return lambda: combine(np.full((3, 66), 0.5), blocks), 3 + 66
    blocks = [block.astype(np.int64) for block in blocks]
    if case == "modulo":
        return lambda: combine_modulo(np.full((7, 2), 3), blocks, 97), 7
    return lambda: combine(np.full((7, 2), 3), blocks), 7


@emulation
@pytest.mark.parametrize("case", ["paired", "floats", "converted", "copied", "modulo", "integers"])
def test_sums_that_do_not_fit_give_all_back(case: str) -> None:
    """The exception is held, as a notebook holds its last one, and with it what led to it."""
    with emulated_cupy(limit=8 * MIB) as cupy:
        work, mib = sums_too_large(cupy, case)
        used = cupy.standin.used
        held = None
        try:
            work()
        except DeviceMemoryError as error:
            held = error
        assert f"needs {mib}.0 MiB" in str(held)
        gc.collect()
        assert cupy.standin.used == used


@emulation
def test_searches_that_do_not_fit_give_all_back() -> None:
    with emulated_cupy(limit=4 * MIB) as cupy:
        values = cupy.asarray(np.ones((2, MIB // 8)))[:, ::2]
        rows, starts = cupy.zeros((MIB // 8,), np.int32), cupy.asarray(np.array([0, MIB // 8]))
        partials = [rows.astype(np.float64)[::2]] * 2
        norms, few = cupy.zeros((1,)), cupy.asarray(np.array([0, MIB // 16]))
        used = cupy.standin.used
        held = []
        for work in (
            lambda: top_k(values.reshape(2, -1)[:, ::2], 3000),
            lambda: candidate_distances(values[:1].T, values[:1].T[:1], rows, starts),
            lambda: fuse_distances([1, 1], partials, norms, norms, rows[::2], few),
        ):
            with pytest.raises(DeviceMemoryError, match="needs") as caught:
                work()
            held.append(caught.value)
            gc.collect()
            assert cupy.standin.used == used


def test_a_check_of_starts_that_does_not_fit_is_named() -> None:
    with emulated_cupy(limit=MIB) as cupy:
        starts = cupy.zeros((MIB // 8 - 100,), np.int64)
        with pytest.raises(DeviceMemoryError, match=r"check of starts needs 0\.1 MiB"):
            top_k(cupy.zeros((1,)), 1, starts)


def test_too_little_memory_for_a_kernel_is_no_matter_of_compilers() -> None:
    def fail() -> None:
        raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory")

    with emulated_cupy() as cupy:
        cupy.RawModule = lambda **_: SimpleNamespace(compile=fail)
        with pytest.raises(DeviceMemoryError, match="OUT_OF_MEMORY"):
            combine([[2]], [cupy.zeros((4,))])
