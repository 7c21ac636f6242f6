"""Where shares at rest live: one to a worker, or one worker's loss would cost several.

Left alone, shares that were rebuilt while workers were missing or silent stay where that was done,
beside others. Copies that were fetched in passing collect on the worker that read them all.

Where there are several hosts, a share goes to the one with the fewest of its group: a host may be
lost with all its workers.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dask.typing import Key

from dask_coded.cluster._copies import copy_to, keep_one_copy
from dask_coded.cluster._group import Group, addresses
from dask_coded.cluster._placement import decode_worker, unequipped
from dask_coded.cluster._scheduler_state import SchedulerState

if TYPE_CHECKING:
    from distributed.scheduler import Scheduler

__all__ = ["free_workers", "homes_of", "moves", "residents", "settle"]


def settle(state: SchedulerState, group: Group, suspects: Mapping[str, float]) -> bool:
    """One copy of each share, and one share to a worker; whether that is so as far as possible."""
    scheduler = state.scheduler
    kept = homes_of(state, group, suspects)
    keep_one_copy(scheduler, kept)
    lacking = unequipped(scheduler, filter(None, map(state.task, kept)))
    taken = residents(state, group) | suspects.keys() | lacking
    moving = moves(scheduler, kept, taken)
    for key, worker in moving.items():
        copy_to(scheduler, worker, key)
    group.home |= kept | moving
    # Whoever has just joined may not be running yet, and does not say when it is.
    crowded = len(set(kept.values())) < len(kept)
    return not moving and (not crowded or taken.issuperset(scheduler.workers))


def residents(state: SchedulerState, group: Group) -> frozenset[str]:
    """Workers on which a share of the group lives, or is being made."""
    found: set[str] = set()
    for key in group.current_keys:
        ts = state.task(key)
        if ts is not None:
            found |= addresses(ts)
            if ts.processing_on is not None:
                found.add(ts.processing_on.address)
    return frozenset(found)


def free_workers(
    scheduler: "Scheduler",
    keys: Iterable[Key],
    avoid: Iterable[frozenset[str]],
    taken: frozenset[str],
) -> dict[Key, str]:
    """A worker for each of these shares, without another share of the group if there is one.

    Of several on the host with the fewest others; `taken` are the workers with shares.
    """
    avoid = tuple(avoid)
    found: dict[Key, str] = {}
    for key in keys:
        full = taken.union(found.values())
        hosts = _crowded(scheduler, full)
        home = decode_worker(scheduler, (), (*avoid, full, *hosts))
        if home is not None:
            found[key] = home
    return found


def _crowded(scheduler: "Scheduler", full: Iterable[str]) -> list[frozenset[str]]:
    """Workers beside at least so many that are full, on one host; the largest number first."""
    known = scheduler.workers
    counts = Counter(known[address].host for address in full if address in known)
    return [
        frozenset(address for address, ws in known.items() if counts[ws.host] >= least)
        for least in range(max(counts.values(), default=0), 0, -1)
    ]


def homes_of(state: SchedulerState, group: Group, suspects: Mapping[str, float]) -> dict[Key, str]:
    """The one holder of each finished share at which it is to stay.

    That is where it was made, unless nobody there can be heard, or a copy elsewhere would be the
    only share of its worker.
    """
    held = {
        key: holders
        for key in group.share_of
        if (ts := state.task(key)) is not None
        and ts.state == "memory"
        and (holders := addresses(ts) - suspects.keys())
    }
    found: dict[Key, str] = {}
    # Who has least choice chooses first.
    for key in sorted(held, key=lambda key: (len(held[key]), group.share_of[key])):
        guests = set(found.values())
        made_at = group.home.get(key)
        found[key] = min(
            held[key], key=lambda address: (address in guests, address != made_at, address)
        )
    return found


def moves(scheduler: "Scheduler", homes: Mapping[Key, str], taken: Iterable[str]) -> dict[Key, str]:
    """Shares that live beside another one, and a worker without any for each."""
    occupied = set(taken)
    free = [ws for ws in scheduler.running if ws.address not in occupied]
    known = scheduler.workers
    counts = Counter(known[address].host for address in homes.values() if address in known)
    seen: set[str] = set()
    found: dict[Key, str] = {}
    for key, address in homes.items():
        if address in seen and free:
            ws = min(free, key=lambda ws: (counts[ws.host], ws.nbytes, ws.address))
            free.remove(ws)
            found[key] = ws.address
            if address in known:
                counts[known[address].host] -= 1
            counts[ws.host] += 1
        seen.add(address)
    return found
