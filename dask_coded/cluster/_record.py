"""What happened to groups, as plain data that fits in a message."""

import pickle
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dask_coded.cluster._group import Group
from dask_coded.cluster._policy import DEFAULT_TOLERANCE
from dask_coded.errors import AmplificationWarning, WrongResultWarning

if TYPE_CHECKING:
    from distributed import Scheduler

__all__ = ["History", "entry_of", "tell_cost", "totals", "wrong_event"]


def entry_of(group: Group, resolved_at: float | None) -> dict[str, Any]:
    """A group as plain data: numbers, strings, lists and dicts with string keys."""
    spec = group.spec
    began = min(group.started.values(), default=group.submitted)
    return {
        "group": spec.group,
        "code": repr(spec.code),
        "n_shares": spec.code.n_shares,
        "n_outputs": len(spec.output_keys),
        "submitted": group.submitted,
        "arrived": sorted(group.took),
        "late": sorted(group.late),
        "cancelled": sorted(group.cancelled),
        "erased": sorted(group.erased),
        "wrong": {str(share): worker for share, worker in sorted(group.wrong.items())},
        "suspects": dict(group.suspects),
        "workers": {str(share): worker for share, worker in group.ran_on.items()},
        "decoded": group.decoded,
        "replanned": group.replanned,
        "amplification": group.amplification,
        "resolve_seconds": None if resolved_at is None else resolved_at - began,
        "free_seconds": group.freed,
    }


def amend(group: Group) -> None:
    """Say what became of a group since it was added: decoded again, or found wrong."""
    known = None if group.entry is None else (group.entry["decoded"], len(group.entry["wrong"]))
    if group.entry is not None and known != (group.decoded, len(group.wrong)):
        now = entry_of(group, None)
        del now["resolve_seconds"]
        group.entry.update(now)


def totals(entries: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums and extremes over groups."""
    entries = list(entries)
    resolve = sorted(e["resolve_seconds"] for e in entries if e["resolve_seconds"] is not None)
    free = sorted(seconds for e in entries for seconds in e["free_seconds"].values())
    amplification = [e["amplification"] for e in entries if e["amplification"] is not None]
    return {
        "groups": len(entries),
        **{
            name: sum(len(e[name]) for e in entries)
            for name in ("arrived", "late", "cancelled", "erased", "wrong")
        },
        "decoded": sum(e["decoded"] for e in entries),
        "replanned": sum(e["replanned"] for e in entries),
        "suspects": sorted({worker for e in entries for worker in e["suspects"]}),
        "wrong_by": dict(Counter(worker for e in entries for worker in e["wrong"].values())),
        "amplification": max(amplification, default=None),
        "resolve_seconds": _quantiles(resolve),
        "free_seconds": _quantiles(free),
    }


def _quantiles(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    last = len(values) - 1
    return {name: values[round(q * last)] for name, q in (("p50", 0.5), ("p95", 0.95), ("max", 1))}


class History:
    """The last groups, and the slots that have not been heard of since they were asked to stop."""

    _WAIT = 60.0

    def __init__(self, length: int) -> None:
        self.entries: deque[dict[str, Any]] = deque(maxlen=length)
        self._evicted: deque[tuple[str, float]] = deque(maxlen=length)
        self._stopping: OrderedDict[str, tuple[dict[str, float], int, float]] = OrderedDict()

    def evict(self, worker: str, now: float) -> None:
        """A worker was removed because it was silent and held what a group needed."""
        self._evicted.append((worker, now))

    def add(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)

    def stopping(self, key: str, freed: dict[str, float], share: int, now: float) -> None:
        """A share is cancelled while it may run under this key; `freed` takes how long it does."""
        self._stopping.pop(key, None)
        self._stopping[key] = (freed, share, now)
        # The oldest stand first, so that thousands of them cost no more than a few.
        while self._stopping:
            name, (_, _, since) = next(iter(self._stopping.items()))
            if now - since < self._WAIT:
                break
            self._stopping.pop(name)

    def stopped(self, key: str, now: float) -> None:
        """A worker says that the slot of a cancelled share is free."""
        known = self._stopping.pop(key, None)
        if known is not None:
            freed, share, since = known
            freed[str(share)] = now - since

    def data(self, suspects: Mapping[str, float], slow: Iterable[str]) -> dict[str, Any]:
        return {
            "groups": list(self.entries),
            "totals": totals(self.entries),
            "suspects": dict(suspects),
            "slow": sorted(slow),
            "evicted": dict(self._evicted),
        }


def tell_cost(scheduler: "Scheduler", group: Group) -> None:
    """Make every client warn, once for each group, if decoding cost more than was asked for."""
    tolerance, eps = group.spec.tolerance or DEFAULT_TOLERANCE, group.spec.rounding
    amplification = group.amplification
    if amplification is None or amplification * eps <= tolerance or group.warned:
        return
    group.warned = True
    text = (
        f"a group of {group.spec.code!r} asked for a relative error of {tolerance:.1e}; from the "
        f"shares that could be had, decoding may amplify rounding to {amplification * eps:.1e} "
        f"(amplification {amplification:.1e}). Use more parity, or a better conditioned code."
    )
    event = {"message": pickle.dumps(text), "category": pickle.dumps(AmplificationWarning)}
    scheduler.log_event("warn", event)


def wrong_event(group: Group) -> Any:
    """An event that makes every client of the scheduler warn of results that were corrected."""
    named = ", ".join(f"share {share} by {worker}" for share, worker in sorted(group.wrong.items()))
    text = (
        f"wrong results in a group of {group.spec.code!r}: "
        f"{named or 'of which shares cannot be told'}. Its outputs were decoded "
        "without them; a worker that is named again and again should be replaced."
    )
    return {"message": pickle.dumps(text), "category": pickle.dumps(WrongResultWarning)}
