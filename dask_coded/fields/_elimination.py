"""Gauss-Jordan elimination modulo a prime, one vectorised sweep per pivot."""

import numpy as np

from dask_coded.fields._modular import Residues, multiply, subtract

__all__ = ["reduced_echelon"]


def reduced_echelon(
    matrix: Residues, p: int, *, pivot_columns: int | None = None
) -> tuple[Residues, list[int]]:
    """Reduced row echelon form and its pivot columns.

    Parameters
    ----------
    matrix
        Residues ``(rows, columns)``; not modified.
    p
        Prime modulus.
    pivot_columns
        Look for pivots in the first so many columns only; the others are carried along.

    Returns
    -------
    tuple
        The reduced matrix ``(rows, columns)``, and its pivot columns in ascending order: row k has
        its leading one in column ``pivots[k]``, and rows from ``len(pivots)`` on are zero in the
        columns searched. Leftmost independent columns are taken.
    """
    work: Residues = np.array(matrix, dtype=np.int64)
    rows, columns = work.shape
    pivots: list[int] = []
    for column in range(columns if pivot_columns is None else pivot_columns):
        rank = len(pivots)
        if rank == rows:
            break
        candidates = np.flatnonzero(work[rank:, column])
        if candidates.size == 0:
            continue
        found = rank + int(candidates[0])
        if found != rank:
            work[[rank, found]] = work[[found, rank]]
        # Columns to the left are zero in this row already.
        lead = work[rank, column:]
        inverse = np.asarray(pow(int(lead[0]), -1, p), np.int64)
        lead[...] = multiply(lead, inverse, p)
        others = np.flatnonzero(work[:, column])
        others = others[others != rank]
        if others.size:
            change = multiply(work[others, column, None], lead[None, :], p)
            work[others, column:] = subtract(work[others, column:], change, p)
        pivots.append(column)
    return work, pivots
