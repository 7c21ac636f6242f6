"""Which pairs of a batch go into one codeword, and by which code: decided before any work."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dask_coded.array._cost import MOVING
from dask_coded.array._plan import linear_code
from dask_coded.codes import (
    AbstractCode,
    AbstractLinearCode,
    FlexibleCSA,
    Lagrange,
    Polynomial,
    Replication,
    fewest_bicliques,
    single_bicliques,
    smallest_bicliques,
    threshold_of_bicliques,
)
from dask_coded.errors import ParameterError
from dask_coded.fields import COMPLEX, PAIRED
from dask_coded.graph import BatchSides, Pair, batch_sides

__all__ = ["Codeword", "choose_codewords", "cost_alone", "given_codeword"]

#: Shares of a codeword when nothing is known of the cluster, less the parity.
_MOST_SHARES = 24

#: Rows and columns of the operands, by name.
Sizes = Mapping[str, tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Codeword:
    """Pairs that are encoded together."""

    sides: BatchSides
    cost: float
    """Work of all its shares and of bringing operands to them, in multiplications."""

    @property
    def code(self) -> AbstractCode:
        """Its code."""
        return self.sides.code


def given_codeword(code: AbstractCode, pairs: Sequence[Pair], sizes: Sizes) -> Codeword:
    """All pairs by a code that was asked for; raises as :func:`batch_sides`."""
    sides = batch_sides(code, pairs)
    return Codeword(sides, _cost(sides, sizes))


def choose_codewords(
    pairs: Sequence[Pair], sizes: Sizes, dtype: np.dtype[Any], parity: int, n_workers: int | None
) -> tuple[list[Codeword], str]:
    """The cheapest codewords that lose no pair with `parity` shares of any of them, and why.

    Pairs that are all pairs of some left and some right operands need no share but theirs and the
    parity. Any other pairs need more in one codeword, but share the parity: codewords are put
    together as long as that saves work, and no codeword has more shares than there are workers.

    Parameters
    ----------
    pairs
        Wanted products whose results have one dtype and as many chunks.
    sizes
        Of the operands.
    dtype
        Of the results.
    parity
        Shares of each codeword that may be lost, at least 1.
    n_workers
        Workers of the cluster, None if there is none.

    Raises
    ------
    UnsupportedDtypeError
        If nothing is known to be right for the dtype.
    ParameterError
        If there are not enough workers for the shares of a single pair.
    """
    most = parity + _MOST_SHARES if n_workers is None else n_workers
    if most <= parity:
        raise ParameterError(
            f"parity={parity} needs {parity + 1} workers for the copies of a single product; "
            f"there are {n_workers}. Ask for less parity, or start more workers"
        )

    def priced(code: AbstractCode, chosen: Sequence[Pair]) -> Codeword:
        return given_codeword(code, chosen, sizes)

    copies = [priced(Replication(parity + 1, 1), [pair]) for pair in pairs]
    copied = {copy.sides.pairs[0]: copy for copy in copies}
    apart: list[Codeword] = []
    for part in _parts(pairs, dtype):
        for piece in _pieces(part, most - parity):
            coded = priced(_biclique_code(piece, dtype, parity), piece)
            single = [copied[pair] for pair in piece]
            apart += [coded] if coded.cost < sum(map(_price, single)) else single
    chosen = apart
    if dtype.kind in "fc":
        few_digits = np.finfo(dtype).precision < 10
        chosen = _merged(apart, parity, most, priced, few_digits)
        # Two codewords together may not save what all of them do.
        code = _joint(pairs, parity, most, few_digits, search=True)
        if code is not None:
            whole = priced(code, pairs)
            chosen = min(chosen, [whole], key=lambda each: sum(map(_price, each)))
    total, others = sum(map(_price, chosen)), sum(map(_price, copies))
    if total == others:
        return chosen, f"nothing costs less than {parity + 1} copies"
    shares = sum(codeword.code.n_shares for codeword in chosen)
    reason = (
        f"{shares} shares for {len(pairs)} products at {total / others:.2f} of the cost of "
        f"{parity + 1} copies"
    )
    if len(chosen) < len(apart):
        saved = total / sum(map(_price, apart))
        reason += f", and {saved:.2f} of that of {len(apart)} codewords"
    return chosen, reason


def cost_alone(code: AbstractLinearCode, pairs: Sequence[Pair], sizes: Sizes) -> float:
    """Cost of products by themselves, whose row or column chunks are the blocks of a code."""
    total = 0.0
    load = code.n_shares / code.k
    for (rows, inner), (_, columns) in ((sizes[a], sizes[b]) for a, b in pairs):
        left, right = float(rows) * inner, float(inner) * columns
        # The longer side is cut, and each parity is made of all its blocks.
        cut, whole = (left, right) if rows >= columns else (right, left)
        total += load * left * columns
        total += MOVING * (cut * (1 + code.n_shares - code.k) + whole * load)
    return total


def _price(codeword: Codeword) -> float:
    return codeword.cost


def _numbered(pairs: Sequence[Pair]) -> tuple[tuple[int, int], ...]:
    lefts, rights = (list(dict.fromkeys(names)) for names in zip(*pairs, strict=True))
    return tuple((lefts.index(a), rights.index(b)) for a, b in pairs)


def _parts(pairs: Sequence[Pair], dtype: np.dtype[Any]) -> list[list[Pair]]:
    """Bicliques, or stars where only the operands of one side may be mixed."""
    lefts, rights = (list(dict.fromkeys(names)) for names in zip(*pairs, strict=True))
    if dtype.kind in "fc":
        found = fewest_bicliques(_numbered(pairs))
        return [[(lefts[i], rights[j]) for i in n for j in m] for n, m in found]
    side = 0 if len(lefts) <= len(rights) else 1
    stars: dict[str, list[Pair]] = {}
    for pair in pairs:
        stars.setdefault(pair[side], []).append(pair)
    return list(stars.values())


def _pieces(part: list[Pair], most: int) -> list[list[Pair]]:
    """A biclique as evenly cut bicliques of no more than that many pairs."""
    if len(part) <= most:
        return [part]
    lefts, rights = (list(dict.fromkeys(names)) for names in zip(*part, strict=True))
    side, names = (0, lefts) if len(lefts) >= len(rights) else (1, rights)
    half = set(names[: (len(names) + 1) // 2])
    halves = ([pair for pair in part if (pair[side] in half) == inside] for inside in (True, False))
    return list(itertools.chain.from_iterable(_pieces(piece, most) for piece in halves))


def _biclique_code(pairs: list[Pair], dtype: np.dtype[Any], parity: int) -> AbstractCode:
    """The code of a biclique, with no share but the pairs and the parity."""
    lefts, rights = (set(names) for names in zip(*pairs, strict=True))
    if len(lefts) == 1 or len(rights) == 1:
        code, _ = linear_code(len(pairs), parity, dtype, paired=len(rights) == 1)
        return code
    field = COMPLEX if dtype.kind == "c" else PAIRED
    return Polynomial(len(pairs) + parity, len(lefts), len(rights), field=field)


def _merged(
    apart: list[Codeword],
    parity: int,
    most: int,
    priced: Callable[[AbstractCode, Sequence[Pair]], Codeword],
    few_digits: bool,
) -> list[Codeword]:
    """Codewords put together, each with whichever of those after it saves work."""
    waiting, done = list(apart), []
    while waiting:
        here = waiting.pop(0)
        left = []
        for other in waiting:
            pairs = (*here.sides.pairs, *other.sides.pairs)
            code = _joint(pairs, parity, most, few_digits)
            joint = None if code is None else priced(code, pairs)
            if joint is not None and joint.cost < here.cost + other.cost:
                here = joint
            else:
                left.append(other)
        waiting = left
        if isinstance(here.code, FlexibleCSA):
            # Only what has been put together is worth a search.
            code = _joint(here.sides.pairs, parity, most, few_digits, search=True)
            here = here if code is None else priced(code, here.sides.pairs)
        done.append(here)
    return done


def _joint(
    pairs: Sequence[Pair], parity: int, most: int, few_digits: bool, *, search: bool = False
) -> AbstractCode | None:
    """One code for pairs of any kind, unless it has too many shares."""
    if len(pairs) + parity > most:
        return None
    edges = _numbered(pairs)
    if len(pairs) == len({a for a, _ in edges}) == len({b for _, b in edges}):
        n_shares = 2 * len(pairs) - 1 + parity
        return None if n_shares > most else Lagrange(n_shares, len(pairs), 2)
    tried = [single_bicliques(edges)]
    if not few_digits:
        # Random curves need fewer shares, and may amplify rounding a hundred times as much.
        tried.append(fewest_bicliques(edges))
        if search:
            tried.append(smallest_bicliques(edges))
    best = min(tried, key=threshold_of_bicliques)
    n_shares = threshold_of_bicliques(best) + parity
    return None if n_shares > most else FlexibleCSA(n_shares, best)


def _cost(sides: BatchSides, sizes: Sizes) -> float:
    total = 0.0
    known: set[tuple[int, bytes]] = set()
    for left, right in zip(sides.left, sides.right, strict=True):
        for rows in zip(left, right, strict=True):
            used = [
                [sizes[name] for name, weight in zip(names, row, strict=True) if weight != 0]
                for names, row in zip((sides.lefts, sides.rights), rows, strict=True)
            ]
            if not all(used):
                continue
            height = max(shape[0] for shape in used[0])
            width = max(shape[1] for shape in used[1])
            total += float(height) * used[0][0][1] * width
            for side, (shapes, row) in enumerate(zip(used, rows, strict=True)):
                numbers = [float(a) * b for a, b in shapes]
                mixture = side, np.asarray(row).tobytes()
                # A mixture is made once, of all its operands, and sent to each share that holds it.
                total += MOVING * (max(numbers) if mixture in known else sum(numbers))
                known.add(mixture)
    return total
