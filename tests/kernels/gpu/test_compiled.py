"""What a CUDA compiler says of the kernels, with no GPU and no driver: they compile, spill nothing,
leave room for enough threads, and take their argument as the host lays it out."""

from typing import Any

import numpy as np
import pytest

from dask_coded.errors import EmulationError
from dask_coded.kernels.gpu._arithmetic import Arithmetic, floating, modular, wrapping
from dask_coded.kernels.gpu._combining import plan, row_passes
from dask_coded.kernels.gpu._geometry import Geometry
from dask_coded.kernels.gpu._neighbors import candidates_kernel, fuse_kernel, top_k_kernel
from dask_coded.kernels.gpu._source import Specialization
from dask_coded.kernels.gpu.emulation import cuda_compiler

pytestmark = pytest.mark.skipif(
    cuda_compiler() is None,
    reason="no NVRTC (wheel nvidia-cuda-nvrtc-cu12) and no nvcc here",
)

#: Two blocks of 256 threads to a multiprocessor of 65,536 registers.
MOST_REGISTERS = 128
LARGE, SMALL = 32764, 4096


class Brain:
    """bfloat16 as the choice of a kernel sees it, whether or not ml_dtypes is installed."""

    name, kind, itemsize, char = "bfloat16", "V", 2, "E"


def every_arithmetic(k: int, r: int) -> list[tuple[str, Arithmetic, Any, Any]]:
    """Label, arithmetic, dtypes of inputs and outputs: all that the backend asks for."""
    weights = np.full((r, k), 0.5)
    turned = weights * 1j
    masked = weights.copy()
    masked[0, -1] = 0
    kinds: list[tuple[str, Arithmetic, Any, Any]] = []
    for wide in (False, True):
        real, label = floating(weights, False, wide), "f8" if wide else "f4"
        for name in ("f2", "f4", "f8")[wide:]:
            kinds.append((f"{name} in {label}", real, np.dtype(name), np.dtype(name)))
        if not wide:
            kinds.append(("f2 into f4", real, np.dtype("f2"), np.dtype("f4")))
        kinds.append((f"bf16 in {label}", real, Brain, Brain))
        out = np.dtype("c16" if wide else "c8")
        kinds.append((f"{out} scaled", floating(weights, True, wide), out, out))
        kinds.append((f"{out} turned", floating(turned, True, wide), out, out))
    kinds = [kind for kind in kinds if kind[0] != "f8 in f4"]
    kinds.append(("f4 masked", floating(masked, False, False), np.dtype("f4"), np.dtype("f4")))
    kinds.append(("f2 in f8", floating(weights, False, True), np.dtype("f2"), np.dtype("f2")))
    real_in = floating(turned, False, False), np.dtype("f4"), np.dtype("c8")
    kinds.append(("f4 turned into c8", *real_in))
    for name in ("?", "u1", "u2", "u4", "u8"):
        dtype = np.dtype(name)
        kinds.append((f"integer {name}", wrapping(np.ones((r, k)), dtype), dtype, dtype))
    ones = np.ones((r, k), int)
    for p, names in (
        (2**31 - 1, ("u4", "u8")),
        (2**61 - 1, ("u8",)),
        (2**64 - 2**32 + 1, ("u8",)),
    ):
        for name in names:
            kinds.append((f"modulo {p} {name}", modular(ones, p), np.dtype(name), np.dtype(name)))
    return kinds


def combining(
    k: int, arithmetic: Arithmetic, taken: Any, made: Any, *, dims: int = 0, limit: int = LARGE
) -> list[Specialization]:
    """The kernels of all passes of one sum."""
    kernels = []
    for rows in row_passes(arithmetic, limit):
        part = arithmetic._replace(weights=arithmetic.weights[rows])
        arrays = k + len(part.weights)
        steps = [8] * (arrays * dims)
        geometry = Geometry([0] * arrays, (5,) * max(dims, 1), steps)
        launch = plan(part, geometry, (taken, made), 0, limit)
        if launch is None:
            assert dims
            launch = plan(part, geometry._replace(steps=[]), (taken, made), 0, limit)
            assert launch is not None
        kernels.append(launch.specialization)
    return list(dict.fromkeys(kernels))


def check(kernel: Specialization, *, registers: int = MOST_REGISTERS, arch: int = 90) -> None:
    compiler = cuda_compiler()
    assert compiler is not None
    found = compiler.compiled(kernel.source(), arch)
    assert found.parameters == ((kernel.arguments.itemsize, kernel.arguments.alignment),)
    assert found.spilled == 0
    assert found.stack == 0
    assert found.registers <= registers
    assert found.shared <= 48 * 1024


SIZES = [(4, 1), (8, 2), (16, 4), (32, 8), (64, 16)]
EVERY = [
    pytest.param(k, r, label, id=f"{k}-{r}-{label}")
    for k, r in SIZES
    for label, *_ in every_arithmetic(1, 1)
]
USUAL = [(16, 4, "f4 in f4"), (16, 4, f"modulo {2**64 - 2**32 + 1} u8")]


def one(k: int, r: int, label: str) -> tuple[Arithmetic, Any, Any]:
    return next(
        (how, taken, made) for name, how, taken, made in every_arithmetic(k, r) if name == label
    )


@pytest.mark.parametrize(("k", "r", "label"), USUAL)
def test_sums_in_use(k: int, r: int, label: str) -> None:
    for kernel in combining(k, *one(k, r, label)):
        check(kernel)


@pytest.mark.slow
@pytest.mark.parametrize(("k", "r", "label"), EVERY)
def test_every_sum(k: int, r: int, label: str) -> None:
    for kernel in combining(k, *one(k, r, label)):
        check(kernel)


@pytest.mark.slow
@pytest.mark.parametrize("label", ["f4 in f4", "complex128 turned", f"modulo {2**61 - 1} u8"])
@pytest.mark.parametrize(("k", "r"), [(2, 9), (16, 70), (70, 3), (5, 1)])
@pytest.mark.parametrize("dims", [0, 2, 4])
@pytest.mark.parametrize("limit", [LARGE, SMALL])
def test_every_shape_of_the_source(label: str, k: int, r: int, dims: int, limit: int) -> None:
    """Held inputs, tables, strides; what small arguments do not hold goes another way."""
    for kernel in combining(k, *one(k, r, label), dims=dims, limit=limit):
        assert kernel.arguments.itemsize <= limit
        # Addresses of strided arrays take registers; such sums are not to be the fastest.
        check(kernel, registers=255 if dims else MOST_REGISTERS)


NEIGHBORS = [
    *[
        candidates_kernel(np.dtype(name), np.dtype(rows), width, squared)
        for name, width in (("f2", 8), ("f4", 4), ("f8", 2), ("f4", 1))
        for rows, squared in (("i4", True), ("i8", False))
    ],
    *[
        fuse_kernel(n, np.dtype(name), np.dtype("i8"))
        for n in (0, 1, 15, 64)
        for name in ("f4", "f8")
    ],
    *[top_k_kernel(np.dtype(name), k) for name in ("f2", "f4", "f8") for k in (1, 100, 2048)],
]


@pytest.mark.parametrize(
    "kernel",
    [
        pytest.param(
            kernel,
            id=f"{kernel.kernel}-{number}",
            marks=[] if number in (0, 17) else [pytest.mark.slow],
        )
        for number, kernel in enumerate(NEIGHBORS)
    ],
)
def test_kernels_of_neighbor_search(kernel: Specialization) -> None:
    check(kernel)


@pytest.mark.slow
@pytest.mark.parametrize("arch", [75, 80, 89, 100])
def test_other_devices(arch: int) -> None:
    """From Turing to Blackwell; registers are counted where they limit, the rest compiles."""
    for label in ("f4 in f4", "bf16 in f4", f"modulo {2**31 - 1} u4"):
        for kernel in combining(16, *one(16, 4, label)):
            check(kernel, arch=arch)
    check(top_k_kernel(np.dtype("f4"), 100), arch=arch)


def test_an_argument_laid_out_otherwise_does_not_compile() -> None:
    """The source itself refuses a host that has other ideas of its struct."""
    (kernel,) = combining(4, *one(4, 1, "f4 in f4"))
    size = kernel.arguments.itemsize
    broken = kernel.source().replace(f"ARGUMENT_BYTES {size}", f"ARGUMENT_BYTES {size + 8}")
    compiler = cuda_compiler()
    assert compiler is not None
    with pytest.raises(EmulationError, match="lay arguments out alike"):
        compiler.compiled(broken)


def test_spills_and_parameters_are_seen() -> None:
    """A kernel that needs more registers than there are, and takes two parameters."""
    source = """
    extern "C" __global__ void __launch_bounds__(1024) greedy(float* p, short n) {
      float x[200];
      #pragma unroll
      for (int i = 0; i < 200; ++i) x[i] = p[i * n];
      __syncthreads();
      #pragma unroll
      for (int i = 0; i < 200; ++i) p[i] = x[199 - i] * x[(7 * i) % 200];
    }"""
    compiler = cuda_compiler()
    assert compiler is not None
    found = compiler.compiled(source)
    assert found.parameters == ((8, 8), (2, 2))
    assert found.spilled > 0
    assert found.registers <= 64
