"""Sizes of blocks that are learned from results, where no graph could tell them before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dask_coded.typing import AnyArray

__all__ = ["LearnedShape", "Sized", "bare", "lengths_in"]


class Sized(NamedTuple):
    """A mixture of blocks, and how long each of them was along the axis that the code cuts.

    The blocks themselves may never be seen again: whoever holds the mixture can give any of them
    its true shape.
    """

    array: AnyArray
    lengths: Mapping[int, int]


@dataclass(frozen=True)
class LearnedShape:
    """The shape of an output, which results that are mixtures know.

    Parameters
    ----------
    axis
        The axis of the output that the code cuts.
    block
        Which block of the code the output is.
    """

    axis: int
    block: int

    def among(self, results: Sequence[Any]) -> tuple[int, ...] | None:
        """The shape; None if no result is a mixture, and so all have it already.

        An output that is decoded from mixtures occurs in one of them at least.
        """
        for result in results:
            if isinstance(result, Sized) and self.block in result.lengths:
                shape = list(result.array.shape)
                shape[self.axis] = result.lengths[self.block]
                return tuple(shape)
        return None


def bare(result: Any) -> AnyArray:
    """The array of a result, mixture or not."""
    return result.array if isinstance(result, Sized) else result


def lengths_in(tiles: Sequence[Any]) -> dict[int, int]:
    """What the mixtures among some tiles know together."""
    lengths: dict[int, int] = {}
    for tile in tiles:
        if isinstance(tile, Sized):
            lengths.update(tile.lengths)
    return lengths
