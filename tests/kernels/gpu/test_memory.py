"""Too little device memory: named, counted, and given back while somebody keeps the exception."""

import gc
from typing import Any

import numpy as np
import pytest

from dask_coded.errors import DeviceMemoryError
from dask_coded.kernels import device_memory
from dask_coded.kernels.gpu.emulation import emulated_cupy

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
