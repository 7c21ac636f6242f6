"""What a client says to the runtime: be there, and what happened?"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet, ref

from dask_coded.cluster._installed import check_scheduler, check_workers
from dask_coded.cluster._plugin import (
    GUARD_HANDLER,
    REPORT_HANDLER,
    SILENT_TOPIC,
    CodedSchedulerPlugin,
)
from dask_coded.errors import ParameterError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Report", "enable", "forget_client", "is_enabled", "open_client", "report"]

#: Clients on whose cluster the runtime is enabled.
_enabled: "WeakSet[Client]" = WeakSet()
_enabling: "WeakKeyDictionary[Client, asyncio.Lock]" = WeakKeyDictionary()


def enable(client: "Client") -> Any:
    """Let the scheduler of a client resolve coded groups early.

    Asking again costs one message and changes nothing. The ``coded.*`` configuration of the
    client that asks first holds.

    Parameters
    ----------
    client
        A client; an asynchronous one gets an awaitable.

    Raises
    ------
    InstallationError
        If the scheduler or a worker that answers cannot import the package.
    ParameterError
        If this is no client, or a closed one.

    Warns
    -----
    distributed.versions.VersionMismatchWarning
        If one of them has another version of it than this process.

    Examples
    --------
    >>> from distributed import Client
    >>> with Client(processes=False, n_workers=1, dashboard_address=":0") as client:
    ...     enable(client)
    """
    return open_client(client, "enable").sync(_enable, client)


def open_client(client: Any, verb: str) -> "Client":
    """A client that can be asked.

    Raises
    ------
    ParameterError
        If it is none, or closed.
    """
    from distributed import Client

    if not isinstance(client, Client):
        raise ParameterError(
            f"{verb} takes a client of distributed, got {type(client).__name__}; of a cluster it "
            "is Client(cluster), and inside a with block the one of get_client()"
        )
    if client.status in ("closed", "closing"):
        raise ParameterError(
            f"{verb} got a client that is closed; connect another, Client(address)"
        )
    return client


async def _enable(client: "Client") -> None:
    # Another call may be under way, in the background too.
    async with _enabling.setdefault(client, asyncio.Lock()):
        await _register(client)
        if client not in _enabled:
            client.subscribe_topic(SILENT_TOPIC, partial(_hang_up, ref(client)))
            await asyncio.gather(check_workers(client), _call(client, GUARD_HANDLER))
            _enabled.add(client)


async def _call(client: "Client", handler: str) -> Any:
    return await getattr(client.scheduler, handler)()


def _hang_up(known: "ref[Client]", event: tuple[float, list[str]]) -> None:
    """Break off what is fetched from silent workers directly; the scheduler is asked instead."""
    client = known()
    for address in event[1] if client is not None else ():
        # Raised where an attempt to connect is being given up already.
        with suppress(RuntimeError):
            client.rpc.remove(address)


def forget_client(client: "Client") -> None:
    """Undo what enabling did to the client itself."""
    if client in _enabled:
        _enabled.discard(client)
        client.unsubscribe_topic(SILENT_TOPIC)


def is_enabled(client: "Client") -> bool:
    """Whether this client has enabled the runtime; asks nobody."""
    return client in _enabled


async def _register(client: "Client") -> None:
    if client not in _enabled:
        await check_scheduler(client)
    await client.register_plugin(CodedSchedulerPlugin(), name=CodedSchedulerPlugin.name)


@dataclass(frozen=True)
class Report:
    """What happened to coded groups.

    Prints as a table; `groups` and `totals` are the same as plain data.
    """

    groups: tuple[Mapping[str, Any], ...]
    """The last groups, oldest first."""
    totals: Mapping[str, Any]
    suspects: Mapping[str, float]
    """Workers that are silent now, and since when, by the scheduler's clock."""
    slow: tuple[str, ...]
    """Workers that were late lately."""
    evicted: Mapping[str, float]
    """Workers that were removed for their silence, and when, by the scheduler's clock."""

    _COLUMNS = (
        ("code", "code", str),
        ("arrived", "arrived", len),
        ("late", "late", len),
        ("cancelled", "cancelled", len),
        ("erased", "erased", len),
        ("wrong", "wrong", lambda w: ", ".join(f"{s} by {who}" for s, who in w.items()) or "-"),
        ("decoded", "decoded", str),
        ("resolved in", "resolve_seconds", lambda s: "-" if s is None else f"{s:.3f} s"),
        ("slots free in", "free_seconds", lambda s: f"{max(s.values()):.3f} s" if s else "-"),
        ("amplification", "amplification", lambda a: "-" if a is None else f"{a:.3g}"),
        ("suspects", "suspects", lambda s: ", ".join(f"{w} {why}" for w, why in s.items())),
    )

    def _rows(self, last: int = 20) -> list[list[str]]:
        return [
            [str(show(group[name])) for _, name, show in self._COLUMNS]
            for group in self.groups[-last:]
        ]

    def _summary(self) -> str:
        t = self.totals
        resolve = t["resolve_seconds"]
        text = (
            f"{t['groups']} groups: {t['arrived']} shares arrived, {t['late']} late, "
            f"{t['cancelled']} cancelled, {t['erased']} erased; {t['decoded']} outputs decoded"
        )
        if resolve:
            text += f"; resolved in {resolve['p50']:.3f} s (median), {resolve['max']:.3f} s at most"
        if t["wrong_by"]:
            text += "; wrong results: " + ", ".join(f"{n} by {w}" for w, n in t["wrong_by"].items())
        if self.suspects:
            text += f"; silent now: {', '.join(self.suspects)}"
        if self.evicted:
            text += f"; removed: {', '.join(self.evicted)}"
        return text

    def __repr__(self) -> str:
        titles = [title for title, _, _ in self._COLUMNS]
        table = [titles, *self._rows()]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in table
        ]
        return "\n".join([self._summary(), *lines])

    def _repr_html_(self) -> str:
        from html import escape

        head = "".join(f"<th>{escape(title)}</th>" for title, _, _ in self._COLUMNS)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._rows()
        )
        return (
            f"<p>{escape(self._summary())}</p><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )


def report(client: "Client") -> Any:
    """What happened to the coded groups of a client's scheduler.

    Parameters
    ----------
    client
        A client on whose scheduler the runtime is enabled; an asynchronous one gets an awaitable.

    Returns
    -------
    Report
        Per group and in total.

    Raises
    ------
    ParameterError
        If this is no client, or a closed one.
    """
    return open_client(client, "report").sync(_report, client)


async def _report(client: "Client") -> Report:
    await _register(client)
    data = await _call(client, REPORT_HANDLER)
    return Report(
        groups=tuple(data["groups"]),
        totals=data["totals"],
        suspects=data["suspects"],
        slow=tuple(data["slow"]),
        evicted=data["evicted"],
    )
