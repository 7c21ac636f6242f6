"""CUDA kernels behind ``combine`` and the verbs of nearest neighbours, for CuPy arrays.

Importing this folder imports no CuPy and touches no device; the first call with CuPy arrays does.
``emulation`` runs and compiles the kernels where there is no GPU.
"""

from dask_coded.kernels.gpu._combine import combine_cupy as combine_cupy
from dask_coded.kernels.gpu._device import require_device as require_device
from dask_coded.kernels.gpu._memory import device_memory as device_memory
from dask_coded.kernels.gpu._modular import combine_modulo as combine_modulo
from dask_coded.kernels.gpu._routes import RouteCase as RouteCase
from dask_coded.kernels.gpu._routes import default_route as default_route
from dask_coded.kernels.gpu._routes import use_route as use_route

__all__ = [
    "RouteCase",
    "combine_cupy",
    "combine_modulo",
    "default_route",
    "device_memory",
    "require_device",
    "use_route",
]
