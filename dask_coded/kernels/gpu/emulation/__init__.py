"""How the kernels are checked where there is no GPU.

Two ways, and the same source in both: a C++ compiler runs it on threads of the CPU, behind a
stand-in for CuPy or under a sanitizer; NVRTC or nvcc compiles it for a GPU, which says how many
registers it takes and how its argument is laid out. Nothing of the package imports this folder.
"""

from dask_coded.kernels.gpu.emulation._arrays import Recorded as Recorded
from dask_coded.kernels.gpu.emulation._arrays import StandIn as StandIn
from dask_coded.kernels.gpu.emulation._cuda import Compiled as Compiled
from dask_coded.kernels.gpu.emulation._cuda import cuda_compiler as cuda_compiler
from dask_coded.kernels.gpu.emulation._host import Job as Job
from dask_coded.kernels.gpu.emulation._host import host_compiler as host_compiler
from dask_coded.kernels.gpu.emulation._host import run_sanitized as run_sanitized
from dask_coded.kernels.gpu.emulation._standin import emulated_cupy as emulated_cupy

__all__ = [
    "Compiled",
    "Job",
    "Recorded",
    "StandIn",
    "cuda_compiler",
    "emulated_cupy",
    "host_compiler",
    "run_sanitized",
]
