"""What coding a product costs beside the plain one, and which sides are cheapest to cut.

Of the codes that keep the accuracy asked for, that is: see :mod:`dask_coded.array._accuracy`.
"""

import math
from dataclasses import dataclass

import dask.array as da
import numpy as np

from dask_coded.array._accuracy import Accuracy
from dask_coded.array._plan import Choice, group_sizes, linear_code
from dask_coded.codes import AbstractLinearCode, Polynomial, Replication
from dask_coded.fields import COMPLEX, PAIRED, REAL

__all__ = ["MOVING", "Costs", "cheapest"]

#: What it costs to bring one number to a share, in multiplications: a network moves a hundred
#: million numbers in the time in which a processor multiplies billions.
MOVING = 32
#: A code of both operands has to save so much to be preferred: decoding reads more of its results.
_WORTH = 0.9


@dataclass(frozen=True)
class Costs:
    """Estimated cost of coded products with given operands; 1 is the plain product.

    Counted are the products of the parity shares, and what has to be brought to them: all blocks
    that they mix, and what they are multiplied by. Arrays that are stacked count as one.

    Parameters
    ----------
    rows, inner, columns
        Of the product, in numbers.
    row_chunks, column_chunks
        Chunks of the output along its last two axes.

    Examples
    --------
    >>> costs = Costs(4000, 4000, 4000, row_chunks=4, column_chunks=4)
    >>> round(costs.rows_by(4, parity=2), 2), round(costs.both_by(4, 4, parity=2), 2)
    (1.53, 1.16)
    """

    rows: int
    inner: int
    columns: int
    row_chunks: int
    column_chunks: int

    def rows_by(self, k: int, parity: int) -> float:
        """Rows of the left operand in groups of k chunks."""
        return self._one(k, parity, self.row_chunks, self.rows, self.columns)

    def columns_by(self, k: int, parity: int) -> float:
        """Columns of the right operand in groups of k chunks."""
        return self._one(k, parity, self.column_chunks, self.columns, self.rows)

    def _one(self, k: int, parity: int, chunks: int, cut: int, whole: int) -> float:
        parities = math.ceil(chunks / k) * parity
        work = parities / chunks
        moved = parity * cut + parities * whole
        return 1 + work + MOVING * moved / (cut * whole)

    def both_by(self, m: int, n: int, parity: int) -> float:
        """Both operands, in groups of m times n output chunks."""
        groups = math.ceil(self.row_chunks / m) * math.ceil(self.column_chunks / n)
        work = groups * parity / (self.row_chunks * self.column_chunks)
        moved = parity * (self.rows + self.columns)
        return 1 + work + MOVING * moved / (self.rows * self.columns)


def cheapest(
    choice: Choice, a: da.Array, b: da.Array, n_workers: int | None, accuracy: Accuracy
) -> Choice:
    """The choice, or another one of equal parity and sufficient accuracy that costs less.

    Parameters
    ----------
    choice
        A code of one operand.
    a, b
        The operands, of two axes or more each.
    n_workers
        Workers of the cluster, None if there is none: shares of a group are to find one each.
    accuracy
        What another code has to keep when all its parity is used up.
    """
    code = choice.code
    dtype = np.result_type(a.dtype, b.dtype)
    if not isinstance(code, AbstractLinearCode) or dtype.kind not in "fc":
        return choice
    # Copies are a group for each block.
    blocks = 1 if isinstance(code, Replication) else code.k
    parity = code.n_shares // code.k - 1 if blocks == 1 else code.n_shares - code.k
    costs = Costs(a.shape[-2], a.shape[-1], b.shape[-1], a.numblocks[-2], b.numblocks[-1])
    most = blocks if n_workers is None else max(1, n_workers - parity)
    found = {"rows": costs.rows_by, "columns": costs.columns_by}
    own = found[choice.side](blocks, parity)
    options: list[tuple[float, Choice]] = [(own, choice)]
    other = "columns" if choice.side == "rows" else "rows"
    chunks = costs.row_chunks if other == "rows" else costs.column_chunks
    if chunks > 1:
        for k in group_sizes(chunks, most):
            made, why = linear_code(k, parity, dtype, paired=a.ndim == 2 and other == "rows")
            if k == 1 or accuracy.admits(made, parity):
                break
        reason = f"{chunks} chunks along the {other}: {k} blocks and {parity} parity; {why}"
        options.append((found[other](k, parity), Choice(made, other, reason)))
    grids = [
        (costs.both_by(m, n, parity), m, n)
        for m in range(2, min(costs.row_chunks, most) + 1)
        for n in range(2, min(costs.column_chunks, most // m) + 1)
    ]
    cost, best = min(options, key=lambda option: option[0])
    compared = [f"{c.side} {price:.2f}" for price, c in options]
    field = COMPLEX if dtype.kind == "c" else PAIRED if a.ndim == 2 else REAL
    for least, m, n in sorted(grids):
        if least >= _WORTH * cost:
            why = ", too little less, as decoding reads more" if least < cost else ""
            compared.append(f"both {least:.2f}{why}")
            break
        both = Polynomial(m * n + parity, m, n, field=field)
        if not accuracy.admits(both, parity):
            continue
        compared.append(f"both {least:.2f}")
        reason = (
            f"{costs.row_chunks} x {costs.column_chunks} output chunks: {m} x {n} blocks and "
            f"{parity} parity of both operands"
        )
        best = Choice(both, "both", reason)
        break
    if len(compared) == 1:
        return best
    reason = f"{best.reason}; estimated cost beside a plain product: {', '.join(compared)}"
    return Choice(best.code, best.side, reason)
