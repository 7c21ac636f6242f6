"""``combine`` on device blocks: the CUDA source itself, run on a CPU behind a stand-in for CuPy."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dask_coded.codes import MDS
from dask_coded.errors import ParameterError
from dask_coded.fields import COMPLEX, PAIRED, REAL, Field, PrimeField
from dask_coded.graph._tasks import weighted_sum
from dask_coded.kernels import combine, warm_up
from dask_coded.kernels.gpu import use_route
from dask_coded.kernels.gpu._arithmetic import wrapping
from dask_coded.kernels.gpu._combining import plan
from dask_coded.kernels.gpu._geometry import Geometry
from dask_coded.kernels.gpu.emulation import emulated_cupy, host_compiler
from dask_coded.kernels.gpu.emulation._host import load_emulated

pytestmark = pytest.mark.skipif(
    host_compiler() is None, reason="emulation: no g++ with C++20 threads here"
)


@pytest.fixture
def cupy() -> Iterator[Any]:
    with emulated_cupy() as module:
        yield module


def normal(stream: np.random.Generator, dtype: Any, *shape: int) -> Any:
    values = stream.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        values = values + 1j * stream.standard_normal(shape)
    return values.astype(dtype)


def agree(weights: Any, data: list[Any], found: list[Any], dtype: Any = None) -> None:
    """Errors are a few roundings of what is summed, and the arrays are the device's."""
    wide = np.asarray(data).astype(np.clongdouble)
    matrix = np.asarray(weights).astype(np.clongdouble)
    sums, sizes = (
        np.tensordot(w, x, axes=1) for w, x in ((matrix, wide), (abs(matrix), abs(wide)))
    )
    dtype = np.dtype(dtype or data[0].dtype)
    assert len(found) == len(matrix)
    for array, right, size in zip(found, sums, sizes, strict=True):
        assert type(array).__module__ == "cupy"
        assert array.dtype == dtype
        host = array.get()
        assert host.shape == right.shape
        assert (np.abs(host - right) <= 16 * np.finfo(dtype).eps * size).all()


# Sizes that make every path of the source: held inputs, held sums, whole and partial batches,
# a loop of batches, several passes, a table in device memory. Lengths leave ragged ends.
CASES = [
    ("f4", 4, 1, (7,)),
    ("f4", 16, 4, (1001,)),
    ("f4", 3, 70, (9,)),
    ("f4", 20, 18, (33,)),
    ("f4", 64, 16, (65,)),
    ("f4", 70, 2, (77,)),
    ("f8", 8, 2, (3, 5)),
    ("f2", 8, 2, (1, 43)),
    ("c8", 5, 2, (13,)),
]


@pytest.mark.parametrize(("dtype", "k", "r", "shape"), CASES)
def test_sums_are_those_of_the_oracle(
    cupy: Any, dtype: str, k: int, r: int, shape: tuple[int, ...]
) -> None:
    stream = np.random.default_rng(k)
    weights = stream.uniform(-1, 1, (r, k))
    data = [normal(stream, dtype, *shape) for _ in range(k)]
    found = combine(weights, [cupy.asarray(block) for block in data])
    agree(weights, data, found)


def test_weights_that_amplify_are_summed_in_float64(cupy: Any) -> None:
    stream = np.random.default_rng(2)
    weights = 1e5 * stream.standard_normal((2, 8))
    weights[:, -1] = -weights[:, :-1].sum(axis=1)
    common = normal(stream, "f4", 50)
    found = combine(weights, [cupy.asarray(common)] * 8)
    for array, row in zip(found, weights, strict=True):
        size = np.abs(row).sum() * np.abs(common).astype(np.longdouble)
        exact = row.astype(np.longdouble).sum() * common
        assert (np.abs(array.get() - exact) <= 32 * np.finfo(np.float64).eps * size).all()


def test_half_is_rounded_once_from_either_precision(cupy: Any) -> None:
    """Against NumPy's own conversions, over all sizes that binary16 has: ties, subnormals, ends."""
    stream = np.random.default_rng(0)
    data = [(normal(stream, "f8", 600) * 2.0 ** stream.integers(-26, 15, 600)).astype("f2")]
    data += [np.array([0, -0.0, np.inf, np.nan, 65504, 2**-24] * 100, "f2")]
    data.append(np.ones(600, "f2"))
    for last in (2.0**-12, 2.0**-70):  # summed in float32, in float64
        weights = [[0.37, 0.11, last]]
        (found,) = combine(weights, [cupy.asarray(block) for block in data])
        with np.errstate(over="ignore"):
            (expected,) = combine(weights, data)
        np.testing.assert_array_equal(found.get(), expected)


def test_half_blocks_into_float32(cupy: Any) -> None:
    stream = np.random.default_rng(3)
    data = [normal(stream, "f2", 21) for _ in range(3)]
    out = [cupy.empty((21,), np.float32)]
    found = combine([[1, 2, 3]], [cupy.asarray(block) for block in data], out=out)
    assert found[0] is out[0]
    agree([[1, 2, 3]], [block.astype("f4") for block in data], found)


def test_bfloat16_is_summed_in_float32_and_rounded_once(cupy: Any) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    stream = np.random.default_rng(0)
    data = [normal(stream, "f4", 40).astype(ml_dtypes.bfloat16) for _ in range(3)]
    for weights in ([[0.5, -1, 2]], [[2.0**80, 2.0**80, -(2.0**80)]]):
        (found,) = combine(weights, [cupy.asarray(block) for block in data])
        assert found.dtype == data[0].dtype
        exact = sum(w * block.astype(float) for w, block in zip(weights[0], data, strict=True))
        np.testing.assert_array_equal(found.get(), exact.astype(ml_dtypes.bfloat16))


@pytest.mark.parametrize("dtype", ["f4", "c16"])
def test_complex_weights(cupy: Any, dtype: str) -> None:
    stream = np.random.default_rng(1)
    data = [normal(stream, dtype, 9, 7) for _ in range(3)]
    blocks = [cupy.asarray(block) for block in data]
    for weights in (normal(stream, complex, 2, 3), stream.uniform(-1, 1, (2, 3)) + 0j):
        agree(weights, data, combine(weights, blocks, field=COMPLEX), np.result_type(dtype, "c8"))


@pytest.mark.parametrize("shape", [(6, 5), (2, 3)])
def test_paired(cupy: Any, shape: tuple[int, ...]) -> None:
    """Lower halves start where no access of several elements may."""
    stream = np.random.default_rng(4)
    weights = normal(stream, complex, 2, 3)
    data = [normal(stream, "f4", *shape) for _ in range(3)]
    found = combine(weights, [cupy.asarray(block) for block in data], field=PAIRED)
    whole = [np.split(block, 2)[0] + 1j * np.split(block, 2)[1] for block in data]
    exact = np.tensordot(weights, np.stack(whole), 1)
    for array, right in zip(found, exact, strict=True):
        upper, lower = np.split(array.get(), 2)
        np.testing.assert_allclose(upper + 1j * lower, right, atol=1e-5)


@pytest.mark.parametrize("dtype", ["?", "i2", "u8"])
def test_integers_wrap(cupy: Any, dtype: str) -> None:
    stream = np.random.default_rng(5)
    limits = (0, 2) if dtype == "?" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    data = [stream.integers(*limits, 35, np.int64 if dtype == "?" else dtype) for _ in range(3)]
    data = [block.astype(dtype) for block in data]
    weights = [[1, -3, 2.0**40], [0, 7, 1], [0, 0, 0]]
    found = combine(weights, [cupy.asarray(block) for block in data])
    expected = combine(weights, data)
    for array, right in zip(found, expected, strict=True):
        assert array.dtype == right.dtype
        np.testing.assert_array_equal(array.get(), right)


def test_what_is_not_read_does_not_matter(cupy: Any) -> None:
    """Zero weights skip NaN also inside a group of rows that are computed together."""
    data = [np.array([1.0, np.nan, 3.0, -0.0]) for _ in range(4)]
    data[0] = np.full(4, np.inf)
    data[2] = np.arange(4.0)
    weights = [[0, 0, 2, 0], [1, 0, 0, 0], [0, 0, 0, 0], [2, 2, 2, 0], [2, 0, 2, 0], [0, 1, 0, 0]]
    found = combine(weights, [cupy.asarray(block) for block in data])
    expected = combine(weights, data)
    for array, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array.get(), right)
    assert found[5].get().tobytes() == data[1].tobytes()


LAYOUTS = ["offset", "fortran", "mixed", "columns", "reversed", "broadcast", "deep"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_memory_layout(cupy: Any, layout: str) -> None:
    stream = np.random.default_rng(6)
    shape = (6, 5)
    plain = [normal(stream, "f4", *shape) for _ in range(3)]
    if layout == "offset":
        stored = [cupy.asarray(np.concatenate([[9], x.ravel()]).astype("f4")) for x in plain]
        blocks = [array[1:].reshape(shape) for array in stored]
    elif layout == "fortran":
        blocks = [cupy.asarray(np.asfortranarray(block)) for block in plain]
    elif layout == "mixed":
        blocks = [
            cupy.asarray(np.asfortranarray(block) if index else block)
            for index, block in enumerate(plain)
        ]
    elif layout == "columns":
        blocks = [cupy.asarray(np.repeat(np.repeat(x, 2, 0), 3, 1))[::2, ::3] for x in plain]
    elif layout == "reversed":
        blocks = [cupy.asarray(block[::-1, ::-1].copy())[::-1, ::-1] for block in plain]
    elif layout == "broadcast":
        plain = [np.repeat(block[:, :1], 5, 1) for block in plain]
        blocks = [cupy.asarray(np.broadcast_to(block[:, :1], shape)) for block in plain]
    else:
        shape = (2, 2, 2, 2, 2, 3)
        plain = [normal(stream, "f4", *shape) for _ in range(3)]
        blocks = [cupy.asarray(np.repeat(block, 2, -1).transpose()) for block in plain]
        blocks = [block[::2].transpose() for block in blocks]
        blocks[0] = cupy.asarray(plain[0])
    weights = stream.uniform(-1, 1, (2, 3))
    found = combine(weights, blocks)
    agree(weights, plain, found)
    if layout == "fortran":
        assert found[0].flags.f_contiguous


def test_writes_into_out_of_any_layout(cupy: Any) -> None:
    stream = np.random.default_rng(7)
    data = [normal(stream, "f8", 4, 6) for _ in range(2)]
    weights = stream.uniform(-1, 1, (2, 2))
    stored = cupy.zeros((4, 12))
    out = [stored[:, ::2], stored[:, 1::2]]
    found = combine(weights, [cupy.asarray(block) for block in data], out=out)
    assert all(array is own for array, own in zip(found, out, strict=True))
    agree(weights, data, found)


@pytest.mark.parametrize("dtype", ["c8", "c16"])
@pytest.mark.parametrize("weights", [[[2j, 3], [0, 1]], [[2, 3], [0, 0]]])
def test_complex_views_that_start_between_two_elements(cupy: Any, dtype: str, weights: Any) -> None:
    """A kernel takes a complex number in one access, which such an address does not allow."""
    stream = np.random.default_rng(11)
    parts = [normal(stream, np.dtype(dtype).type(0).real.dtype, 13) for _ in range(2)]
    data = [array[1:].view(dtype) for array in parts]
    placed = [cupy.asarray(array) for array in parts]
    out = [cupy.zeros((13,), parts[0].dtype)[1:].view(dtype) for _ in range(2)]
    blocks = [array[1:].view(dtype) for array in placed]
    assert blocks[0].data.ptr % np.dtype(dtype).itemsize
    cupy.standin.recorded = []
    agree(weights, data, combine(weights, blocks, field=COMPLEX))
    found = combine(weights, blocks, field=COMPLEX, out=out)
    assert found[0] is out[0]
    agree(weights, data, found)
    for launch in cupy.standin.recorded:
        pointers = [*launch.job.arguments["in"].ravel(), *launch.job.arguments["out"].ravel()]
        assert not any(int(pointer) % np.dtype(dtype).itemsize for pointer in pointers)


@pytest.mark.parametrize("axis", [2**32, 2**32 + 5, 2**33])
def test_axes_longer_than_32_bits_are_walked(axis: int) -> None:
    """Only a few elements are summed, as if they were the first of so many."""
    data = np.arange(40, dtype=np.uint8)
    made = np.zeros(20, np.uint8)
    pointers = [array.__array_interface__["data"][0] for array in (data, made)]
    launch = plan(
        wrapping(np.array([[3]]), data.dtype),
        Geometry(pointers, (axis,), [2, 1]),
        (data.dtype, data.dtype),
        0,
        4096,
    )
    assert launch is not None
    assert launch.arguments["length"] == axis
    launch.arguments["length"] = made.size
    run = load_emulated(launch.specialization.source(), "combine")
    run(1, 32, False, launch.arguments.ctypes.data)
    np.testing.assert_array_equal(made, 3 * data[::2])


def test_empty_blocks_and_no_outputs(cupy: Any) -> None:
    empty = cupy.zeros((0, 3))
    assert combine([[2.0]], [empty])[0].shape == (0, 3)
    assert combine([[2.0]], [cupy.zeros((0,), np.int64)])[0].shape == (0,)
    assert combine(np.zeros((0, 1)), [empty]) == []
    assert combine([[2.0]], [cupy.full((), 3.0)])[0].get() == 6


def test_blocks_of_two_dtypes_are_converted_on_the_device(cupy: Any) -> None:
    data = [np.arange(5, dtype="f4"), np.arange(5.0)]
    (found,) = combine([[2, 3]], [cupy.asarray(block) for block in data])
    np.testing.assert_array_equal(found.get(), 5 * np.arange(5.0))


def test_drivers_that_take_small_arguments_only(cupy: Any) -> None:
    """Before CUDA 12.1 a kernel takes 4 KiB: weights go to device memory, strides are copied."""
    cupy.cuda.runtime.driverGetVersion = lambda: 12000
    stream = np.random.default_rng(10)
    weights = stream.uniform(-1, 1, (15, 40))
    data = [normal(stream, "f8", 3, 7) for _ in range(40)]
    agree(weights, data, combine(weights, [cupy.asarray(block) for block in data]))
    assert "#define INPUTS 0" in cupy.standin.launches[-1][1]
    stored = cupy.zeros((15, 7, 3))
    blocks = [cupy.asarray(block.T.copy()).transpose() for block in data[:-1]]
    out = [stored[row].transpose() for row in range(15)]
    found = combine(weights, [*blocks, cupy.asarray(data[-1])], out=out)
    assert all(array is own for array, own in zip(found, out, strict=True))
    agree(weights, data, found)


def test_one_launch_reads_every_block_once(cupy: Any) -> None:
    blocks = [cupy.asarray(np.ones(8, "f4")) for _ in range(4)]
    combine(np.full((4, 4), 0.5), blocks)
    assert [name for name, _ in cupy.standin.launches] == ["combine"]


@pytest.mark.parametrize("stacked", [True, False])
def test_cublas_is_a_route(cupy: Any, stacked: bool) -> None:
    stream = np.random.default_rng(8)
    data = normal(stream, "f4", 3, 10)
    whole = cupy.asarray(data)
    blocks = [whole[i] if stacked else cupy.asarray(data[i]) for i in range(3)]
    weights = stream.uniform(-1, 1, (2, 3))
    use_route("cublas")
    try:
        found = combine(weights, blocks)
    finally:
        use_route(None)
    assert cupy.standin.launches == []
    agree(weights, list(data), found)


def test_warm_up_compiles_what_the_work_then_uses(cupy: Any) -> None:
    warm_up([(3, 2)], ["float32"])
    before = set(cupy.standin.launches)
    stream = np.random.default_rng(9)
    for scale in (1, 1e6):
        weights = scale * stream.uniform(1, 2, (2, 3))
        combine(weights, [cupy.asarray(normal(stream, "f4", 50)) for _ in range(3)])
    assert set(cupy.standin.launches) == before


@pytest.mark.parametrize("field", [REAL, COMPLEX, PAIRED], ids=lambda field: field.name)
def test_warm_up_of_every_field(cupy: Any, field: Field) -> None:
    warm_up([(1, 1)], ["float64"], field=field)
    assert cupy.standin.launches


def test_warm_up_of_a_size_compiles_that_size(cupy: Any) -> None:
    """A single input with several outputs too, none of which may be a mere copy."""
    warm_up([(1, 3)], ["int32", "float32"], layouts=["aligned"])
    for _, source in cupy.standin.launches:
        assert "#define INPUTS 1\n#define OUTPUTS 3\n" in source


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_warm_up_of_a_code_compiles_what_its_tasks_use(cupy: Any, dtype: str) -> None:
    code = MDS(6, k=4)
    warm_up(code=code, dtypes=[dtype])
    before = set(cupy.standin.launches)
    assert any("#define WIDTH 1\n" in source for _, source in before)
    stream = np.random.default_rng(12)
    data = [normal(stream, dtype, 50) for _ in range(4)]
    blocks = [cupy.asarray(block) for block in data]
    shares = [weighted_sum(row, *blocks) for row in code.generator()]
    for kept in (6, 5, 4):
        decoder = code.decoder(range(kept))
        results = [shares[share] for share in decoder.shares]
        for row, block in zip(decoder.weights, data, strict=True):
            output = weighted_sum(row, *results)
            np.testing.assert_allclose(output.get(), block, rtol=0, atol=1e-4)
    assert set(cupy.standin.launches) == before


def test_warm_up_of_a_search_compiles_the_fusion_too(cupy: Any) -> None:
    warm_up([(3, 1)], ["float32"], nearest=[5])
    names = {name for name, _ in cupy.standin.launches}
    assert names == {"combine", "candidates", "fuse_distances", "top_k"}
    assert any(
        name == "fuse_distances" and "#define INPUTS 3\n" in source
        for name, source in cupy.standin.launches
    )


def test_warm_up_of_an_exact_code(cupy: Any) -> None:
    warm_up(code=MDS(5, k=3, field=PrimeField(2**31 - 1)))
    assert any("Mersenne31" in source for _, source in cupy.standin.launches)
    with pytest.raises(ParameterError, match="'aligned', 'unaligned' or 'strided'; got"):
        warm_up([(2, 1)], layouts=["crooked"])  # type: ignore[list-item]
