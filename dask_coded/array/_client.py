"""The cluster that a verb is called on, if any."""

from typing import Any

from dask_coded.cluster import enable

__all__ = ["current_client", "prepare", "worker_count"]


def current_client() -> Any:
    """The current distributed client, or None."""
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None


def worker_count(client: Any) -> int | None:
    """Workers of a client's cluster, or None without a client."""
    if client is None or client.asynchronous:
        return None
    return len(client.scheduler_info(n_workers=-1)["workers"])


def prepare(client: Any) -> None:
    """Enable the runtime on the cluster of a client, once for each client.

    An asynchronous client cannot be waited for here; its user awaits ``enable(client)``.
    """
    if client is None or client.asynchronous or getattr(client, "_dask_coded_enabled", False):
        return
    enable(client)
    client._dask_coded_enabled = True
