"""Which code, and which workers: decided from counts and shapes alone, never from the data.

What workers are sent depends on nothing secret: not the code, not the prime, not who gets a share.
"""

from dask_coded.codes import AbstractPrivateCode, PrivateEntangled, PrivateLagrange
from dask_coded.errors import ParameterError
from dask_coded.fields import PrimeField

__all__ = ["choose_batch_code", "choose_code"]


def choose_code(
    n_workers: int, colluding: int, parity: int, shape: tuple[int, int, int], field: PrimeField
) -> AbstractPrivateCode:
    """The cuts that leave each worker least to do; among these, the least to send.

    Parameters
    ----------
    n_workers
        Untrusted workers, each of which gets one share.
    colluding, parity
        Workers that may work together; workers that may be lost.
    shape
        ``(r, k, c)`` of the operands ``(r, k)`` and ``(k, c)``.

    Raises
    ------
    ParameterError
        If there are too few workers for any cut.

    Examples
    --------
    >>> choose_code(8, 1, 1, (10_000, 50, 50), PrimeField(2**31 - 1)).splits
    (3, 1, 1)
    """
    r, k, c = shape
    best: tuple[tuple[float, float], PrivateEntangled] | None = None
    reach = n_workers - parity
    for n in range(1, reach + 1):
        room = (reach + 1) // (n + 1) - colluding
        for m in range(1, room + 1):
            p = room // m
            pieces = min(m, r) * min(p, k) * min(n, c)
            sent = r * k / (m * p) + k * c / (p * n) + r * c / (m * n)
            cost = (-float(pieces), sent)
            if best is None or cost < best[0]:
                best = cost, PrivateEntangled(n_workers, m, p, n, colluding, field)
    if best is None:
        raise ParameterError(_too_few(n_workers, colluding, parity, 2 * colluding + 1))
    return best[1]


def choose_batch_code(
    n_workers: int, colluding: int, parity: int, n_pairs: int, field: PrimeField
) -> AbstractPrivateCode:
    """The code of a batch of products, one share to a worker.

    Raises
    ------
    ParameterError
        If there are too few workers for so many pairs.
    """
    needed = 2 * (n_pairs + colluding - 1) + 1
    if n_workers < needed + parity:
        raise ParameterError(_too_few(n_workers, colluding, parity, needed))
    return PrivateLagrange(n_workers, n_pairs, 2, colluding, field)


def _too_few(n_workers: int, colluding: int, parity: int, needed: int) -> str:
    """What to say when no code fits."""
    return (
        f"with {colluding} colluding workers {needed} results are needed at least, and with "
        f"parity={parity} {needed + parity} untrusted workers; there are {n_workers}. Add "
        "workers, or allow fewer to collude or to be lost"
    )
