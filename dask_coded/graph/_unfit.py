"""The mark of a share that nothing can be decoded from."""

from dataclasses import dataclass

from dask_coded.errors import UnsupportedOperationError

__all__ = ["Unfit"]


@dataclass(frozen=True)
class Unfit:
    """A mixture of blocks that nothing could be decoded from."""

    reason: str

    def error(self) -> UnsupportedOperationError:
        """What to raise where there is no other way."""
        return UnsupportedOperationError(f"nothing can be decoded from this share: {self.reason}")
