"""Shares that are made again, or moved, go to the host with the fewest others of their group."""

import pytest
from distributed import Client, Scheduler, Worker
from distributed.utils_test import gen_cluster
from watching import on_workers

from dask_coded.cluster._rest import free_workers, moves

pytestmark = pytest.mark.cluster

#: Two workers on each of three hosts.
THREE = on_workers([(f"127.0.0.{1 + i // 2}", 1) for i in range(6)])


@gen_cluster(**THREE)
async def test_a_share_is_rebuilt_on_a_host_with_fewer_others(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    at = [worker.address for worker in workers]
    none = frozenset[str]()
    for host in range(3):
        # Of each of the other hosts one worker has a share: only this one has none.
        taken = frozenset(at[2 * other] for other in range(3) if other != host)
        first, second, third = free_workers(s, ["x", "y", "z"], [none], taken).values()
        assert first in at[2 * host : 2 * host + 2]
        # All hosts have one then; nobody gets a second share, and no host a third.
        assert len({first, second, third, *taken}) == 5
        hosts = [s.workers[address].host for address in (first, second, third, *taken)]
        assert sorted(map(hosts.count, set(hosts))) == [1, 2, 2]
    # What is avoided for other reasons stays so.
    (found,) = free_workers(s, ["x"], [frozenset(at[:2])], frozenset(at[2:3])).values()
    assert found in at[4:]


@gen_cluster(**THREE)
async def test_a_share_moves_to_a_host_with_fewer_others(
    c: Client, s: Scheduler, *workers: Worker
) -> None:
    at = [worker.address for worker in workers]
    for host in range(3):
        other, last = (2 * i for i in range(3) if i != host)
        homes = {"a": at[other], "b": at[other], "c": at[last]}
        (moved,) = moves(s, homes, homes.values()).items()
        assert moved[0] == "b"
        assert moved[1] in at[2 * host : 2 * host + 2]


@gen_cluster(**on_workers(3))
async def test_one_host_is_no_reason_to_stay(c: Client, s: Scheduler, *workers: Worker) -> None:
    at = [worker.address for worker in workers]
    found = moves(s, {"a": at[0], "b": at[0], "c": at[0]}, at[:1])
    assert sorted(found) == ["b", "c"]
    assert set(found.values()) == set(at[1:])
    assert set(free_workers(s, ["b", "c"], [], frozenset(at[:1])).values()) == set(at[1:])
