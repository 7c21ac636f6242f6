"""Which pairs of a batch go into one codeword, and by which code: decided before any work."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as made_by
from typing import Any

import numpy as np

from dask_coded.array._accuracy import Accuracy
from dask_coded.array._cost import MOVING
from dask_coded.array._plan import Choice, linear_code
from dask_coded.codes import (
    AbstractCode,
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
    pairs: Sequence[Pair],
    sizes: Sizes,
    dtype: np.dtype[Any],
    parity: int,
    n_workers: int | None,
    accuracy: Accuracy,
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
    accuracy
        What each codeword has to keep when that many of its shares are lost.

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

    def fits(piece: list[Pair]) -> bool:
        if len(piece) > most - parity:
            return False
        return len(piece) == 1 or accuracy.admits(_biclique_code(piece, dtype, parity), parity)

    copies = [priced(Replication(parity + 1, 1), [pair]) for pair in pairs]
    copied = {copy.sides.pairs[0]: copy for copy in copies}
    apart: list[Codeword] = []
    for part in _parts(pairs, dtype):
        for piece in _pieces(part, fits):
            coded = priced(_biclique_code(piece, dtype, parity), piece)
            single = [copied[pair] for pair in piece]
            apart += [coded] if coded.cost < sum(map(_price, single)) else single
    chosen = apart
    if dtype.kind in "fc":
        joint = _Joint(parity, most, accuracy)
        chosen = _merged(apart, joint, priced, sizes)
        # Two codewords together may not save what all of them do.
        code = joint.code(pairs, search=True)
        if code is not None:
            whole = priced(code, pairs)
            chosen = min(chosen, [whole], key=lambda each: sum(map(_price, each)))
    total, others = sum(map(_price, chosen)), sum(map(_price, copies))
    if total == others:
        return chosen, _explained(f"nothing costs less than {parity + 1} copies", accuracy)
    shares = sum(codeword.code.n_shares for codeword in chosen)
    reason = (
        f"{shares} shares for {len(pairs)} products at {total / others:.2f} of the cost of "
        f"{parity + 1} copies"
    )
    if len(chosen) < len(apart):
        saved = total / sum(map(_price, apart))
        reason += f", and {saved:.2f} of that of {len(apart)} codewords"
    return chosen, _explained(reason, accuracy)


def _explained(reason: str, accuracy: Accuracy) -> str:
    note = accuracy.note()
    return f"{reason}; {note}" if note else reason


def cost_alone(
    choice: Choice, row_chunks: int, column_chunks: int, pairs: Sequence[Pair], sizes: Sizes
) -> float:
    """Cost of products by themselves, whose row or column chunks or both are blocks of a code."""
    code = choice.code
    assert code is not None
    blocks = len(code.targets())
    spare = code.n_shares - blocks
    total = 0.0
    for (rows, inner), (_, columns) in ((sizes[a], sizes[b]) for a, b in pairs):
        left, right = float(rows) * inner, float(inner) * columns
        load = code.n_shares / blocks
        if choice.side == "both":
            m, n = code.output_grid
            # Each parity is made of all blocks of its group, of which there may be several.
            again = left * math.ceil(column_chunks / n) + right * math.ceil(row_chunks / m)
            moved = left + right + spare * again
        else:
            # Each parity is made of all blocks of the side that is cut.
            cut, whole = (left, right) if choice.side == "rows" else (right, left)
            moved = cut * (1 + spare) + whole * load
        total += load * left * columns + MOVING * moved
    return total


def _price(codeword: Codeword) -> float:
    return codeword.cost


def _numbered(pairs: Sequence[Pair]) -> tuple[tuple[int, int], ...]:
    lefts: dict[str, int] = {}
    rights: dict[str, int] = {}
    return tuple(
        (lefts.setdefault(a, len(lefts)), rights.setdefault(b, len(rights))) for a, b in pairs
    )


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


def _pieces(part: list[Pair], fits: Callable[[list[Pair]], bool]) -> list[list[Pair]]:
    """A biclique as evenly cut bicliques that fit into one codeword."""
    if fits(part):
        return [part]
    lefts, rights = (list(dict.fromkeys(names)) for names in zip(*part, strict=True))
    side, names = (0, lefts) if len(lefts) >= len(rights) else (1, rights)
    half = set(names[: (len(names) + 1) // 2])
    halves = ([pair for pair in part if (pair[side] in half) == inside] for inside in (True, False))
    return list(itertools.chain.from_iterable(_pieces(piece, fits) for piece in halves))


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
    joint: "_Joint",
    priced: Callable[[AbstractCode, Sequence[Pair]], Codeword],
    sizes: Sizes,
) -> list[Codeword]:
    """Codewords put together, each with whichever of those after it saves work."""
    # Codewords that look alike are tried once: of many pairs most do.
    saves: dict[Any, bool] = {}
    waiting, done = list(apart), []
    while waiting:
        here = waiting.pop(0)
        left = []
        for other in waiting:
            pairs = (*here.sides.pairs, *other.sides.pairs)
            if len(pairs) > joint.most_pairs:
                left.append(other)
                continue
            looks = len(here.sides.pairs), _numbered(pairs), _shapes(pairs, sizes)
            if saves.get(looks, True):
                code = joint.code(pairs)
                together = None if code is None else priced(code, pairs)
                saves[looks] = together is not None and together.cost < here.cost + other.cost
                if together is not None and saves[looks]:
                    here = together
                    continue
            left.append(other)
        waiting = left
        if isinstance(here.code, FlexibleCSA):
            # Only what has been put together is worth a search.
            code = joint.code(here.sides.pairs, search=True)
            here = here if code is None else priced(code, here.sides.pairs)
        done.append(here)
    return done


def _shapes(pairs: Sequence[Pair], sizes: Sizes) -> tuple[tuple[int, int], ...]:
    return tuple(sizes[name] for pair in pairs for name in pair)


@dataclass(frozen=True, eq=False)
class _Joint:
    """One code for pairs of any kind, of no more shares than workers and sufficient accuracy."""

    parity: int
    most: int
    """Shares of a codeword."""
    accuracy: Accuracy
    known: dict[Any, AbstractCode | None] = made_by(default_factory=dict)

    @property
    def most_pairs(self) -> int:
        """No code has more of them."""
        return self.most - self.parity

    def code(self, pairs: Sequence[Pair], *, search: bool = False) -> AbstractCode | None:
        """The one of fewest shares, if there is one."""
        if len(pairs) > self.most_pairs:
            return None
        edges = _numbered(pairs)
        if (edges, search) not in self.known:
            admitted = (
                code
                for code in self._candidates(edges, search)
                if self.accuracy.admits(code, self.parity)
            )
            self.known[edges, search] = next(admitted, None)
        return self.known[edges, search]

    def _candidates(
        self, edges: tuple[tuple[int, int], ...], search: bool
    ) -> Iterator[AbstractCode]:
        """Codes of few enough shares, those of fewest first."""
        if len(edges) == len({a for a, _ in edges}) == len({b for _, b in edges}):
            n_shares = 2 * len(edges) - 1 + self.parity
            if n_shares <= self.most:
                yield Lagrange(n_shares, len(edges), 2)
            return
        # Random curves through larger parts need fewer shares, and amplify rounding more.
        tried = [single_bicliques(edges), fewest_bicliques(edges)]
        if search:
            tried.append(smallest_bicliques(edges))
        for parts in sorted(tried, key=threshold_of_bicliques):
            n_shares = threshold_of_bicliques(parts) + self.parity
            if n_shares <= self.most:
                yield FlexibleCSA(n_shares, parts)


def _cost(sides: BatchSides, sizes: Sizes) -> float:
    total = 0.0
    known: set[tuple[int, bytes]] = set()
    m, p, n = sides.splits
    cuts = (m, p), (p, n)
    for left, right in zip(sides.left, sides.right, strict=True):
        for rows in zip(left, right, strict=True):
            used = [
                [
                    (sizes[name][0] / cut[0], sizes[name][1] / cut[1])
                    for name, blocks in zip(names, row.reshape(len(names), -1), strict=True)
                    for _ in range(np.count_nonzero(blocks))
                ]
                for names, row, cut in zip((sides.lefts, sides.rights), rows, cuts, strict=True)
            ]
            if not all(used):
                continue
            height = max(shape[0] for shape in used[0])
            width = max(shape[1] for shape in used[1])
            total += height * used[0][0][1] * width
            for side, (shapes, row) in enumerate(zip(used, rows, strict=True)):
                numbers = [a * b for a, b in shapes]
                mixture = side, np.asarray(row).tobytes()
                # A mixture is made once, of all its operands, and sent to each share that holds it.
                total += MOVING * (max(numbers) if mixture in known else sum(numbers))
                known.add(mixture)
    return total
