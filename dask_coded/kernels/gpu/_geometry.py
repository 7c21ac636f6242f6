"""Where the elements of device arrays lie, worked out on the host from addresses and strides."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dask_coded.kernels._layout import NDArray, coalesced
from dask_coded.typing import AnyArray

__all__ = ["REGISTERS", "Geometry", "geometry_of", "shadow"]

#: Bytes of the widest access of one thread.
_ACCESS = 16
#: And the most elements: bytes of integers are unpacked into a register each.
_MOST_ELEMENTS = 8
#: Registers that sums or held inputs of one thread may take; more would leave too few threads.
REGISTERS = 64
# With the element at hand, which is as wide as a sum.
_WITH_ELEMENT = 72


class Geometry(NamedTuple):
    """Arrays of one shape as a kernel addresses them."""

    pointers: list[int]
    """Address of the first element of each."""
    shape: tuple[int, ...]
    """Joined axes; one where all arrays are contiguous."""
    steps: list[int]
    """Bytes from element to element, array by array and axis by axis; empty where contiguous."""

    @property
    def dims(self) -> int:
        """0 for contiguous arrays, else the number of axes."""
        return len(self.shape) if self.steps else 0

    def width(self, itemsize: int, live: int, registers: int) -> int:
        """Elements of one access, when a thread holds `live` numbers of each of them.

        A number takes `registers`. Pointers that are not aligned for it make it smaller.
        """
        if self.steps:
            return 1
        width = min(_ACCESS // itemsize or 1, _MOST_ELEMENTS)
        while width > 1 and (
            (live + 1) * width * registers > _WITH_ELEMENT
            or any(pointer % (width * itemsize) for pointer in self.pointers)
        ):
            width //= 2
        return width


def shadow(array: AnyArray) -> NDArray:
    """A NumPy view on the addresses of a device array: to be measured, never to be read."""
    view = _Described(
        {
            "shape": tuple(array.shape),
            "strides": tuple(array.strides),
            # The elements do not matter, and NumPy may not know their type.
            "typestr": f"|V{array.dtype.itemsize}",
            "data": (int(array.data.ptr), False),
            "version": 3,
        }
    )
    return np.asarray(view)


class _Described:
    def __init__(self, interface: dict[str, Any]) -> None:
        self.__array_interface__ = interface


def geometry_of(arrays: Sequence[NDArray]) -> Geometry:
    """How a kernel walks these arrays (shadows, of one shape other than empty) together."""
    views = coalesced(arrays)
    pointers = [view.__array_interface__["data"][0] for view in views]
    shape = views[0].shape
    flat = len(shape) == 1 and all(
        view.strides[0] == view.itemsize or view.size == 1 for view in views
    )
    steps = [] if flat else [step for view in views for step in view.strides]
    return Geometry(pointers, shape, steps)
