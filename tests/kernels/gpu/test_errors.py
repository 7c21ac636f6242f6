"""What goes wrong with devices has a name and says what to do; nothing is touched before."""

import subprocess
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dask_coded.errors import (
    BlockShapeError,
    DeviceError,
    DeviceMemoryError,
    ParameterError,
    UnsupportedDtypeError,
    WeightsError,
)
from dask_coded.fields import COMPLEX, PAIRED, REAL
from dask_coded.kernels import candidate_distances, combine, top_k, warm_up
from dask_coded.kernels.gpu import RouteCase, default_route, require_device, use_route
from dask_coded.kernels.gpu.emulation import emulated_cupy, host_compiler

emulation = pytest.mark.skipif(
    host_compiler() is None, reason="emulation: no g++ with C++20 threads here"
)


def test_without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(DeviceError, match=r"CuPy could not be imported.*cupy-cuda12x or"):
        require_device()


def test_without_a_device() -> None:
    with emulated_cupy(n_devices=0):
        for action in (require_device, lambda: warm_up([(4, 1)], required=True)):
            with pytest.raises(DeviceError, match="sees no CUDA device"):
                action()


def test_warm_up_goes_on_where_there_is_no_device(caplog: pytest.LogCaptureFixture) -> None:
    """Every worker of a cluster is told to, and some may have no GPU."""
    with emulated_cupy(n_devices=0):
        warm_up([(4, 1)])
    assert "sees no CUDA device" in caplog.text


def test_without_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy itself raises then, whatever it is asked."""

    def count() -> int:
        raise RuntimeError("cudaErrorInsufficientDriver")

    module: Any = ModuleType("cupy")
    module.__version__ = "14.2.0"
    module.cuda = SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=count))
    monkeypatch.setitem(sys.modules, "cupy", module)
    with pytest.raises(DeviceError, match=r"InsufficientDriver.*nvidia-smi"):
        require_device()


def test_real_cupy_without_a_device() -> None:
    """In a process of its own: whatever CuPy does when it is imported, it does there."""
    pytest.importorskip("cupy")
    program = (
        "import cupy, sys\n"
        "from dask_coded.errors import DeviceError\n"
        "from dask_coded.kernels.gpu import require_device\n"
        "if cupy.cuda.is_available(): sys.exit('there is a device')\n"
        "try: require_device()\n"
        "except DeviceError as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    if "there is a device" in run.stderr:
        pytest.skip("there is a device")
    assert "finds no CUDA device" in run.stdout, run.stderr


def test_without_a_compiler() -> None:
    def fail() -> None:
        raise RuntimeError("libnvrtc.so.12: cannot open shared object file")

    with emulated_cupy() as cupy:
        cupy.RawModule = lambda **_: SimpleNamespace(compile=fail)
        with pytest.raises(DeviceError, match=r"combine could not be compiled.*libnvrtc.*wheel"):
            combine([[2]], [cupy.zeros((4,))])


@emulation
def test_blocks_on_several_devices() -> None:
    with emulated_cupy(n_devices=2) as cupy:
        first = cupy.asarray(np.ones(4))
        with cupy.cuda.Device(1):
            second = cupy.asarray(np.ones(4))
            starts = cupy.asarray(np.array([0, 4]))
        with pytest.raises(DeviceError, match="block 0 is on device 0, block 1 on device 1"):
            combine([[1, 2]], [first, second])
        with pytest.raises(DeviceError, match=r"out\[0\] on device 1"):
            combine([[1, 2]], [first, first], out=[second])
        with pytest.raises(DeviceError, match="starts on device 1"):
            top_k(first, 2, starts)
        # Work runs where its arrays lie, whichever device is current.
        for field in (REAL, PAIRED):
            (found,) = combine([[1, 2 if field == REAL else 2j]], [second, second], field=field)
            assert found.device.id == 1
        assert top_k(second, 2, starts)[0].device.id == 1
        assert cupy.cuda.Device().id == 0


@emulation
def test_out_of_memory_says_how_much_and_leaves_the_pool_usable() -> None:
    mib = 1 << 20
    with emulated_cupy(limit=5 * mib) as cupy:
        blocks = [cupy.asarray(np.ones(mib // 8)) for _ in range(2)]
        used = cupy.standin.used
        with pytest.raises(
            DeviceMemoryError, match=r"needs 4\.0 MiB.*3\.0 MiB of 5\.0 MiB are free.*chunks"
        ):
            combine(np.full((4, 2), 0.5), blocks)
        assert cupy.standin.used == used
        combine(np.full((3, 2), 0.5), blocks)
        with pytest.raises(DeviceMemoryError, match="combine needs 4"):
            combine(np.full((4, 2), 0.5), blocks, field=PAIRED)
        with pytest.raises(MemoryError, match="combine needs"):
            combine(np.full((5, 2), 2), [block.astype(np.int64) for block in blocks[:1]] * 2)
        points = blocks[0].reshape(-1, 1)
        rows = cupy.zeros((mib // 4,), np.int32)
        starts = cupy.asarray(np.array([0, mib // 4]))
        with pytest.raises(DeviceMemoryError, match="candidates needs 2"):
            candidate_distances(points, points[:1], rows, starts)


@emulation
def test_dtypes_that_no_kernel_sums() -> None:
    with emulated_cupy() as cupy:
        whole = cupy.zeros((3,), np.int64)
        with pytest.raises(UnsupportedDtypeError, match=r"0\.5\. Use a code over a PrimeField"):
            combine([[0.5]], [whole])
        with pytest.raises(UnsupportedDtypeError, match="astype"):
            combine([[1]], [whole], field=COMPLEX)
        with pytest.raises(UnsupportedDtypeError, match="uint64"):
            combine([[1, 1]], [whole, cupy.zeros((3,), np.uint64)])
        with pytest.raises(UnsupportedDtypeError, match="block 0 has dtype object"):
            combine([[1]], [SimpleNamespaceArray(cupy)])
        with pytest.raises(UnsupportedDtypeError, match="one library"):
            combine([[1, 1]], [whole, np.zeros(3, int)])
        with pytest.raises(WeightsError, match="field=COMPLEX"):
            combine([[1j]], [cupy.zeros((3,))])


def SimpleNamespaceArray(cupy: Any) -> Any:
    """CuPy has no arrays of objects; one made by force must be refused all the same."""
    array = cupy.zeros((3,))
    array._host = np.zeros(3, object)
    return array


@emulation
def test_out_that_does_not_fit() -> None:
    with emulated_cupy() as cupy:
        block = cupy.zeros((4,))
        with pytest.raises(BlockShapeError, match="1 outputs; out holds 2"):
            combine([[2]], [block], out=[cupy.zeros((4,)), cupy.zeros((4,))])
        with pytest.raises(BlockShapeError, match=r"numpy\.ndarray; CuPy"):
            combine([[2]], [block], out=[np.zeros(4)])
        with pytest.raises(BlockShapeError, match=r"must be float64 of shape \(4,\); got float32"):
            combine([[2]], [block], out=[cupy.zeros((4,), np.float32)])
        with pytest.raises(BlockShapeError, match="share memory"):
            combine([[2]], [block], out=[block])
        with pytest.raises(BlockShapeError, match="share memory"):
            combine([[2], [3]], [block], out=[cupy.zeros((4,))] * 2)
        half = cupy.zeros((4,), np.float16)
        both = [cupy.zeros((4,), name) for name in (np.float16, np.float32)]
        with pytest.raises(BlockShapeError, match="one dtype"):
            combine([[2], [3]], [half], out=both)


def test_routes() -> None:
    case = RouteCase(64, 64, np.dtype("f4"), 10**6, True)
    assert default_route(case) == "cublas"
    assert default_route(case._replace(stacked=False)) == "combine"
    assert default_route(case._replace(n_outputs=16)) == "combine"
    for bad in ("fastest", 3):
        with pytest.raises(ParameterError, match="cublas"):
            use_route(bad)  # type: ignore[arg-type]


@emulation
def test_a_rule_that_says_nonsense_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with emulated_cupy() as cupy:
        blocks = [cupy.zeros((4,), np.float32)] * 2
        use_route(lambda case: "fastest")
        try:
            with pytest.raises(ParameterError, match="it said 'fastest'"):
                combine([[2, 3]], blocks)
            # Ten bits of a weight are not enough: with TensorFloat-32 nobody is asked.
            monkeypatch.setenv("CUPY_TF32", "1")
            combine([[2, 3]], blocks)
        finally:
            use_route(None)


def test_importing_and_registering_touches_no_device() -> None:
    # What Dask itself loads where it is installed is none of our doing.
    program = (
        "import sys, dask.array, distributed; before = set(sys.modules)\n"
        "import dask_coded.kernels.gpu as gpu, dask_coded.kernels as kernels\n"
        "assert 'cupy' not in sys.modules.keys() - before\n"
        "assert kernels._backends._BACKENDS['cupy'] is gpu.combine_cupy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
