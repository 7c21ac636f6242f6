"""The cluster that a verb is called on, if any."""

from typing import Any

import dask.array as da

from dask_coded.cluster import enable, enable_soon, is_enabled
from dask_coded.errors import UnsupportedOperationError

__all__ = ["current_client", "prepare", "prepared_workers", "refuse_expressions", "worker_count"]


def refuse_expressions() -> None:
    """Say clearly that Dask's array expressions cannot be coded.

    Raises
    ------
    UnsupportedOperationError
        If ``array.query-planning`` was true when Dask's arrays were imported.
    """
    if da.array_expr_enabled():
        raise UnsupportedOperationError(
            "Dask's array expressions (array.query-planning) are on, and have no products that "
            "could be coded; set DASK_ARRAY__QUERY_PLANNING=False before dask.array is imported"
        )


def current_client() -> Any:
    """The current distributed client, or None."""
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None


def worker_count(client: Any) -> int | None:
    """Workers of a client's cluster now, or None without a client."""
    if client is None:
        return None
    if client.asynchronous:
        return _known_workers(client)
    return int(client.scheduler_info(n_workers=0)["n_workers"])


def _known_workers(client: Any) -> int | None:
    # What repr(client) shows. There is no public way to it that does not wait for the scheduler.
    known = getattr(client, "_scheduler_identity", {}).get("n_workers")
    return None if known is None else int(known)


def prepare(client: Any) -> None:
    """Enable the runtime on the cluster of a client, once for each client.

    An asynchronous client cannot be waited for here: it enables the runtime soon after.
    """
    if client is None or is_enabled(client):
        return
    if client.asynchronous:
        enable_soon(client)
    else:
        enable(client)


def prepared_workers(client: Any) -> int | None:
    """Workers of a cluster on which the runtime is enabled; never waits for the scheduler.

    None where it is not enabled yet: it will be soon after, if it can be.
    """
    if client is None:
        return None
    if is_enabled(client):
        return _known_workers(client)
    enable_soon(client)
    return None
