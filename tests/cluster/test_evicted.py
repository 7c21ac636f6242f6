"""A frozen worker that holds what nobody can make again is removed, and the report names it."""

import numpy as np
import pytest
from distributed import Client
from distributed.client import FutureCancelledError
from made_groups import MadeGroup

from dask_coded.cluster import report
from dask_coded.testing import EmulatedCluster, assert_clean

pytestmark = pytest.mark.cluster


def test_report_names_the_evicted() -> None:
    with (
        EmulatedCluster(
            4, config={"coded.evict-after": "1s"}, preload=["dask_coded.preload"]
        ) as cluster,
        cluster.client() as client,
    ):
        assert not report(client).evicted
        address = cluster.workers["w1"].address
        check_eviction(cluster, client, address)
        found = report(client)
        # On a busy machine another one may have been silent for so long.
        assert address in found.evicted
        assert "removed: " in repr(found)
        assert address in repr(found)
        made = MadeGroup(name="after")
        made.check(client.gather(client.get(made.graph, made.keys, sync=False)))
        assert_clean(client)


def check_eviction(cluster: EmulatedCluster, client: Client, address: str) -> None:
    x = client.scatter(np.ones(3), workers=[address], hash=False)
    cluster.freeze("w1")
    made = MadeGroup(name="g")
    for i, key in enumerate(made.share_keys):
        made.graph[key] = made.scaled(i, x.key)
    with cluster.client(set_as_default=False) as other:
        futures = other.get(made.graph, made.keys, sync=False)
        with pytest.raises(FutureCancelledError):
            other.gather(futures)
