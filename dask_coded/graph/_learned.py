"""Sizes of blocks that are learned from results, where no graph could tell them before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dask.sizeof import sizeof
from distributed.protocol import deserialize, register_serialization, serialize
from distributed.protocol.cuda import cuda_deserialize, cuda_serialize

from dask_coded.typing import AnyArray

__all__ = ["LearnedShape", "Sized", "bare", "lengths_in"]


@dataclass(frozen=True, eq=False)
class Sized:
    """A mixture of blocks, and how long each of them was along the axis that the code cuts.

    The blocks themselves may never be seen again: whoever holds the mixture can give any of them
    its true shape. No tuple: distributed would pickle one of its own class whole, and an array of a
    device would be copied to the host even where devices talk to each other.
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


# How a mixture travels: as its array does, by whatever distributed has for that.


def _packed(mixture: Sized, serializers: tuple[str, ...]) -> tuple[dict[str, Any], list[Any]]:
    header, frames = serialize(mixture.array, serializers=serializers, on_error="raise")
    # Pairs: a header takes no integers for keys.
    return {"array": header, "lengths": tuple(mixture.lengths.items())}, frames


def _on_host(mixture: Sized) -> tuple[dict[str, Any], list[Any]]:
    return _packed(mixture, ("dask", "pickle"))


def _on_device(mixture: Sized) -> tuple[dict[str, Any], list[Any]]:
    try:
        cuda_serialize.dispatch(type(mixture.array))
    except TypeError:
        # distributed takes that for a request to try what is next.
        raise NotImplementedError(type(mixture.array).__name__) from None
    return _packed(mixture, ("cuda",))


def _unpacked(header: dict[str, Any], frames: list[Any]) -> Sized:
    return Sized(deserialize(header["array"], frames), dict(header["lengths"]))


register_serialization(Sized, _on_host, _unpacked)
cuda_serialize.register(Sized)(_on_device)
cuda_deserialize.register(Sized)(_unpacked)


@sizeof.register(Sized)
def _size(mixture: Sized) -> int:
    return int(sizeof(mixture.array) + sizeof(mixture.lengths))
