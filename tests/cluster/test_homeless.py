"""Shares at rest whose own work nobody may do any more."""

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, Scheduler, Worker, futures_of
from distributed.utils_test import gen_cluster
from watching import SIX, plugin, until

from dask_coded import encode
from dask_coded.cluster import enable
from dask_coded.codes import MDS

pytestmark = pytest.mark.cluster


@gen_cluster(**SIX)
async def test_a_share_without_a_source_is_decoded_at_any_price(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    """No decoding is as accurate as was asked for here, and the source is gone for good."""
    await enable(c)
    data = np.random.default_rng(0).normal(size=(40, 3))
    only = {"workers": [workers[0].address], "allow_other_workers": False}
    with dask.annotate(**only):
        source = da.from_array(data, chunks=(10, 3)).map_blocks(np.copy)
    encoded = encode(source, code=MDS(6, k=4), tolerance=1e-20)
    encoded = c.persist(encoded, optimize_graph=False)
    futures = futures_of(encoded)
    before = await c.gather(futures)
    del source
    conductor = plugin(s).conductor
    (made,) = conductor.groups.values()
    await until(lambda: made.resolved)
    keys = [future.key for future in futures]
    await until(lambda: all(s.tasks[key].who_has for key in keys))
    for address in {workers[0].address, *(ws.address for ws in s.tasks[keys[0]].who_has)}:
        await s.remove_worker(address, stimulus_id="test", close=False)
    for old, new in zip(before, await c.gather(futures), strict=True):
        np.testing.assert_allclose(new, old)
    assert made.decoded > 0
    assert made.warned
    del encoded, futures
    await until(lambda: not s.tasks)
