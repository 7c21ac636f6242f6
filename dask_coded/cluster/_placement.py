"""Where the tasks of a group belong. Reads public scheduler state, changes nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dask.typing import Key

from dask_coded.codes import AbstractCode

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState, WorkerState

__all__ = ["acquainted", "decode_worker", "homes", "spread", "unequipped"]


def decode_worker(
    scheduler: "Scheduler", survivors: Iterable["TaskState"], avoid: Iterable[frozenset[str]]
) -> str | None:
    """The worker that can decode soonest.

    Parameters
    ----------
    scheduler
        The scheduler.
    survivors
        Tasks whose results are needed.
    avoid
        Sets of workers to avoid, the most important first; a later set is ignored when nobody
        would be left.
    """
    candidates = {ws.address: ws for ws in scheduler.running}
    for workers in avoid:
        left = {address: ws for address, ws in candidates.items() if address not in workers}
        candidates = left or candidates
    if not candidates:
        return None
    needed = list(survivors)

    def cost(ws: "WorkerState") -> tuple[float, float]:
        moved = sum(ts.get_nbytes() for ts in needed if ws not in (ts.who_has or ()))
        queue = ws.occupancy / max(ws.nthreads, 1)
        return (queue + moved / scheduler.bandwidth, ws.nbytes)

    return min(candidates.values(), key=cost).address


def unequipped(scheduler: "Scheduler", tasks: Iterable["TaskState"]) -> frozenset[str]:
    """Workers that lack a resource which one of these tasks demands: they would never run it.

    This is how a user says that chunks live on devices, and that not every worker has one.
    """
    demands = [ts.resource_restrictions.items() for ts in tasks if ts.resource_restrictions]
    return frozenset(
        address
        for address, ws in scheduler.workers.items()
        if any(ws.resources.get(name, 0) < least for demand in demands for name, least in demand)
    )


def acquainted(ts: "TaskState") -> frozenset[str]:
    """Workers that may remember a task, because of what they made or will make of its result.

    A worker assumes that a key means the same work for ever. Told to compute what it is fetching,
    it reports a copy that the scheduler no longer knows, and is told to drop it; told to compute
    with other inputs what it once had, it waits for the old inputs too.
    """
    return frozenset(
        ws.address
        for dts in ts.dependents
        for ws in (*(dts.who_has or ()), *((dts.processing_on,) if dts.processing_on else ()))
    )


def homes(
    shares: Mapping[int, "TaskState"], suspects: Mapping[str, float]
) -> dict[int, frozenset[str]]:
    """A worker where the own inputs of each share live: the share belongs there.

    An input that several shares of the group read, like the small operand of a product, says
    nothing about where any of them belongs. Shares with an own input that is not in memory, or
    held by suspects only, have no home.
    """
    readers = Counter(dts.key for ts in shares.values() for dts in ts.dependencies)
    candidates: dict[int, frozenset[str]] = {}
    for share, ts in shares.items():
        own = [dts for dts in ts.dependencies if readers[dts.key] == 1]
        if own and all(dts.who_has for dts in own):
            largest = max(own, key=lambda dts: dts.get_nbytes())
            holders = frozenset(ws.address for ws in largest.who_has or ()) - suspects.keys()
            if holders:
                candidates[share] = holders
    # A worker that read all inputs once holds copies of all; it must not get all shares.
    guests: Counter[str] = Counter()
    found = {}
    for share in sorted(candidates, key=lambda share: (len(candidates[share]), share)):
        home = min(candidates[share], key=lambda address: (guests[address], address))
        guests[home] += 1
        found[share] = frozenset({home})
    return found


def spread(
    scheduler: "Scheduler",
    code: AbstractCode,
    shares: Mapping[int, "TaskState"],
    homes: Mapping[int, frozenset[str]],
    suspects: Mapping[str, float],
    offset: int,
) -> dict[Key, str]:
    """Where the shares of a group run that have no home: as ``code.placement`` deals them.

    No worker gets more than its part, those at home included, so that as many workers may be lost
    as ``code.tolerated_workers`` says; neighbouring shares go to different hosts as far as there
    are any. Inputs that only this share needs, or that it reads as they are, come along, so that
    they live where it runs; a share with an unfinished input that is made of what lies elsewhere
    is left to Dask.

    Parameters
    ----------
    scheduler, code, shares
        The scheduler, and the shares that were not started yet.
    homes
        Workers of those that have a home.
    suspects
        Workers that get nothing new.
    offset
        Where to begin: groups begin at different workers, or one would get all their parity.
    """
    workers = _interleaved(ws for ws in scheduler.running if ws.address not in suspects)
    readers = Counter(dts.key for ts in shares.values() for dts in ts.dependencies)
    placed: dict[Key, str] = {}
    if not workers:
        return placed
    ours = {ts.key for ts in shares.values()}
    order = [workers[(offset + index) % len(workers)].address for index in range(len(workers))]
    dealt = {
        share: address
        for address, holding in zip(order, code.placement(len(order)), strict=True)
        for share in holding
    }
    guests = Counter(address for workers in homes.values() for address in workers)
    most = -(-code.n_shares // len(order))
    for share, ts in sorted(shares.items()):
        if share in homes:
            continue
        own = [dts for dts in ts.dependencies if readers[dts.key] == 1 and not dts.who_has]
        mine = _private_inputs(ts)
        for dts in own:
            if dts.key not in mine | ours:
                mine |= _sources(dts)
        if any(dts.key not in mine | ours for dts in own):
            continue
        address = dealt[share]
        if guests[address] >= most:
            address = min(order, key=guests.__getitem__)
        guests[address] += 1
        placed.update(dict.fromkeys(mine, address))
        placed[ts.key] = address
    # What several shares on one worker read is made there, once.
    inputs = {dts for ts in shares.values() for dts in ts.dependencies}
    common = {dts for dts in inputs if readers[dts.key] > 1 and dts.key not in ours}
    for dts in sorted(common, key=lambda dts: str(dts.key)):
        addresses = {placed.get(reader.key) for reader in dts.dependents}
        if len(addresses) == 1 and not dts.who_has and not dts.who_wants:
            (where,) = addresses
            if where is not None:
                placed.update(dict.fromkeys(_private_inputs(dts) | {dts.key}, where))
    return placed


def _interleaved(workers: Iterable["WorkerState"]) -> list["WorkerState"]:
    """Workers in an order in which neighbours are on different hosts, if there are several."""
    by_host: dict[str, list[WorkerState]] = {}
    for ws in sorted(workers, key=lambda ws: ws.address):
        by_host.setdefault(ws.host, []).append(ws)
    hosts = list(by_host.values())
    return [
        host[i] for i in range(max(map(len, hosts), default=0)) for host in hosts if i < len(host)
    ]


def _private_inputs(ts: "TaskState") -> set[Key]:
    """Unfinished tasks that nobody but this share needs, directly or indirectly."""
    found: set[Key] = set()
    front = [ts]
    while front:
        for dts in front.pop().dependencies:
            if not dts.who_has and len(dts.dependents) == 1 and not dts.who_wants:
                found.add(dts.key)
                front.append(dts)
    return found


def _sources(dts: "TaskState") -> set[Key]:
    """An unfinished input with all that is made for it alone, if that begins with nothing.

    What many read may begin it, as the array does that all its chunks are cut from. Nothing if
    anything lies on a worker already, or is shared further down: Dask runs that where its inputs
    are.
    """
    found = {dts.key}
    front = [dts]
    while front:
        for source in front.pop().dependencies:
            if source.who_has or source.processing_on or source.who_wants:
                return set()
            if len(source.dependents) > 1:
                if source.dependencies:
                    return set()
                continue
            found.add(source.key)
            front.append(source)
    return found
