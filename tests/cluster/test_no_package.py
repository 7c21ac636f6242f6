"""Clusters on which the package is missing somewhere, or is another one: never a hang."""

from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from command_line import OTHER_VERSION, WITHOUT_PACKAGE, CommandLineCluster
from distributed.versions import VersionMismatchWarning

import dask_coded
from dask_coded.errors import InstallationError
from dask_coded.testing import assert_clean

pytestmark = pytest.mark.cluster

A = np.random.default_rng(0).normal(size=(60, 30))
B = np.random.default_rng(1).normal(size=(30, 20))


def operands() -> tuple[Any, Any]:
    return da.from_array(A, chunks=(20, 30)), da.from_array(B, chunks=(30, 20))


def refused(where: str) -> None:
    """Every verb says what is missing, where, and what to do."""
    a, b = operands()
    for _ in range(2):
        with pytest.raises(InstallationError, match=rf"{where}.*cannot import.*Install dask_coded"):
            dask_coded.coded_matmul(a, b, parity=1)
    with pytest.raises(InstallationError, match=where), dask_coded.optimize(parity=1):
        pass
    with pytest.raises(InstallationError, match=where):
        dask_coded.encode(a, parity=1).persist()


def test_scheduler_without_the_package(tmp_path: Path) -> None:
    with CommandLineCluster(tmp_path) as cluster:
        cluster.scheduler(prologue=WITHOUT_PACKAGE)
        for name in ("one", "two"):
            cluster.worker(name)
        with cluster.client(2) as client:
            refused("the scheduler")
            with pytest.raises(InstallationError, match="the scheduler"):
                dask_coded.report(client)
            a, b = operands()
            np.testing.assert_allclose((a @ b).compute(), A @ B)  # plain Dask is not harmed


def test_optimization_set_for_good_on_a_scheduler_without_the_package(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Dask itself refuses the graph and says why; what is missing stands in the log."""
    a, b = operands()
    with CommandLineCluster(tmp_path) as cluster:
        cluster.scheduler(prologue=WITHOUT_PACKAGE)
        cluster.worker("one")
        hook = dask.config.set(array_optimize=dask_coded.optimize_graph)
        with cluster.client(1), hook, pytest.raises(RuntimeError, match="different env") as caught:
            (a @ b).compute()
        assert "dask_coded" in str(caught.value.__cause__)
    assert "the scheduler" in caplog.text
    assert "Install dask_coded" in caplog.text


@pytest.mark.parametrize("lacking", [1, 2])
def test_workers_without_the_package(tmp_path: Path, lacking: int) -> None:
    with CommandLineCluster(tmp_path) as cluster:
        cluster.scheduler()
        for index, name in enumerate(("one", "two")):
            cluster.worker(name, prologue=WITHOUT_PACKAGE if index < lacking else "")
        with cluster.client(2):
            refused(f"{lacking} of 2 workers")
            a, b = operands()
            np.testing.assert_allclose((a @ b).compute(), A @ B)


def test_other_versions_are_named(tmp_path: Path) -> None:
    with CommandLineCluster(tmp_path) as cluster:
        cluster.scheduler(prologue=OTHER_VERSION)
        cluster.worker("one", prologue=OTHER_VERSION)
        cluster.worker("two")
        with cluster.client(2) as client:
            with pytest.warns(VersionMismatchWarning) as caught:
                dask_coded.enable(client)
            mismatches = [w for w in caught if w.category is VersionMismatchWarning]
            scheduler, worker = (str(warning.message) for warning in mismatches)
            assert "0.0.0 on scheduler" in scheduler
            assert worker.count("0.0.0 on worker") == 1
            a, b = operands()
            np.testing.assert_allclose(dask_coded.coded_matmul(a, b, parity=1).compute(), A @ B)
            assert dask_coded.report(client).totals["groups"] > 0
            assert_clean(client)
