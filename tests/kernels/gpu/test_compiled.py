"""What a CUDA compiler says of the kernels, with no GPU and no driver: they compile, spill nothing,
leave room for enough threads, and take their argument as the host lays it out."""

import re
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
    half, single, double = (np.dtype(name) for name in ("f2", "f4", "f8"))
    for wide in (False, True):
        real, label = floating(weights, False, wide), "f8" if wide else "f4"
        for dtype in (half, single, double) if wide else (half, single):
            kinds.append((f"{dtype.str[1:]} in {label}", real, dtype, dtype))
        kinds.append((f"f2 into f4 in {label}", real, half, single))
        kinds.append((f"bf16 in {label}", real, Brain, Brain))
        kinds.append((f"bf16 into f4 in {label}", real, Brain, single))
        for out in (np.dtype("c8"), np.dtype("c16")) if wide else (np.dtype("c8"),):
            # Real weights on complex data, and real data into complex outputs.
            scaled = floating(weights, True, wide)
            kinds.append((f"{out} scaled in {label}", scaled, out, out))
            turning = floating(turned, True, wide)
            kinds.append((f"{out} turned in {label}", turning, out, out))
            for taken in (half, single) if out.itemsize == 8 else (double,):
                name = f"{taken.str[1:]} into {out}"
                kinds.append((f"{name} scaled in {label}", scaled, taken, out))
                kinds.append((f"{name} turned in {label}", turning, taken, out))
        kinds.append((f"f4 masked in {label}", floating(masked, False, wide), single, single))
    for name in ("?", "u1", "u2", "u4", "u8"):
        dtype = np.dtype(name)
        kinds.append((f"integer {name}", wrapping(np.ones((r, k)), dtype), dtype, dtype))
    ones = np.ones((r, k), int)
    four, eight = np.dtype("u4"), np.dtype("u8")
    # What take four bytes give eight unless told otherwise, and the other way round.
    for taken, made in ((four, four), (four, eight), (eight, four), (eight, eight)):
        arithmetic = modular(ones, 2**31 - 1)
        label = f"modulo 2^31-1 {taken.str[1:]} into {made.str[1:]}"
        kinds.append((label, arithmetic, taken, made))
    kinds.append(("modulo 2^61-1", modular(ones, 2**61 - 1), eight, eight))
    kinds.append(("goldilocks", modular(ones, 2**64 - 2**32 + 1), eight, eight))
    return kinds


def combining(
    k: int,
    arithmetic: Arithmetic,
    taken: Any,
    made: Any,
    *,
    dims: int = 0,
    limit: int = LARGE,
    offset: int = 0,
) -> list[Specialization]:
    """The kernels of all passes of one sum."""
    kernels = []
    for rows in row_passes(arithmetic, limit):
        part = arithmetic._replace(weights=arithmetic.weights[rows])
        arrays = k + len(part.weights)
        steps = [8] * (arrays * dims)
        geometry = Geometry([offset] * arrays, (5,) * max(dims, 1), steps)
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


LABELS = [label for label, *_ in every_arithmetic(1, 1)]
SIZES = [(4, 1), (8, 2), (16, 4), (32, 8), (64, 16)]
#: What runs each time: every arithmetic in one size, every size in one arithmetic.
USUAL = [(16, 4, label) for label in LABELS] + [(k, r, "f4 in f4") for k, r in SIZES]
EVERY = [
    pytest.param(
        k,
        r,
        label,
        marks=[] if (k, r, label) in USUAL else [pytest.mark.slow],
        id=f"{k}-{r}-{label}",
    )
    for k, r in SIZES
    for label in LABELS
]


def one(k: int, r: int, label: str) -> tuple[Arithmetic, Any, Any]:
    return next(
        (how, taken, made) for name, how, taken, made in every_arithmetic(k, r) if name == label
    )


@pytest.mark.parametrize(("k", "r", "label"), EVERY)
def test_every_sum(k: int, r: int, label: str) -> None:
    for kernel in combining(k, *one(k, r, label)):
        check(kernel)


@pytest.mark.parametrize(
    ("label", "offset"),
    [("f4 in f4", 4), ("f4 in f4", 8), ("f2 in f4", 2), ("integer u1", 1), ("f8 in f8", 8)],
)
def test_contiguous_blocks_off_the_grain(label: str, offset: int) -> None:
    for kernel in combining(16, *one(16, 4, label), offset=offset):
        assert dict(kernel.defines)["WIDTH"] < 4
        check(kernel)


@pytest.mark.slow
@pytest.mark.parametrize("label", ["f4 in f4", "complex128 turned in f8", "modulo 2^61-1"])
@pytest.mark.parametrize(("k", "r"), [(2, 9), (16, 70), (70, 3), (5, 1)])
@pytest.mark.parametrize("dims", [0, 2, 4])
@pytest.mark.parametrize("limit", [LARGE, SMALL])
def test_every_shape_of_the_source(label: str, k: int, r: int, dims: int, limit: int) -> None:
    """Held inputs, tables, strides; what small arguments do not hold goes another way."""
    for kernel in combining(k, *one(k, r, label), dims=dims, limit=limit):
        assert kernel.arguments.itemsize <= limit
        # Addresses of strided arrays take registers; such sums are not to be the fastest.
        check(kernel, registers=255 if dims else MOST_REGISTERS)


FLOATS = [np.dtype("f2"), Brain, np.dtype("f4"), np.dtype("f8")]
INT, LONG = np.dtype("i4"), np.dtype("i8")
NEIGHBORS = [
    *[
        candidates_kernel(dtype, rows, width, squared)
        for dtype in FLOATS
        for width in (16 // dtype.itemsize, 1)
        for rows, squared in ((INT, True), (LONG, False))
    ],
    *[fuse_kernel(n, dtype, LONG) for n in (0, 1, 15, 64) for dtype in FLOATS],
    *[fuse_kernel(3, dtype, INT) for dtype in FLOATS],
    *[top_k_kernel(dtype, k) for dtype in FLOATS for k in (1, 100, 2048)],
]


@pytest.mark.parametrize("number", range(len(NEIGHBORS)))
def test_kernels_of_neighbor_search(number: int) -> None:
    check(NEIGHBORS[number])


@pytest.mark.slow
@pytest.mark.parametrize("arch", [75, 80, 89, 100])
def test_other_devices(arch: int) -> None:
    """From Turing to Blackwell; registers are counted where they limit, the rest compiles."""
    for label in ("f4 in f4", "bf16 in f4", "modulo 2^31-1 u4 into u4"):
        for kernel in combining(16, *one(16, 4, label)):
            check(kernel, arch=arch)
    check(top_k_kernel(np.dtype("f4"), 100), arch=arch)


def offsets_of(source: str, kernel: Specialization) -> list[int]:
    """Where the device finds each field, from what it would store of a null pointer's members."""
    members = [
        f"modulus.{name}" if name in ("p", "inverse") else name
        for name in kernel.arguments.names or ()
    ]
    stores = "".join(
        f"  to[{number}] = (u64)&((Arguments*)0)->{member};\n"
        for number, member in enumerate(members)
    )
    compiler = cuda_compiler()
    assert compiler is not None
    ptx = compiler.ptx(f'{source}\nextern "C" __global__ void layout(u64* to) {{\n{stores}}}\n')
    body = re.search(r"\.entry layout\((.*?)\n}", ptx, re.DOTALL)
    assert body is not None
    values = dict(re.findall(r"mov\.\w+\s+(%\w+), (\d+);", body[1]))
    stored = re.findall(r"st(?:\.\w+)+\s+\[%\w+(?:\+(\d+))?\], (%?\w+);", body[1])
    found = {int(at or 0) // 8: int(values.get(value, value)) for at, value in stored}
    return [found[number] for number in range(len(members))]


LAID_OUT = [
    *[
        kernel
        for k, r, label, dims in (
            (4, 1, "f4 in f4", 0),
            (3, 2, "complex64 turned in f4", 2),
            (3, 1, "modulo 2^61-1", 1),
            (70, 1, "f8 in f8", 0),
        )
        for kernel in combining(k, *one(k, r, label), dims=dims)
    ],
    *NEIGHBORS[:1],
    fuse_kernel(0, np.dtype("f4"), LONG),
    fuse_kernel(3, np.dtype("f4"), INT),
    top_k_kernel(np.dtype("f8"), 5),
]


@pytest.mark.parametrize("number", range(len(LAID_OUT)))
def test_every_field_lies_where_the_host_puts_it(number: int) -> None:
    kernel = LAID_OUT[number]
    fields = kernel.arguments.fields
    assert fields is not None
    assert offsets_of(kernel.source(), kernel) == [offset for _, offset in fields.values()]


def test_fields_of_one_size_in_another_order_are_seen() -> None:
    kernel = top_k_kernel(np.dtype("f8"), 5)
    source = kernel.source()
    assert source.count("i64 n_rows, n_columns, step") == 1
    broken = source.replace("i64 n_rows, n_columns, step", "i64 n_columns, n_rows, step")
    assert offsets_of(broken, kernel) != offsets_of(source, kernel)


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
