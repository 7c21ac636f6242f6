"""Cutting a bipartite graph into complete bipartite parts, for a code of few shares.

Left and right operands are vertices, wanted products are edges. A part ``(lefts, rights)`` is a
biclique: every product of one of its lefts with one of its rights is wanted. How many shares a code
needs depends on the parts: the search is for those that need fewest.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from dask_coded.errors import ParameterError

__all__ = [
    "Biclique",
    "Bicliques",
    "Layout",
    "checked",
    "fewest",
    "layout",
    "single",
    "smallest",
    "threshold",
]

Biclique: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
Bicliques: TypeAlias = tuple[Biclique, ...]
Edges: TypeAlias = tuple[tuple[int, int], ...]

#: Edges up to which every partition is looked at.
_EXHAUSTIVE = 8
_STEPS = 400


@dataclass(frozen=True)
class Layout:
    """Where curves vanish, for operands that play left and right."""

    pairs: Edges
    """In the order of the outputs."""
    oriented: Edges
    """The same with left and right exchanged if the roles are."""
    exchanged: bool
    simple: bool
    """Whether no part has two operands that play left."""
    left_zeros: tuple[tuple[int, ...], ...]
    right_zeros: tuple[tuple[int, ...], ...]
    """For each operand the pairs at whose points its curve vanishes."""
    left_degree: int
    right_degree: int
    blocks: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    """Pairs of one part and one right operand, and their lefts: there curves are independent."""

    @property
    def threshold(self) -> int:
        """Dimension of all products of a left and a right curve."""
        return self.left_degree + self.right_degree + 1


@lru_cache(maxsize=256)
def layout(parts: Bicliques) -> Layout:
    """The better of both roles; in doubt one in which every part is a star of its left operand."""
    made = _layout(parts, exchanged=False), _layout(parts, exchanged=True)
    return min(made, key=lambda plan: (plan.threshold, not plan.simple))


def _layout(parts: Bicliques, *, exchanged: bool) -> Layout:
    pairs = tuple((i, j) for lefts, rights in parts for j in rights for i in lefts)
    part_of = [c for c, (lefts, rights) in enumerate(parts) for _ in rights for _ in lefts]
    oriented = tuple((j, i) if exchanged else (i, j) for i, j in pairs)
    lefts_of = [frozenset(part[exchanged]) for part in parts]
    n_left, n_right = (1 + max(ends) for ends in zip(*oriented, strict=True))
    left_zeros = tuple(
        tuple(e for e, c in enumerate(part_of) if i not in lefts_of[c]) for i in range(n_left)
    )
    right_zeros = tuple(
        tuple(e for e, pair in enumerate(oriented) if pair[1] != j) for j in range(n_right)
    )
    # Independent at as many points: one curve may have no zero among them, one may have one, ...
    left_degree = max(
        zeros + spare
        for lefts in lefts_of
        for spare, zeros in enumerate(sorted((len(left_zeros[i]) for i in lefts), reverse=True))
    )
    blocks: dict[tuple[int, int], list[int]] = defaultdict(list)
    for e, (c, pair) in enumerate(zip(part_of, oriented, strict=True)):
        blocks[c, pair[1]].append(e)
    return Layout(
        pairs,
        oriented,
        exchanged,
        all(len(lefts) == 1 for lefts in lefts_of),
        left_zeros,
        right_zeros,
        left_degree,
        max(map(len, right_zeros)),
        tuple((tuple(edges), tuple(oriented[e][0] for e in edges)) for edges in blocks.values()),
    )


def threshold(parts: Bicliques) -> int:
    """Fewest shares any of which decode."""
    return layout(parts).threshold


def checked(parts: Any) -> None:
    """Raise unless these are bicliques over operands without gaps, no pair of which occurs twice.

    Raises
    ------
    ParameterError
        Says which of it is wrong.
    """
    sound = isinstance(parts, tuple) and all(
        isinstance(part, tuple)
        and len(part) == 2
        and all(
            isinstance(side, tuple) and side and all(type(i) is int and i >= 0 for i in side)
            for side in part
        )
        for part in parts
    )
    if not sound or not parts:
        raise ParameterError(
            f"bicliques={parts!r} must be a tuple of (lefts, rights), each a tuple of operand "
            "indices; FlexibleCSA.for_pairs makes them from pairs"
        )
    check_edges(tuple((i, j) for lefts, rights in parts for j in rights for i in lefts))


def check_edges(edges: Edges) -> None:
    """Raise unless operands are counted without gaps and no pair occurs twice."""
    twice = [edge for edge, count in Counter(edges).items() if count > 1]
    if twice:
        raise ParameterError(f"pair {twice[0]} occurs twice; give each wanted product once")
    if not edges:
        raise ParameterError("a batch needs at least one pair")
    for side, ends in zip(("left", "right"), zip(*edges, strict=True), strict=True):
        missing = sorted(set(range(1 + max(ends))) - set(ends))
        if missing:
            raise ParameterError(
                f"{side} operand {missing[0]} is in no pair; number the operands that occur from 0"
            )


def single(edges: Edges) -> Bicliques:
    """Every pair a part of its own."""
    check_edges(edges)
    return tuple(sorted(((i,), (j,)) for i, j in edges))


@lru_cache(maxsize=256)
def smallest(edges: Edges) -> Bicliques:
    """A partition into bicliques with the smallest threshold.

    The least of all partitions for up to eight edges, beyond that what a seeded search finds; in
    any case never above that of single pairs. Among equals one in which all parts are stars.
    """
    check_edges(edges)
    if len(edges) <= _EXHAUSTIVE:
        return min(_partitions(edges), key=_worth)
    apart = [(frozenset([i]), frozenset([j])) for i, j in edges]
    starts = [apart, _grown(apart, 0), _grown(apart, 1), _grown(_grown(apart, 0), 1)]
    starts += [_grown(_grown(apart, 1), 0), _greedy(edges)]
    return min((_improved(start, seed) for seed, start in enumerate(starts)), key=_worth)


@lru_cache(maxsize=256)
def fewest(edges: Edges) -> Bicliques:
    """A partition into few bicliques: the fewest for up to eight edges, else what is found.

    With a code of its own for each part, every part has a parity of its own.
    """
    check_edges(edges)
    if len(edges) <= _EXHAUSTIVE:
        return min(_partitions(edges), key=len)
    apart = [(frozenset([i]), frozenset([j])) for i, j in edges]
    tried = [_grown(_grown(apart, side), 1 - side) for side in (0, 1)]
    return _canonical(min([*tried, _greedy(edges)], key=len))


_Part: TypeAlias = tuple[frozenset[int], frozenset[int]]


def _worth(parts: Bicliques) -> tuple[int, bool, int]:
    plan = layout(parts)
    return plan.threshold, not plan.simple, len(parts)


def _canonical(parts: Sequence[_Part]) -> Bicliques:
    return tuple(sorted((tuple(sorted(n)), tuple(sorted(m))) for n, m in parts))


def _grown(parts: Sequence[_Part], side: int) -> list[_Part]:
    """Parts with the same operands on one side as one part."""
    found: dict[frozenset[int], frozenset[int]] = {}
    for part in parts:
        found[part[side]] = found.get(part[side], frozenset()) | part[1 - side]
    return [(one, other) if side == 0 else (other, one) for one, other in found.items()]


def _greedy(edges: Edges) -> list[_Part]:
    """Again and again the largest biclique grown from one left operand."""
    left = set(edges)
    parts: list[_Part] = []
    while left:
        rights: dict[int, set[int]] = defaultdict(set)
        for i, j in left:
            rights[i].add(j)
        best: _Part | None = None
        for start in sorted(rights):
            lefts, common = {start}, set(rights[start])
            while True:
                size = len(lefts) * len(common)
                if best is None or size > len(best[0]) * len(best[1]):
                    best = frozenset(lefts), frozenset(common)
                others = [i for i in sorted(rights) if i not in lefts and rights[i] & common]
                if not others:
                    break
                lefts.add(max(others, key=lambda i: len(rights[i] & common)))
                common = set.intersection(*(rights[i] for i in lefts))
        assert best is not None
        parts.append(best)
        left -= set(itertools.product(*best))
    return parts


def _improved(parts: list[_Part], seed: int) -> Bicliques:
    """Seeded walk by splits and merges that never goes up, and keeps the best that it meets."""
    stream = np.random.RandomState(seed)
    here = _canonical(parts)
    best = here
    for _ in range(_STEPS):
        step = _neighbour([(frozenset(n), frozenset(m)) for n, m in here], stream)
        if layout(step).threshold <= layout(here).threshold:
            here = step
            best = min(best, here, key=_worth)
    return best


def _neighbour(parts: list[_Part], stream: np.random.RandomState) -> Bicliques:
    """Take some operands of one side out of a part, and merge what can be."""
    chosen = parts.pop(stream.randint(len(parts)))
    side = stream.randint(2)
    operands = sorted(chosen[side])
    out = frozenset(operand for operand in operands if stream.randint(2)) or frozenset(operands[:1])
    pieces = [piece for piece in (out, chosen[side] - out) if piece]
    parts += [(p, chosen[1]) if side == 0 else (chosen[0], p) for p in pieces]
    first = stream.randint(2)
    return _canonical(_grown(_grown(parts, first), 1 - first))


def _partitions(edges: Edges) -> Iterator[Bicliques]:
    """Every partition into bicliques."""

    def extend(rest: frozenset[tuple[int, int]], parts: list[_Part]) -> Iterator[list[_Part]]:
        if not rest:
            yield parts
            return
        # By the part that the first edge is in.
        i, j = min(rest)
        lefts = sorted({a for a, b in rest if b == j and a != i})
        rights = sorted({b for a, b in rest if a == i and b != j})
        for more in _subsets(lefts):
            for others in _subsets(rights):
                part = frozenset([i, *more]), frozenset([j, *others])
                taken = frozenset(itertools.product(*part))
                if taken <= rest:
                    yield from extend(rest - taken, [*parts, part])

    return map(_canonical, extend(frozenset(edges), []))


def _subsets(members: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return itertools.chain.from_iterable(
        itertools.combinations(members, size) for size in range(len(members) + 1)
    )
