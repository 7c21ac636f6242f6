"""Where the tasks of a group belong. Reads public scheduler state, changes nothing."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dask.typing import Key

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler, TaskState, WorkerState

__all__ = ["acquainted", "decode_worker", "homes", "spread"]


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
    shares: Mapping[int, "TaskState"],
    suspects: Mapping[str, float],
    offset: int,
) -> dict[Key, str]:
    """A different worker for every share of a group whose inputs are nowhere yet.

    Neighbouring shares go to different hosts as far as there are any. Inputs that only this
    share needs come along, so that they live where it runs; a share with an unfinished input that
    somebody else placed is left to Dask.

    Parameters
    ----------
    scheduler, shares, suspects
        The scheduler, the shares without a home, and the workers that get nothing new.
    offset
        Where to begin: groups begin at different workers, or one would get all their parity.
    """
    workers = _interleaved(ws for ws in scheduler.running if ws.address not in suspects)
    readers = Counter(dts.key for ts in shares.values() for dts in ts.dependencies)
    placed: dict[Key, str] = {}
    if not workers:
        return placed
    ours = {ts.key for ts in shares.values()}
    for share, ts in sorted(shares.items()):
        mine = {dts.key for dts in _private_inputs(ts)}
        if any(
            readers[dts.key] == 1 and dts.key not in mine | ours and not dts.who_has
            for dts in ts.dependencies
        ):
            continue
        address = workers[(offset + share) % len(workers)].address
        placed.update(dict.fromkeys(mine, address))
        placed[ts.key] = address
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


def _private_inputs(ts: "TaskState") -> list["TaskState"]:
    """Unfinished tasks that nobody but this share needs, directly or indirectly."""
    found: list[TaskState] = []
    front = [ts]
    while front:
        for dts in front.pop().dependencies:
            if not dts.who_has and len(dts.dependents) == 1 and not dts.who_wants:
                found.append(dts)
                front.append(dts)
    return found
