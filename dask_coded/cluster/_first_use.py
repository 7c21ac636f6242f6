"""Enabling the runtime by itself, where nobody can wait for it.

A product may be built long before there is a cluster, or under another client. What is known of it
when it is submitted is its groups: they are pickled by the client that sends them. Whoever submits
the first one enables the runtime on its cluster in the background; the scheduler may have begun
with the graph by then, and takes over what it finds.
"""

import copyreg
import inspect
import logging
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from dask_coded.cluster._client import enable, is_enabled
from dask_coded.errors import InstallationError
from dask_coded.graph import GroupSpec

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["enable_soon", "may_ask_again"]

logger = logging.getLogger("distributed.client.dask_coded")

#: Clients that enable the runtime in the background, or could not.
_asked: "WeakSet[Client]" = WeakSet()


def enable_soon(client: "Client") -> None:
    """Enable the runtime in the background, once for each client; never waits for the scheduler.

    What the cluster lacks is said in the log.
    """
    if client not in _asked and not is_enabled(client):
        _asked.add(client)
        client.loop.add_callback(_enable, client)


def may_ask_again(client: "Client") -> None:
    """The runtime was taken off the cluster of a client: its next group brings it back."""
    _asked.discard(client)


async def _enable(client: Any) -> None:
    try:
        await enable(client)
    except InstallationError as error:
        # Nobody waits for this; what was asked for raises by itself.
        logger.warning("Products are not coded: %s", error)
    except OSError:
        _asked.discard(client)  # perhaps next time


def _submitting() -> "Client | None":
    """The client that is sending a graph at the moment, which need not be the current one."""
    from distributed import Client

    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_varnames[:1] == ("self",):
            caller = frame.f_locals.get("self")
            if isinstance(caller, Client):
                return caller
        frame = frame.f_back
    return None


def _pickled(spec: GroupSpec) -> Any:
    """How a group is pickled: as always. A client that does so is about to send it."""
    client = _submitting()
    if client is not None:
        enable_soon(client)
    return spec.__reduce_ex__(4)


copyreg.pickle(GroupSpec, _pickled)  # type: ignore[arg-type]
