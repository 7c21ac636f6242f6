"""Where arrays of a device are computed, and what is waited for; with the stand-in of CuPy."""

import itertools
import sys
from types import SimpleNamespace
from typing import Any

import dask
import dask.array as da
import device_arrays
import numpy as np
import pytest
from device_support import close, library, lossy, sent, values

from dask_coded.array import (
    coded_matmul,
    encode,
    optimize,
)
from dask_coded.cluster import ShareCancelled, _slices, sliced_adjoint, sliced_matmul
from dask_coded.codes import MDS
from dask_coded.errors import (
    DeviceError,
    DeviceMemoryError,
)
from dask_coded.fields import PAIRED, REAL
from dask_coded.graph import combine_results, mixed, spec_of
from dask_coded.kernels import settled

# The stand-in itself


def test_the_stand_in_refuses_what_cupy_refuses() -> None:
    array = device_arrays.asarray(np.ones((2, 2)))
    for deed in (
        lambda: np.asarray(array),
        lambda: np.linalg.norm(array),
        lambda: np.add(array, np.ones((2, 2))),
        lambda: np.concatenate([array, np.ones((2, 2))]),
        lambda: np.ones((2, 2)) @ array,
        lambda: array @ np.ones((2, 2)),
        lambda: array.max(initial=0.0),
        lambda: np.hypot.reduce([array, array]),
        lambda: array.__setitem__(0, np.ones(2)),
    ):
        with pytest.raises(TypeError):
            deed()


def test_the_stand_in_works_behind_the_back_of_its_caller() -> None:
    array = device_arrays.asarray(np.ones(2)) + 1
    assert not array.ready
    assert settled(array).ready


# Several devices in one process


def check_elsewhere(lazy: da.Array, expected: Any) -> None:
    """The chunks one by one: Dask would join them on the current device."""
    cuts = [np.cumsum((0, *sizes)) for sizes in lazy.chunks]
    for place in itertools.product(*(range(len(sizes)) for sizes in lazy.chunks)):
        chunk = dask.get(dict(lazy.__dask_graph__()), (lazy.name, *place))
        assert type(chunk) is device_arrays.DeviceArray
        assert chunk.device.id == 1
        where = tuple(slice(*cut[i : i + 2]) for i, cut in zip(place, cuts, strict=True))
        close(chunk.get(), expected[where], scale=10)


def put(host: Any, rows: tuple[int, ...], columns: tuple[int, ...]) -> da.Array:
    """Chunk by chunk: Dask's own slices are copies on the current device."""
    row, column = (np.cumsum((0, *sizes)) for sizes in (rows, columns))
    return da.block(
        [
            [
                da.from_array(device_arrays.asarray(host[top:bottom, left:right]), chunks=-1)
                for left, right in itertools.pairwise(column)
            ]
            for top, bottom in itertools.pairwise(row)
        ]
    )


@pytest.mark.parametrize("field", [REAL, PAIRED], ids=lambda field: field.name)
def test_products_run_on_the_device_of_their_chunks(field: Any) -> None:
    a, b, y = values((19, 8), "float64"), values((8, 7), "float64"), values((19, 2), "float64")
    code = MDS(6, k=4, field=field)
    # Graphs are made there, as are Dask's metas. Nothing is computed yet.
    with device_arrays.Device(1):
        # Five uneven chunks of rows: padding, void shares and outputs that are cut back.
        x, z = put(a, (4, 4, 4, 4, 3), (3, 5)), put(b, (3, 5), (7,))
        lazy = coded_matmul(x, z, code=code)
        with optimize(parity=1):
            (rewritten,) = dask.optimize(x @ z)
        encoded = encode(put(a, (5, 5, 5, 4), (8,)), code=code)
    encoded = encoded.persist(scheduler="sync")
    with device_arrays.Device(1):
        forth = encoded @ device_arrays.asarray(b)
        back = encoded.H @ device_arrays.asarray(y)
    for lost in ({0, 1}, {3, 5}):
        check_elsewhere(lossy(lazy, lost), a @ b)
    check_elsewhere(lossy(rewritten, {1}), a @ b)
    check_elsewhere(lossy(forth, {1}), a @ b)
    check_elsewhere(back, a.T @ y)


def test_operands_on_two_devices_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    here = device_arrays.asarray(np.eye(4))
    with device_arrays.Device(1):
        there = device_arrays.asarray(np.eye(4))
    for deed in (
        lambda: sliced_matmul(here, there),
        lambda: sliced_adjoint(here, there),
        lambda: combine_results(np.ones(2), here, there),
        lambda: mixed(np.ones(2), here, there, field=REAL, dtype="float64"),
    ):
        with pytest.raises(DeviceError, match=r"is on device 0, .* on device 1"):
            deed()
    monkeypatch.setattr(_slices, "cancelled_check", lambda: lambda: False)
    monkeypatch.setattr(_slices, "_FIRST_FLOP_ON_DEVICE", 1.0)
    for product in (sliced_matmul(there, there), sliced_adjoint(there, there)):
        assert product.device.id == 1
        close(product.get(), np.eye(4))


def test_a_product_that_does_not_fit_its_device_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise MemoryError("out of memory allocating 128 bytes")

    cupy = SimpleNamespace(
        cuda=SimpleNamespace(runtime=SimpleNamespace(memGetInfo=lambda: (2**20, 2**30))),
        get_default_memory_pool=lambda: SimpleNamespace(free_bytes=lambda: 0),
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(device_arrays.DeviceArray, "__matmul__", full)
    array = device_arrays.asarray(np.zeros((512, 256)))
    for product in (lambda: sliced_matmul(array.T, array), lambda: sliced_adjoint(array, array)):
        with pytest.raises(DeviceMemoryError, match=r"a product needs 0\.5 MiB"):
            product()


# Waiting


def test_a_decoded_output_is_there_when_its_task_is_done() -> None:
    before = device_arrays.counts.waits
    blocks = [device_arrays.asarray(values((3, 8), "float64")) for _ in range(4)]
    weights = np.array([1.0, -1.0, 0.5, 2.0])
    assert combine_results(weights, *blocks).ready
    assert device_arrays.counts.waits == before + 1
    # A tile that is multiplied next is only begun.
    assert not mixed(weights, *blocks, field=REAL, dtype="float64").ready
    assert device_arrays.counts.waits == before + 1


def test_shares_are_there_when_their_tasks_are_done_and_nothing_else_is_waited_for() -> None:
    device = library("device_arrays")
    a, b = values((12, 8), "float64"), values((8, 7), "float64")
    lazy = coded_matmul(sent(device, a, (3, 8)), sent(device, b, (8, 7)), code=MDS(5, k=4))
    graph = dict(lazy.__dask_graph__())
    (spec,) = {spec.group: spec for spec in map(spec_of, graph.values()) if spec}.values()
    before = device_arrays.counts.waits
    for key, result in zip(spec.share_keys, dask.get(graph, list(spec.share_keys)), strict=True):
        assert result.ready, key
    # One for each share, and one for the look whether the mixture is finite.
    assert device_arrays.counts.waits == before + 5 + 1


def test_a_product_on_a_device_waits_between_its_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_slices, "cancelled_check", lambda: lambda: False)
    monkeypatch.setattr(_slices, "_FIRST_FLOP_ON_DEVICE", 200.0)
    # A clock on which nothing takes any time: slices then grow as fast as they may.
    monkeypatch.setattr(_slices, "perf_counter", lambda: 0.0)
    a, b = values((64, 5), "float64"), values((5, 2), "float64")
    before = device_arrays.counts.waits
    product = sliced_matmul(device_arrays.asarray(a), device_arrays.asarray(b))
    assert product.ready
    # Slices double at most: 10, 20 and 34 rows.
    assert device_arrays.counts.waits - before == 3
    close(product.get(), a @ b)
    adjoint = sliced_adjoint(device_arrays.asarray(a), device_arrays.asarray(a))
    assert adjoint.ready
    close(adjoint.get(), a.T @ a)


def test_a_product_that_fits_one_slice_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_slices, "cancelled_check", lambda: lambda: False)
    before = device_arrays.counts.waits
    product = sliced_matmul(*(device_arrays.asarray(np.eye(4)) for _ in range(2)))
    assert not product.ready
    assert device_arrays.counts.waits == before


def test_a_cancelled_product_on_a_device_queues_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = iter([False, False, True])
    monkeypatch.setattr(_slices, "cancelled_check", lambda: lambda: next(looks))
    monkeypatch.setattr(_slices, "_FIRST_FLOP_ON_DEVICE", 1.0)
    monkeypatch.setattr(_slices, "_tell", lambda started: None)
    monkeypatch.setattr(_slices.thread_state, "key", "share", raising=False)
    with pytest.raises(ShareCancelled):
        sliced_matmul(*(device_arrays.asarray(values((9, 9), "float64")) for _ in range(2)))
    assert device_arrays.counts.done == device_arrays.counts.queued
