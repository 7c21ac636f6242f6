"""How tests make workers err: in the tiles that they hold, or in the products that they compute."""

from collections.abc import Callable, Collection
from typing import Any, Literal

import numpy as np
from distributed import Client, futures_of
from watching import wait_until

from dask_coded.array import EncodedArray
from dask_coded.testing import EmulatedCluster

__all__ = ["cure", "home", "patch", "spoil"]


def home(cluster: EmulatedCluster, client: Client, encoded: EncodedArray, share: int) -> str:
    """Name of the worker on which a share lives."""

    def holders() -> Any:
        return client.who_has(futures_of(encoded))[encoded.name, 0, share]

    # Copies that parity was made of go when it is there.
    wait_until(lambda: len(holders()) == 1)
    return next(name for name, each in cluster.workers.items() if each.address in holders())


def spoil(
    cluster: EmulatedCluster, client: Client, encoded: EncodedArray, names: Collection[str]
) -> set[str]:
    """Change tiles where they lie, and for good: whatever is made of them is wrong as well."""
    name = encoded.name

    def change(dask_worker: Any) -> int:
        tiles = [key for key in dask_worker.data if isinstance(key, tuple) and key[0] == name]
        for key in tiles:
            tile = np.array(dask_worker.data[key])
            tile *= np.random.default_rng(key[-1]).uniform(1, 2, tile.shape)
            dask_worker.data[key] = tile
        return len(tiles)

    addresses = {str(cluster.workers[each].address) for each in names}
    changed = client.run(change, workers=sorted(addresses))
    assert set(changed.values()) == {1}, "one share to each worker"
    return addresses


def patch(
    client: Client,
    addresses: Collection[str],
    product: Literal["matmul", "adjoint"],
    harmed: Callable[..., Any],
) -> None:
    """Let these workers compute ``harmed(plain, a, b, ...)`` for ``plain(a, b, ...)``."""

    def replace() -> None:
        from dask_coded.cluster import _slices

        plain = getattr(_slices, f"_sliced_{product}")
        setattr(_slices, f"_plain_{product}", plain)
        setattr(_slices, f"_sliced_{product}", lambda *args: harmed(plain, *args))

    client.run(replace, workers=sorted(addresses))


def cure(client: Client) -> None:
    """Let all workers compute as they did."""

    def restore() -> None:
        from dask_coded.cluster import _slices

        for product in ("matmul", "adjoint"):
            plain = getattr(_slices, f"_plain_{product}", None)
            if plain is not None:
                setattr(_slices, f"_sliced_{product}", plain)

    client.run(restore)
