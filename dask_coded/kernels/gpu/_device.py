"""The device as CuPy shows it, found or missed by name, and launches on it."""

from collections.abc import Sequence
from functools import cache, lru_cache
from importlib import import_module
from typing import Any

from dask_coded.errors import DeviceError
from dask_coded.kernels.gpu._memory import is_out_of_memory
from dask_coded.kernels.gpu._source import OPTIONS, Specialization
from dask_coded.typing import AnyArray

__all__ = [
    "THREADS",
    "cupy",
    "launch",
    "multiprocessors",
    "parameter_bytes",
    "require_device",
    "shared_device",
]

#: Threads of a block. Kernels are compiled for no more.
THREADS = 256
#: Blocks per multiprocessor at most: grids stride over the rest.
_RESIDENT = 8
# Bytes of arguments that every CUDA takes, and that CUDA 12.1 takes from compute capability 7 on.
_SMALL_PARAMETERS, _LARGE_PARAMETERS = 4096, 32764
_LARGE_SINCE = 12010


def cupy() -> Any:
    """The module, on first use.

    Raises
    ------
    DeviceError
        If it is not installed, or does not load.
    """
    try:
        return import_module("cupy")
    except ImportError as error:
        raise DeviceError(
            f"work on a GPU was asked for, and CuPy could not be imported: {error}. Install the "
            "wheel for this machine's CUDA, cupy-cuda12x or cupy-cuda13x, or stay with NumPy blocks"
        ) from error


def require_device() -> Any:
    """CuPy, with a device behind it.

    Raises
    ------
    DeviceError
        If there is no CuPy or no device.
    """
    module = cupy()
    try:
        count = int(module.cuda.runtime.getDeviceCount())
    except Exception as error:
        raise DeviceError(
            f"work on a GPU was asked for, and CuPy {module.__version__} finds no CUDA device: "
            f"{error}. Look at what nvidia-smi says, and at CUDA_VISIBLE_DEVICES"
        ) from error
    if not count:
        raise DeviceError(
            f"work on a GPU was asked for, and CuPy {module.__version__} sees no CUDA device. "
            "Look at CUDA_VISIBLE_DEVICES"
        )
    return module


def shared_device(named: Sequence[tuple[str, AnyArray]]) -> Any:
    """The device on which all arrays lie; `named` says what to call each of them.

    Raises
    ------
    DeviceError
        If they lie on more than one.
    """
    first_name, first = named[0]
    for name, array in named:
        if array.device != first.device:
            raise DeviceError(
                f"arrays of one call must lie on one device; {first_name} is on device "
                f"{first.device.id}, {name} on device {array.device.id}. Move it there with "
                f"cupy.cuda.Device({first.device.id}).use() and cupy.asarray"
            )
    return first.device


def launch(
    module: Any,
    specialization: Specialization,
    arguments: Any,
    n_items: int,
    threads: int = THREADS,
) -> None:
    """Run a kernel on the current stream of the current device, over `n_items` threads of work.

    Raises
    ------
    DeviceError
        If it cannot be compiled.
    """
    device = module.cuda.Device()
    blocks = min(-(-n_items // threads), _RESIDENT * _multiprocessors(module, device.id))
    kernel = _kernel(module, specialization, device.id)
    kernel((max(blocks, 1),), (threads,), (arguments,))


def multiprocessors(module: Any) -> int:
    """Multiprocessors of the current device."""
    return _multiprocessors(module, module.cuda.Device().id)


def parameter_bytes(module: Any) -> int:
    """How large a struct a kernel takes by value on the current device."""
    return _parameter_bytes(module, module.cuda.Device().id)


@lru_cache
def _parameter_bytes(module: Any, device_id: int) -> int:
    compiler = module.cuda.nvrtc.getVersion()
    large = (
        1000 * compiler[0] + 10 * compiler[1] >= _LARGE_SINCE
        and module.cuda.runtime.driverGetVersion() >= _LARGE_SINCE
        and int(module.cuda.Device(device_id).compute_capability) >= 70
    )
    return _LARGE_PARAMETERS if large else _SMALL_PARAMETERS


@lru_cache
def _multiprocessors(module: Any, device_id: int) -> int:
    return int(module.cuda.Device(device_id).attributes["MultiProcessorCount"])


@cache
def _kernel(module: Any, specialization: Specialization, device_id: int) -> Any:
    """Compiled for one device; CuPy keeps the binary on disk for other processes."""
    try:
        raw = module.RawModule(code=specialization.source(), options=OPTIONS)
        raw.compile()
        return raw.get_function(specialization.kernel)
    except Exception as error:
        # The machine code lies in device memory as well.
        if isinstance(error, MemoryError) or is_out_of_memory(error):
            raise
        raise DeviceError(
            f"the kernel {specialization.kernel} could not be compiled for device {device_id}: "
            f"{error}. CuPy compiles by NVRTC of CUDA 11.7 or newer, on conda in cuda-nvrtc, as a "
            "wheel nvidia-cuda-nvrtc-cu12, for devices of compute capability 5.0 or more"
        ) from error
