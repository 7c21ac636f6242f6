"""Which code a product gets, and why: decided from shapes, chunks and workers, before any work."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dask_coded.codes import MDS, AbstractCode, AbstractLinearCode, Replication, Uncoded
from dask_coded.errors import ParameterError, UnsupportedDtypeError
from dask_coded.fields import COMPLEX, PAIRED, REAL, Field

__all__ = ["Choice", "choose_code", "default_tolerance", "linear_code", "shortened"]

#: Beyond this many blocks a decode moves more data than a recomputation would.
_MOST_BLOCKS = 24
#: Blocks when nothing is known of the cluster.
_USUAL_BLOCKS = 8


@dataclass(frozen=True)
class Choice:
    """A code for a product, or None for a plain product, and the reason."""

    code: AbstractCode | None
    side: str
    """``"rows"`` of the left operand, ``"columns"`` of the right one, or ``"both"``."""
    reason: str


def default_tolerance(dtype: np.dtype[Any]) -> float:
    """Accepted amplification times eps: about half of the digits of the dtype.

    A code with well-behaved parity stays far below; a set of survivors that would amplify more
    waits for one more share.
    """
    if dtype.kind not in "fc":
        return 1.0
    return float(np.sqrt(np.finfo(dtype).eps))


def linear_code(
    k: int, parity: int, dtype: np.dtype[Any], *, paired: bool
) -> tuple[AbstractLinearCode, str]:
    """The code of one operand for k blocks that loses fewest digits, and why.

    Parameters
    ----------
    k
        Blocks.
    parity
        Shares that may be lost.
    dtype
        Of the data.
    paired
        Whether the first axis of every block and result may be paired.

    Raises
    ------
    UnsupportedDtypeError
        If nothing is known to be right for the dtype.
    """
    if parity == 0:
        return Uncoded(k), "no parity was asked for"
    if dtype.kind in "iu" and parity > 1:
        why = "copies, because integers must stay exact and sums of one parity protect one share"
        return Replication((parity + 1) * k, k), why
    if k == 1:
        return Replication(parity + 1, 1), "copies, because one block has nothing to be mixed with"
    if dtype.kind in "iu":
        return MDS(k + 1, k, parity="ones"), "their sum, exact in wrapping integer arithmetic"
    if dtype.kind not in "fc":
        raise UnsupportedDtypeError(
            f"dtype {dtype} has no arithmetic in which to encode; convert to float64, or to "
            "integers for an exact product"
        )
    field: Field = REAL
    why = "their sum"
    if parity > 1:
        field = COMPLEX if dtype.kind == "c" else PAIRED if paired else REAL
        why = {
            "complex": "complex random parity",
            "paired": "complex random parity over paired rows, which keeps the most digits",
            "real": "real parity, because rows cannot be paired here",
        }[field.name]
    return MDS(k + parity, k, field=field), why


def choose_code(
    row_chunks: int,
    column_chunks: int,
    dtype: np.dtype[Any],
    *,
    parity: int | None,
    n_workers: int | None,
    pairable: bool,
) -> Choice:
    """The default code of a product.

    Parameters
    ----------
    row_chunks, column_chunks
        Chunks of the output along its last two axes.
    dtype
        Of the output.
    parity
        Shares that may be lost, None for a default.
    n_workers
        Workers of the cluster, None if there is none.
    pairable
        Whether the rows of output chunks are their first axis.

    Raises
    ------
    ParameterError
        If `parity` is negative.
    """
    if parity is not None and (type(parity) is not int or parity < 0):
        raise ParameterError(f"parity must be an int of at least 0, got {parity!r}")
    if parity is None:
        if n_workers is None:
            return Choice(None, "rows", "no cluster: threads of one process do not straggle apart")
        if n_workers < 3:
            reason = f"{n_workers} workers: one that straggles is too large a part to make up for"
            return Choice(None, "rows", reason)
        parity = 2 if n_workers >= 6 and dtype.kind in "fc" else 1
    if parity == 0:
        return Choice(None, "rows", "no parity was asked for")
    side = "rows" if row_chunks >= column_chunks else "columns"
    chunks = max(row_chunks, column_chunks)
    most = _USUAL_BLOCKS if n_workers is None else max(1, n_workers - parity)
    most = min(most, chunks, _MOST_BLOCKS)
    # As few stripes as possible, and as even as possible.
    k = math.ceil(chunks / math.ceil(chunks / most))
    code, why = linear_code(k, parity, dtype, paired=pairable and side == "rows")
    where = "" if n_workers is None else f" on {n_workers} workers"
    reason = f"{chunks} chunks along the {side}{where}: {k} blocks and {parity} parity; {why}"
    return Choice(code, side, reason)


def shortened(code: AbstractCode, k: int) -> AbstractCode | None:
    """The same code for fewer blocks, where its family has one; it loses no tolerance."""
    if isinstance(code, MDS):
        return replace(code, n_shares=code.n_shares - code.k + k, k=k)
    if isinstance(code, Replication) and code.n_shares % code.k == 0:
        return replace(code, n_shares=code.n_shares // code.k * k, k=k)
    if isinstance(code, Uncoded):
        return replace(code, k=k)
    return None
