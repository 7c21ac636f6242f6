"""Dask's own optimisation around our tasks: chains are fused, groups are not."""

from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask._task_spec import Task, TaskRef
from dask.array.optimization import optimize as dask_optimize
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph
from dask.local import get_sync

from dask_coded.array import coded_matmul
from dask_coded.codes import MDS, MatDot
from dask_coded.graph import DataShareTask, DecodeTask, group_tasks, spec_of


def optimised(array: da.Array) -> dict[Any, Any]:
    return dict(dask_optimize(array.__dask_graph__(), list(flatten(array.__dask_keys__()))))


def read(path: str, share: int) -> np.ndarray:
    return np.load(path)[share]


def encoded(tile: np.ndarray) -> np.ndarray:
    return tile * 1.0


def times(tile: np.ndarray, x: np.ndarray) -> np.ndarray:
    return tile @ x


def at_rest(path: Path) -> tuple[HighLevelGraph, list[Any], np.ndarray]:
    """Shares read from disk: each share's chain of read, encode, multiply is read by one task."""
    code = MDS(5, 3)
    blocks = np.random.default_rng(0).random((3, 2, 4))
    x = np.arange(4.0)
    np.save(path, np.einsum("nk,kij->nij", code.generator(), blocks))
    tasks: dict[Any, Any] = {}
    for share in range(5):
        tasks["read", share] = Task(("read", share), read, str(path), share)
        tasks["encode", share] = Task(("encode", share), encoded, TaskRef(("read", share)))
    outputs = [("product", output) for output in range(3)]
    work = [(times, (TaskRef(("encode", share)), x)) for share in range(5)]
    tasks |= group_tasks("group", code, work, outputs, parity_name="parity")
    return HighLevelGraph.from_collections("product", tasks), outputs, blocks @ x


def test_chains_of_single_dependents_are_fused(tmp_path: Path) -> None:
    graph, outputs, expected = at_rest(tmp_path / "shares.npy")
    low = dict(dask_optimize(graph, outputs))
    work = [task for task in low.values() if type(task) is Task]
    # Reading and encoding is one task; for parity the product is in it as well.
    assert len(work) == 5
    assert all(task.has_subgraph() for task in work)
    groups = [task for task in low.values() if spec_of(task) is not None]
    assert len(groups) == 3
    assert all(type(task) is DataShareTask for task in groups)
    for task in groups:
        assert set(spec_of(task).share_keys) <= low.keys()
    np.testing.assert_allclose(get_sync(low, outputs), expected)


def test_read_and_elementwise_work_before_a_product_is_one_task() -> None:
    a = da.from_array(np.ones((6, 4)), chunks=(2, 4))
    product = coded_matmul((a + 1) * 2, np.ones((4, 3)), parity=1)
    low = optimised(product)
    before = [
        task
        for key, task in low.items()
        if type(task) is Task and not str(key[0]).startswith(("coded-matmul", "encode"))
    ]
    assert len(before) == 3, "one for each chunk of a"
    assert all(task.has_subgraph() for task in before)


@pytest.mark.parametrize("code", [MDS(5, 3), MatDot(3, 2)], ids=repr)
def test_group_tasks_survive_and_know_their_shares(code: Any) -> None:
    a = da.from_array(np.random.default_rng(1).random((6, 4)), chunks=(2, 2))
    product = coded_matmul(a, a.T, code=code)
    later = (product + 1)[1:].sum(axis=0)
    low = optimised(later)
    kind = DataShareTask if isinstance(code, MDS) else DecodeTask
    groups = [task for task in low.values() if type(task) is kind]
    assert len(groups) == 9
    for task in groups:
        spec = spec_of(task)
        assert spec is not None
        assert set(spec.share_keys) <= low.keys()
        assert task.key in spec.output_keys
        assert task.dependencies <= low.keys()
    keys = list(flatten(later.__dask_keys__()))
    np.testing.assert_allclose(np.concatenate(get_sync(low, keys)), later.compute(scheduler="sync"))


def test_without_fusion_too() -> None:
    a = da.from_array(np.random.default_rng(1).random((6, 4)), chunks=(2, 2))
    product = coded_matmul(a, a.T, parity=1)
    with dask.config.set({"optimization.fuse.active": False}):
        value = product.compute(scheduler="sync")
    np.testing.assert_allclose(value, a.compute(scheduler="sync") @ a.T.compute(scheduler="sync"))


def test_number_of_tasks() -> None:
    """A healthy product costs its shares and nothing else."""
    a = da.ones((8, 4), chunks=(1, 4))
    b = da.ones((4, 6), chunks=(4, 3))
    product = coded_matmul(a, b, parity=2)
    own = [key for key in dict(product.dask.layers[product.name]) if isinstance(key, tuple)]
    # 8 + 2 shares for each of two column chunks, and two encoded tiles that they share.
    assert len(own) == 10 * 2 + 2
