"""A batch of coded products: ``coded_matmul_batch([(a, b), (a, c), ...])``."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask.array.routines import matmul as dask_matmul
from dask.array.utils import meta_from_array
from dask.base import tokenize

from dask_coded.array._accuracy import Accuracy, default_tolerance
from dask_coded.array._batch_checks import check_digits, check_exact
from dask_coded.array._batch_plan import (
    Codeword,
    choose_codewords,
    cost_alone,
    given_codeword,
)
from dask_coded.array._chunks import as_dask, chunk_library, has_codable_dtype, on_device
from dask_coded.array._client import current_client, prepare, refuse_expressions, worker_count
from dask_coded.array._matmul import MatmulPlan, plan_matmul
from dask_coded.array._plan import check_request, given_code, positions_per_task
from dask_coded.cluster import sliced_matmul
from dask_coded.codes import AbstractCode
from dask_coded.errors import (
    BlockShapeError,
    ParameterError,
    UnsupportedOperationError,
)
from dask_coded.fields import PrimeField
from dask_coded.graph import (
    BatchGroups,
    ExactArithmetic,
    PlainArithmetic,
    batch_graph,
    batch_tasks,
    mixed,
    mixed_residues,
)

__all__ = ["BatchPlan", "coded_matmul_batch", "plan_matmul_batch"]


@dataclass(frozen=True, eq=False)
class BatchPlan:
    """How a batch of products will be computed; its ``repr`` says by which codes and why."""

    operands: dict[str, da.Array]
    """All operands by name."""
    pairs: tuple[tuple[str, str], ...]
    """Names of the operands of every wanted product."""
    codewords: tuple[tuple[Codeword, str, float], ...]
    """Products that are encoded together, why, and the tolerance of decoding them."""
    alone: dict[tuple[str, str], MatmulPlan]
    """Products that are coded by themselves, because that costs less."""
    plain: dict[tuple[str, str], str]
    """Products that are not coded, and why."""

    def __repr__(self) -> str:
        numbers: dict[tuple[str, str], list[int]] = {}
        for number, pair in enumerate(self.pairs):
            numbers.setdefault(pair, []).append(number)
        lines = [f"batch of {len(self.pairs)} products"]
        last = ""
        for codeword, reason, tolerance in self.codewords:
            code = codeword.code
            which = sorted(n for pair in codeword.sides.pairs for n in numbers[pair])
            why = f"  {reason} (amplification times eps up to {tolerance:.1e}):"
            lines += [why] if why != last else []
            last = why
            lines.append(
                f"    {_listed(which)} by {code!r}, any {code.recovery_threshold} of "
                f"{code.n_shares} shares decode"
            )
        for pair, plan in self.alone.items():
            lines.append(f"  {_listed(numbers[pair])} by itself, which costs less: {plan!r}")
        reasons: dict[str, list[int]] = {}
        for pair, reason in self.plain.items():
            reasons.setdefault(reason, []).extend(numbers[pair])
        lines += [f"  {_listed(sorted(n))} plain: {reason}" for reason, n in reasons.items()]
        return "\n".join(lines)

    def build(self) -> list[da.Array]:
        """The products as lazy arrays, in the order of the pairs."""
        made = {pair: dask_matmul(*(self.operands[name] for name in pair)) for pair in self.plain}
        made |= {pair: plan.build() for pair, plan in self.alone.items()}
        for codeword, _, tolerance in self.codewords:
            made |= _build(codeword, self.operands, tolerance)
        return [made[pair] for pair in self.pairs]


def plan_matmul_batch(
    pairs: Iterable[tuple[Any, Any]],
    *,
    code: AbstractCode | None = None,
    parity: int | None = None,
    tolerance: float | None = None,
) -> BatchPlan:
    """Decide how a batch would be coded; parameters as :func:`coded_matmul_batch`.

    Examples
    --------
    >>> import dask.array as da
    >>> a, b, c = (da.ones((900, 900), chunks=900) + i for i in range(3))
    >>> print(plan_matmul_batch([(a, b), (a, c)], parity=1))  # doctest: +ELLIPSIS
    batch of 2 products
      3 shares for 2 products at 0.76 of the cost of 2 copies (amplification ...):
        0, 1 by MDS(n_shares=3, k=2, parity='auto', seed=0, field=REAL), any 2 of 3 shares decode
    """
    refuse_expressions()
    check_request(code, parity, tolerance, batch=True)
    operands: dict[str, da.Array] = {}
    named: list[tuple[str, str]] = []
    given: dict[int, tuple[Any, da.Array]] = {}
    for number, pair in enumerate(pairs):
        sides = _checked(number, pair, given)
        operands |= {side.name: side for side in sides}
        named.append((sides[0].name, sides[1].name))
    n_workers = worker_count(current_client())
    plain: dict[tuple[str, str], str] = {}
    classes: dict[tuple[Any, ...], list[tuple[str, str]]] = {}
    for names in dict.fromkeys(named):
        a, b = (operands[name] for name in names)
        flaw, remedy = _flaw(a, b)
        if flaw is None:
            dtype = _dtype(a, b)
            kind = (a.numblocks[0], b.numblocks[1], a.shape[1], str(dtype))
            classes.setdefault(kind, []).append(names)
        elif code is not None:
            raise UnsupportedOperationError(f"{code!r} was asked for, but {flaw}; use {remedy}")
        else:
            plain[names] = flaw
    if code is not None and len(classes) > 1:
        raise UnsupportedOperationError(
            f"{code!r} was asked for, but the products are of {len(classes)} kinds (chunks of the "
            f"result, inner dimension, dtype): {sorted(classes)}; ask for each kind by itself, or "
            "leave the choice of codes to parity="
        )
    sizes = {name: operand.shape for name, operand in operands.items()}
    codewords: list[tuple[Codeword, str, float]] = []
    alone: dict[tuple[str, str], MatmulPlan] = {}
    for kind, members in classes.items():
        dtype = np.dtype(kind[-1])
        accepted = default_tolerance(dtype) if tolerance is None else float(tolerance)
        if code is not None:
            if code.field.exact:
                check_exact(code, dtype, [operands[name] for pair in members for name in pair])
            else:
                # The same checks of the arithmetic as for one product.
                given_code(code, 1, 1, dtype, pairable=True)
                check_digits(code, Accuracy(dtype, accepted).limit, accepted)
            codewords.append((given_codeword(code, members, sizes), "asked for", accepted))
            continue
        spare = _parity(dtype, n_workers) if parity is None else parity
        if isinstance(spare, str) or spare == 0:
            reason = spare if isinstance(spare, str) else "no parity was asked for"
            plain |= dict.fromkeys(members, reason)
            continue
        accuracy = Accuracy(dtype, accepted)
        chosen, reason = choose_codewords(members, sizes, dtype, spare, n_workers, accuracy)
        rows, columns = kind[:2]
        # All of a kind are coded alike where each is coded by itself.
        a, b = (operands[name] for name in members[0])
        single = plan_matmul(a, b, parity=spare, tolerance=tolerance).choice
        for codeword in chosen:
            together = codeword.sides.pairs
            if cost_alone(single, rows, columns, together, sizes) < codeword.cost:
                alone |= {
                    (a, b): plan_matmul(operands[a], operands[b], parity=spare, tolerance=tolerance)
                    for a, b in together
                }
            else:
                codewords.append((codeword, reason, accepted))
    return BatchPlan(operands, tuple(named), tuple(codewords), alone, plain)


def coded_matmul_batch(
    pairs: Iterable[tuple[Any, Any]],
    *,
    code: AbstractCode | None = None,
    parity: int | None = None,
    tolerance: float | None = None,
) -> list[da.Array]:
    """``[a @ b for a, b in pairs]``, which finishes when enough of the cluster has answered.

    Whole operands are the blocks of a code: a share is a product of one mixture of left operands
    and one of right operands. An operand that occurs in several pairs of one codeword is encoded
    once for all of them. Products of one codeword have equally many chunks, one inner dimension and
    one dtype; where their sizes differ, smaller ones are continued with zeros. Compute the results
    together: they decode each other.

    Parameters
    ----------
    pairs
        Any number of pairs of matrices ``(m, k), (k, n)``, Dask's or NumPy's.
    code
        Of a batch, such as :class:`~dask_coded.codes.FlexibleCSA`; or of one operand, if all pairs
        share the other one; or of two, if all pairs of some matrices are wanted. A code of a batch
        over a :class:`~dask_coded.fields.PrimeField` takes integers and is exact;
        :class:`~dask_coded.codes.GeneralizedCSA` cuts the operands besides, over floats as far as
        its losses stay within `tolerance`. None chooses the
        cheapest that bears its losses within `tolerance`; ``print(plan_matmul_batch(pairs))``
        says which, why, and which were left out. A product of many chunks
        may be cheaper by itself, as :func:`coded_matmul` computes it.
    parity
        Shares of each codeword that may be lost, where `code` is None.
    tolerance
        Largest acceptable product of amplification and eps; survivors that would exceed it wait
        for one more share. None: the square root of eps. Errors are relative to the largest
        product of a codeword: code products of very different size in calls of their own.

    Returns
    -------
    list of dask.array.Array
        Lazy, each with the shape, dtype, chunks and meta of ``a @ b``.

    Raises
    ------
    BlockShapeError
        If an operand is no matrix, or those of a pair do not fit.
    ParameterError
        If both `code` and `parity` are given, or either is impossible.
    UnsupportedDtypeError, UnsupportedOperationError
        If `code` cannot serve these products.
    FieldRangeError
        When products are computed: over a prime field, if entries are so large, or the inner
        dimension is so long, that products could leave its range. Where outputs are shares
        themselves, this counts as the loss of all others.

    Notes
    -----
    *Encoded once.* Codewords that mix the same operands with the same coefficients have the
    mixture in common: it is made once, and sent to whoever reads it, in this call and in any other.
    Of all pairs of many operands, cut into codewords of one shape, each half of the operands is so
    encoded once for all codewords in its row or column. No mixture can serve two codewords that mix
    different operands, as two stars of one center or overlapping parts of a graph do, or the same
    operands with other coefficients, as codes of different numbers of shares or blocks do: there an
    operand is encoded once for each. Nor do products by themselves, whose blocks are chunks. An
    operand that is mixed with nothing is sent as it is.

    References
    ----------
    Tauz and Dolecek (2021), Variable coded batch matrix multiplication, arXiv:2105.06162. Jia and
    Jafar (2019), Cross subspace alignment codes for coded distributed batch computation,
    arXiv:1909.13873.

    Examples
    --------
    >>> import dask.array as da
    >>> a, b, c = (da.ones((4, 4), chunks=2) + i for i in range(3))
    >>> ab, ac, bc = coded_matmul_batch([(a, b), (a, c), (b, c)], parity=2)
    >>> float(bc.sum().compute(scheduler="sync"))
    384.0

    Integers, cut along the inner dimension, from any 7 of 9 shares:

    >>> from dask_coded.codes import GeneralizedCSA
    >>> x, y = a.astype(int), b.astype(int)
    >>> xy, yy = coded_matmul_batch([(x, y), (y, y)], code=GeneralizedCSA(9, size=2, p=2))
    >>> int(yy.sum().compute(scheduler="sync"))
    256
    """
    plan = plan_matmul_batch(pairs, code=code, parity=parity, tolerance=tolerance)
    if plan.codewords or plan.alone:
        prepare(current_client())
    return plan.build()


def _known(x: Any, given: dict[int, tuple[Any, da.Array]]) -> da.Array:
    """An operand as a Dask array, of one name in all pairs.

    An array of a device is not known by its values. It is kept, so that no other has its id.
    """
    if not on_device(x):
        return as_dask(x)
    return given.setdefault(id(x), (x, as_dask(x)))[1]


def _checked(
    number: int, pair: Any, given: dict[int, tuple[Any, da.Array]]
) -> tuple[da.Array, da.Array]:
    try:
        left, right = pair
    except (TypeError, ValueError):
        raise ParameterError(
            f"entry {number} of the batch is no pair (a, b): {type(pair).__name__}; give a list "
            "of pairs of matrices"
        ) from None
    a, b = (_known(side, given) for side in (left, right))
    if a.ndim != 2 or b.ndim != 2:
        raise BlockShapeError(
            f"pair {number} of the batch has operands of shapes {a.shape} and {b.shape}; a batch "
            "takes matrices of two dimensions, reshape vectors and stacks or use coded_matmul"
        )
    if a.shape[1] != b.shape[0] and not (np.isnan(a.shape[1]) or np.isnan(b.shape[0])):
        raise BlockShapeError(
            f"pair {number} of the batch does not fit: {a.shape} @ {b.shape} has inner dimensions "
            f"{a.shape[1]} against {b.shape[0]}; transpose or reshape one operand"
        )
    return a, b


def _flaw(a: da.Array, b: da.Array) -> tuple[str | None, str]:
    """Why a product cannot be coded, and what to use instead."""
    if any(np.isnan(size) for array in (a, b) for axis in array.chunks for size in axis):
        return "chunk sizes are unknown", "compute_chunk_sizes()"
    if 0 in (*a.shape, *b.shape):
        return "an operand is empty", "plain a @ b"
    dtype = np.result_type(a.dtype, b.dtype)
    if not has_codable_dtype(dtype) or chunk_library(a, b) is None:
        kinds = f"{type(a._meta).__name__} and {type(b._meta).__name__}"
        return f"cannot encode chunks of {kinds}, dtype {dtype}", "plain a @ b"
    return None, ""


def _dtype(a: da.Array, b: da.Array) -> np.dtype[Any]:
    dtype = np.result_type(a.dtype, b.dtype)
    inner = {*np.cumsum(a.chunks[1]).tolist(), *np.cumsum(b.chunks[0]).tolist()}
    if dtype.kind in "iu" and len(inner) > 1:
        # Dask's product sums over inner chunks, and a sum of small integers is a wide one.
        return np.zeros(1, dtype=dtype).sum().dtype
    return dtype


def _parity(dtype: np.dtype[Any], n_workers: int | None) -> int | str:
    """Shares that may be lost where nobody said, or why nothing is coded."""
    if n_workers is None:
        return "no cluster: threads of one process do not straggle apart"
    if n_workers < 3:
        return f"{n_workers} workers: one that straggles is too large a part to make up for"
    return 2 if n_workers >= 6 and dtype.kind in "fc" else 1


def _build(
    codeword: Codeword, operands: dict[str, da.Array], tolerance: float
) -> dict[tuple[str, str], da.Array]:
    sides, code = codeword.sides, codeword.code
    a, b = (operands[name] for name in sides.pairs[0])
    dtype = _dtype(a, b)
    lefts = [operands[name] for name in sides.lefts]
    rights = [operands[name] for name in sides.rights]
    if dtype.kind in "iu":
        # Mixtures of small integers would wrap where no product does.
        lefts, rights = ([x.astype(dtype) for x in each] for each in (lefts, rights))
    lefts, rights = _unified(lefts, rights)
    token = tokenize(sides.pairs, code, tolerance, str(dtype))
    name = f"coded-batch-{token}"
    chunks = tuple(
        (operands[left].chunks[0], operands[right].chunks[1]) for left, right in sides.pairs
    )
    rows, columns = (max(max(each[axis]) for each in chunks) for axis in (0, 1))
    per_position = max(lefts[0].chunks[1]) * (rows + columns)
    groups = BatchGroups(
        name=name,
        sides=sides,
        sources=(tuple(x.name for x in lefts), tuple(x.name for x in rights)),
        outputs=tuple(f"{name}-{number}" for number in range(len(sides.pairs))),
        chunks=chunks,
        positions=lefts[0].numblocks[1],
        per_task=positions_per_task(per_position, dtype),
        tolerance=tolerance,
        dtype=str(dtype),
    )
    plain = PlainArithmetic(sliced_matmul, str(dtype))
    if isinstance(code.field, PrimeField):
        whole = any(share is not None for share in code.direct())
        exact = ExactArithmetic(sliced_matmul, code.field, str(dtype), whole, plain)
        tasks = batch_tasks(groups, partial(mixed_residues, field=code.field), exact)
    else:
        mix = partial(mixed, field=code.field, dtype=str(dtype))
        tasks = batch_tasks(groups, mix, plain)
    graph = batch_graph(groups, tasks, [*lefts, *rights])
    meta = meta_from_array(a._meta, 2, dtype)
    return {
        pair: da.Array(graph, output, each, meta=meta)
        for pair, output, each in zip(sides.pairs, groups.outputs, chunks, strict=True)
    }


def _unified(
    lefts: list[da.Array], rights: list[da.Array]
) -> tuple[list[da.Array], list[da.Array]]:
    """The operands with equal chunks along the inner axis."""
    arguments: list[Any] = []
    for number, array in enumerate(lefts):
        arguments += [array, (f"row{number}", "inner")]
    for number, array in enumerate(rights):
        arguments += [array, ("inner", f"column{number}")]
    _, unified = da.core.unify_chunks(*arguments, warn=False)
    return list(unified[: len(lefts)]), list(unified[len(lefts) :])


def _listed(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:12]))
    return f"{shown}, ... ({len(numbers)} in all)" if len(numbers) > 12 else shown
