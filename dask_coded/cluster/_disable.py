"""Taking the runtime off a cluster again."""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dask_coded.cluster._client import forget_client, open_client
from dask_coded.cluster._first_use import may_ask_again
from dask_coded.cluster._plugin import PLUGIN_NAME

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["disable"]


def disable(client: "Client") -> Any:
    """Leave the scheduler of a client, and its workers, as they were without this package.

    Groups under way go on as plain tasks: they wait for all that is missing. Whatever needs the
    runtime enables it again: coded products, :func:`report` and :func:`enable`. It is gone for all
    clients of the cluster; those that had enabled it do so again by :func:`enable` only.
    ``client.unregister_scheduler_plugin("dask-coded")`` does the same on the scheduler.

    Parameters
    ----------
    client
        A client; an asynchronous one gets an awaitable. Nothing happens where the runtime is not
        enabled.

    Examples
    --------
    >>> from distributed import Client
    >>> from dask_coded import disable, enable
    >>> with Client(processes=False, n_workers=1, dashboard_address=":0") as client:
    ...     enable(client)
    ...     disable(client)
    """
    return open_client(client, "disable").sync(_disable, client)


async def _disable(client: "Client") -> None:
    forget_client(client)
    may_ask_again(client)
    with suppress(ValueError):  # said of a plugin that is not there
        await client.scheduler.unregister_scheduler_plugin(name=PLUGIN_NAME)
