"""The stand-in for CuPy: it has no name that CuPy has not, and the wall around its memory holds."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dask_coded.kernels.gpu._source import OPTIONS
from dask_coded.kernels.gpu.emulation import emulated_cupy


def names(module: Any) -> list[str]:
    """What the stand-in offers, as dotted names."""
    found = []
    for name, value in vars(module).items():
        if name.startswith("_") or name == "standin":
            continue
        found.append(name)
        if isinstance(value, SimpleNamespace):
            found += [f"{name}.{inner}" for inner in names(value)]
    return found


def test_every_name_is_one_of_cupys() -> None:
    """Importing CuPy needs no device, and neither does looking at what it has."""
    cupy = pytest.importorskip("cupy")
    with emulated_cupy() as standin:
        wanted = names(standin)
        on_arrays = [name for name in dir(standin.ndarray) if not name.startswith("_")]
    for dotted in wanted:
        value: Any = cupy
        for part in dotted.split("."):
            assert hasattr(value, part), dotted
            value = getattr(value, part)
    own = {"standin", "placed"}
    assert [name for name in on_arrays if name not in own and not hasattr(cupy.ndarray, name)] == []
    device = [name for name in vars(cupy.cuda.Device) if not name.startswith("__")]
    assert {"attributes", "compute_capability", "id", "synchronize"} <= set(device)
    cupy.RawModule(code='extern "C" __global__ void f() {}', options=OPTIONS)


def test_no_data_leaves_unasked() -> None:
    with emulated_cupy() as cupy:
        array = cupy.asarray(np.arange(4.0))
        with pytest.raises(TypeError, match="Implicit conversion"):
            np.asarray(array)
        with pytest.raises(TypeError, match="Unsupported type"):
            array[...] = np.arange(4.0)
        with pytest.raises(TypeError, match="does not do sum"):
            np.sum(array)
        assert array.get().tolist() == [0, 1, 2, 3]


def test_views_share_memory_and_copies_do_not() -> None:
    with emulated_cupy() as cupy:
        array = cupy.asarray(np.arange(12.0).reshape(3, 4))
        view, copy = array[1:, ::2], array.astype(np.float64)
        view[...] = 9
        assert array.get().tolist() == [[0, 1, 2, 3], [9, 5, 9, 7], [9, 9, 9, 11]]
        assert float(copy.max()) == 11
        again = cupy.ndarray((2,), np.float64, array[1].data)
        assert again.get().tolist() == [9, 5]
        fortran = cupy.asarray(np.asfortranarray(array.get()))
        assert fortran.flags.f_contiguous
        assert fortran.data.ptr % 512 == 0


def test_new_memory_is_garbage_and_is_counted() -> None:
    with emulated_cupy(limit=1000) as cupy:
        array = cupy.empty((100,))
        assert array.get().all()
        with pytest.raises(MemoryError, match="allocated so far: 800"):
            cupy.empty((100,))
        del array
        assert cupy.standin.used == 0


def test_what_was_imported_before_is_there_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    before = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "cupy", before)  # type: ignore[arg-type]
    with emulated_cupy() as cupy:
        assert sys.modules["cupy"] is cupy
    assert sys.modules["cupy"] is before
