"""Clusters that were started from the command line, with the runtime preloaded and configured."""

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from command_line import CommandLineCluster
from distributed import Client

from dask_coded import coded_matmul, report
from dask_coded.testing import assert_clean

pytestmark = pytest.mark.cluster

CONFIGURATION = """
coded:
  history: 2
  suspicion:
    minimum: 1h
  evict-after: 7s
  patience:
    factor: 0.25
  slice: 5ms
"""

A = np.random.default_rng(0).normal(size=(60, 30))
B = np.random.default_rng(1).normal(size=(30, 20))


def settings(dask_scheduler: Any) -> tuple[Any, ...]:
    found = dask_scheduler.plugins["dask-coded"].settings
    return found.history, found.patience.evict_after, found.patience.factor, found.suspicion.factor


def slice_of(dask_worker: Any) -> float:
    from dask_coded.cluster._settings import slice_seconds

    return slice_seconds()


def check_products(client: Client, count: int) -> None:
    for i in range(count):
        a = da.from_array(A + i, chunks=(20, 30))
        b = da.from_array(B, chunks=(30, 20))
        np.testing.assert_allclose(coded_matmul(a, b, parity=1).compute(), (A + i) @ B)


@pytest.mark.parametrize("given", ["option", "configuration"])
def test_preloaded_scheduler(tmp_path: Path, given: str) -> None:
    (tmp_path / "configuration").mkdir()
    text = CONFIGURATION
    preload = ("--preload", "dask_coded.preload")
    if given == "configuration":
        text += "distributed:\n  scheduler:\n    preload: [dask_coded.preload]\n"
        preload = ()
    (tmp_path / "configuration" / "coded.yaml").write_text(text)
    environment = {"DASK_CONFIG": str(tmp_path / "configuration")}
    with CommandLineCluster(tmp_path, environment) as cluster:
        cluster.scheduler(*preload)
        for name in ("one", "two", "three"):
            # Harmless there, for those who preload the same everywhere.
            cluster.worker(name, "--preload", "dask_coded.preload")
        with cluster.client(3) as client:
            # Nobody has enabled anything yet. What the file does not say is as ever.
            assert client.run_on_scheduler(settings) == (2, 7.0, 0.25, 3.0)
            assert set(client.run(slice_of).values()) == {0.005}
            check_products(client, 4)
            found = report(client)
            assert client.run_on_scheduler(settings) == (2, 7.0, 0.25, 3.0)
            assert len(found.groups) == 2
            assert all(entry["arrived"] for entry in found.groups)
            assert "2 groups" in repr(found)
            assert_clean(client)
            del found
    assert "Traceback" not in cluster.logs()


def test_configuration_by_environment_variables(tmp_path: Path) -> None:
    with CommandLineCluster(tmp_path, {"DASK_CODED__EVICT_AFTER": "3s"}) as cluster:
        cluster.scheduler("--preload", "dask_coded.preload")
        cluster.worker("one")
        with cluster.client(1) as client:
            assert client.run_on_scheduler(settings) == (1000, 3.0, 0.5, 3.0)
            check_products(client, 1)
            assert_clean(client)
