"""Which code a product gets, and why: decided from shapes, chunks and workers, before any work."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np

from dask_coded.array._accuracy import Accuracy, default_tolerance
from dask_coded.codes import (
    MDS,
    AbstractCode,
    AbstractLinearCode,
    Replication,
    Uncoded,
    protects,
)
from dask_coded.errors import (
    ParameterError,
    UnsupportedDtypeError,
    UnsupportedOperationError,
)
from dask_coded.fields import COMPLEX, PAIRED, REAL, Field
from dask_coded.graph import Side

__all__ = [
    "Choice",
    "check_request",
    "check_tolerance",
    "check_verifiable",
    "choose_code",
    "default_tolerance",
    "fitted",
    "given_code",
    "group_sizes",
    "linear_code",
    "positions_per_task",
    "shortened",
]

#: Beyond this many blocks a decode moves more data than a recomputation would.
_MOST_BLOCKS = 24
#: What one product task may read at once.
_BYTES_PER_TASK = 256 * 2**20
#: Blocks when nothing is known of the cluster.
_USUAL_BLOCKS = 8


@dataclass(frozen=True)
class Choice:
    """A code for a product, or None for a plain product, and the reason."""

    code: AbstractCode | None
    side: Side
    """``"rows"`` of the left operand, ``"columns"`` of the right one, or ``"both"``."""
    reason: str

    def explained(self, more: str) -> "Choice":
        """The same with more of a reason, if there is more."""
        return replace(self, reason=f"{self.reason}; {more}") if more else self


def check_request(
    code: AbstractCode | None,
    parity: int | None,
    tolerance: float | None,
    *,
    batch: bool = False,
    shares_per_worker: int | None = None,
) -> None:
    """Check what may be asked of every product, or of a batch of them.

    Raises
    ------
    ParameterError
        If a code and a parity are given, or one of the three is impossible.
    UnsupportedOperationError
        If the code is not one for products of ordinary numbers.
    """
    if code is not None and parity is not None:
        raise ParameterError(
            f"both code={code!r} and parity={parity} were given; a code fixes its parity, give one"
        )
    if parity is not None and (type(parity) is not int or parity < 0):
        raise ParameterError(f"parity must be an int of at least 0, got {parity!r}")
    if shares_per_worker is not None:
        if type(shares_per_worker) is not int or shares_per_worker < 1:
            raise ParameterError(
                f"shares_per_worker must be an int of at least 1, got {shares_per_worker!r}"
            )
        if code is not None:
            raise ParameterError(
                f"both code={code!r} and shares_per_worker={shares_per_worker} were given; a code "
                "with more shares than there are workers gives each worker several, give one"
            )
    check_tolerance(tolerance)
    if code is None:
        return
    if not isinstance(code, AbstractCode):
        raise ParameterError(f"code={code!r} is no code; give one, such as dask_coded.MDS(10, k=8)")
    if code.operation == "batch" and not batch:
        raise UnsupportedOperationError(
            f"{code!r} codes a batch of products; use it with coded_matmul_batch, and here a code "
            "of one operand such as MDS, or of two such as Polynomial"
        )
    if code.operation == "polynomial" and not batch:
        raise UnsupportedOperationError(
            f"{code!r} codes maps of single blocks, not products; use a code of one operand such "
            "as MDS, or of two such as Polynomial"
        )
    if code.field.exact and not batch:
        raise UnsupportedOperationError(
            f"{code!r} computes modulo a prime; a product of arrays has ordinary numbers. Use a "
            "code over REAL, PAIRED or COMPLEX, or an all-ones parity, which is exact for integers"
        )


def check_tolerance(tolerance: Any) -> None:
    """Check what decoding may amplify rounding to.

    Raises
    ------
    ParameterError
        If it is no positive number, nor None.
    """
    if tolerance is not None and not (isinstance(tolerance, Real) and float(tolerance) > 0):
        raise ParameterError(
            f"tolerance must be a positive number, or None for a default; got {tolerance!r}"
        )


def positions_per_task(numbers: int, dtype: np.dtype[Any]) -> int:
    """Inner positions, of so many numbers each, that one product task may sum over."""
    return max(1, _BYTES_PER_TASK // max(1, numbers * dtype.itemsize))


def linear_code(
    k: int, parity: int, dtype: np.dtype[Any] | None, *, paired: bool
) -> tuple[AbstractLinearCode, str]:
    """The code of one operand for k blocks that loses fewest digits, and why.

    Parameters
    ----------
    k
        Blocks.
    parity
        Shares that may be lost.
    dtype
        Of the data; None if it is not known yet.
    paired
        Whether the first axis of every block and result may be paired.

    Raises
    ------
    UnsupportedDtypeError
        If nothing is known to be right for the dtype.
    """
    if parity == 0:
        return Uncoded(k), "no parity was asked for"
    if dtype is None:
        if k == 1:
            return Replication(parity + 1, 1), "copies, because one block has nothing to mix with"
        if parity == 1:
            return MDS(k + 1, k, parity="ones"), "their sum, right for every dtype"
        why = "real parity, right for real and complex chunks, whose dtype the graph does not say"
        return MDS(k + parity, k), why
    if dtype.kind in "iu" and parity > 1:
        why = "copies, because integers must stay exact and sums of one parity protect one share"
        return Replication((parity + 1) * k, k), why
    if k == 1:
        return Replication(parity + 1, 1), "copies, because one block has nothing to mix with"
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
    dtype: np.dtype[Any] | None,
    *,
    parity: int | None,
    n_workers: int | None,
    pairable: bool,
    shares_per_worker: int = 1,
    accuracy: Accuracy | None = None,
) -> Choice:
    """The default code of a product: of one operand, in groups as large as its accuracy allows.

    Parameters
    ----------
    row_chunks, column_chunks
        Chunks of the output along its last two axes.
    dtype
        Of the output; None if it is not known yet.
    parity
        Shares that may be lost, None for a default; workers, if each has several shares.
    n_workers
        Workers of the cluster, None if there is none.
    pairable
        Whether the rows of output chunks are their first axis.
    shares_per_worker
        How many shares of each group a worker gets, as far as there are so many chunks.
    accuracy
        What has to be kept when `parity` are lost; None is the default of the dtype.

    Raises
    ------
    ParameterError
        If each worker has several shares, and all workers may be lost.
    UnsupportedDtypeError
        If nothing is known to be right for the dtype.
    """
    side: Side = "rows" if row_chunks >= column_chunks else "columns"
    chunks = max(row_chunks, column_chunks)
    if parity is None:
        if n_workers is None:
            return Choice(None, "rows", "no cluster: threads of one process do not straggle apart")
        if n_workers < 3:
            reason = f"{n_workers} workers: one that straggles is too large a part to make up for"
            return Choice(None, "rows", reason)
        if chunks == 1:
            reason = "one output chunk, of which only copies could be made; parity=1 asks for one"
            return Choice(None, "rows", reason)
        floats = dtype is None or dtype.kind in "fc"
        parity = 2 if n_workers >= 6 and floats else 1
    if parity == 0:
        return Choice(None, "rows", "no parity was asked for")
    places = _USUAL_BLOCKS + parity if n_workers is None else n_workers
    most = min(max(1, places - parity), _MOST_BLOCKS) * shares_per_worker
    where = "" if n_workers is None else f" on {n_workers} workers"
    paired = pairable and side == "rows"
    accuracy = Accuracy(dtype, None) if accuracy is None else accuracy
    dealt = None if shares_per_worker == 1 else places
    for k in group_sizes(chunks, most):
        if dealt is None:
            code, why = linear_code(k, parity, dtype, paired=paired)
        else:
            code, why = _several(k, parity, dtype, places, paired=paired)
        # Copies, at last, amplify nothing.
        if code.k == 1 or accuracy.admits(code, parity, dealt):
            break
    if dealt is not None:
        each = -(-code.n_shares // places)
        why += f"; up to {each} share{'s' * (each > 1)} to a worker, each of which counts"
    spare = parity if shares_per_worker == 1 else code.n_shares - code.k
    reason = f"{chunks} chunks along the {side}{where}: {code.k} blocks and {spare} parity; {why}"
    return Choice(code, side, reason)


def group_sizes(chunks: int, most: int) -> Iterator[int]:
    """Blocks of a group, of groups as few and as even as possible; then of more and more groups."""
    last = 0
    for groups in range(math.ceil(chunks / min(most, chunks)), chunks + 1):
        k = math.ceil(chunks / groups)
        if k != last:
            yield k
        last = k


def _several(
    k: int, parity: int, dtype: np.dtype[Any] | None, places: int, *, paired: bool
) -> tuple[AbstractLinearCode, str]:
    """The code of which any `parity` of so many workers may be lost, with several shares each."""
    if parity >= places:
        raise ParameterError(
            f"parity={parity} with shares_per_worker counts workers, and there are {places}; "
            "some have to be left, so ask for less"
        )
    if dtype is not None and dtype.kind in "iu":
        # Else copies of one block would be dealt to one worker.
        while not _copies_apart(Replication((parity + 1) * k, k), places):
            k -= 1
        why = "copies, because integers must stay exact and a sum makes up for one share only"
        return Replication((parity + 1) * k, k), why
    spare = parity
    while spare < parity * math.ceil((k + spare) / places):
        spare += 1
    return linear_code(k, spare, dtype, paired=paired)


def _copies_apart(code: Replication, places: int) -> bool:
    """Whether no worker holds two copies of a block."""
    held = [[share % code.k for share in shares] for shares in code.placement(places)]
    return all(len(set(blocks)) == len(blocks) for blocks in held)


def given_code(
    code: AbstractCode,
    row_chunks: int,
    column_chunks: int,
    dtype: np.dtype[Any] | None,
    *,
    pairable: bool,
) -> Choice:
    """The side on which a code that was asked for serves a product; parameters as above.

    Raises
    ------
    UnsupportedOperationError
        If it pairs rows that cannot be paired, or would change a dtype that is not known.
    UnsupportedDtypeError
        If it cannot be exact for integers, or would make complex numbers of real ones.
    """
    side: Side = "both"
    if isinstance(code, AbstractLinearCode):
        # Rows are paired in the left operand and in the output, never in the right operand.
        wide = column_chunks > row_chunks and code.field != PAIRED
        side = "columns" if wide else "rows"
    if code.field == PAIRED and not pairable:
        raise UnsupportedOperationError(
            f"{code!r} pairs the first axis of output chunks, which is not the rows here; "
            "use field=REAL"
        )
    if dtype is None:
        if code.field == COMPLEX:
            raise UnsupportedOperationError(
                f"{code!r} makes complex outputs, and the graph does not say whether the chunks "
                "are complex; use field=REAL"
            )
        return Choice(code, side, "asked for")
    if dtype.kind in "iu" and not np.array_equal(code.responses(), np.round(code.responses())):
        raise UnsupportedDtypeError(
            f"{code!r} has fractional coefficients and the product is {dtype}; use "
            "MDS(n, k, parity='ones') or Replication, which are exact, or convert to float64"
        )
    if code.field == PAIRED and dtype.kind == "c":
        raise UnsupportedDtypeError(
            f"{code!r} takes two real rows for one complex number, and the product is {dtype}; "
            "use field=COMPLEX"
        )
    if code.field == COMPLEX and dtype.kind != "c":
        raise UnsupportedDtypeError(
            f"{code!r} makes complex outputs, and the product is {dtype}; use field=PAIRED or "
            "field=REAL"
        )
    return Choice(code, side, "asked for")


def fitted(choice: Choice, row_chunks: int, column_chunks: int) -> AbstractCode:
    """The chosen code, shortened if there are fewer chunks than it has blocks."""
    code = choice.code
    assert code is not None
    count = row_chunks if choice.side == "rows" else column_chunks
    if isinstance(code, AbstractLinearCode) and count < code.k:
        return shortened(code, count) or code
    return code


def check_verifiable(choice: Choice, row_chunks: int, column_chunks: int, wrong: int) -> None:
    """Check that results can be compared; `wrong` independent ones located.

    Raises
    ------
    ParameterError
        If there is too little parity for that.
    """
    code = Uncoded(1) if choice.code is None else fitted(choice, row_chunks, column_chunks)
    if not protects(code, range(code.n_shares), wrong):
        what = "detect a wrong result" if wrong == 0 else f"locate {wrong} wrong results"
        raise ParameterError(
            f"{choice.code!r} ({choice.reason}) cannot {what}; that takes {wrong + 1} surplus "
            f"results, so use parity={wrong + 1} or more"
        )


def shortened(code: AbstractCode, k: int) -> AbstractCode | None:
    """The same code for fewer blocks, where its family has one; it loses no tolerance."""
    if isinstance(code, MDS):
        return replace(code, n_shares=code.n_shares - code.k + k, k=k)
    if isinstance(code, Replication) and code.n_shares % code.k == 0:
        return replace(code, n_shares=code.n_shares // code.k * k, k=k)
    if isinstance(code, Uncoded):
        return replace(code, k=k)
    return None
