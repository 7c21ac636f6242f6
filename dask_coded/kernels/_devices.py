"""Which library an array is of, and whether it is there yet.

A device is still at work when the call returns that asked it for an array.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from dask_coded.errors import ParameterError, UnsupportedDtypeError
from dask_coded.kernels._backends import library_of
from dask_coded.typing import AnyArray

__all__ = ["Synchronizer", "register_synchronizer", "served_library", "settled"]

#: Waits until an array is there.
Synchronizer: TypeAlias = Callable[[AnyArray], None]

_SYNCHRONIZERS: dict[str, Synchronizer] = {}


def register_synchronizer(module_name: str, function: Synchronizer) -> None:
    """Say how to wait for arrays of a library whose calls return before their work is done.

    Parameters
    ----------
    module_name
        As for :func:`register_backend`.
    function
        ``function(array)`` returns when the array is there, and raises what its making raised.

    Raises
    ------
    ParameterError
        If `function` cannot be called.

    Examples
    --------
    >>> register_synchronizer("tensors", lambda tensor: tensor.wait())
    """
    if not callable(function):
        raise ParameterError(
            f"the synchronizer of {module_name!r} must be a function of an array; got {function!r}"
        )
    _SYNCHRONIZERS[module_name] = function


def served_library(array: Any) -> str | None:
    """The library of an array whose like can be combined; None for anything else.

    Subclasses of NumPy's array carry more than elements (a mask, a unit), which sums would lose.

    Examples
    --------
    >>> served_library(np.ones(2)), served_library(np.ma.ones(2)), served_library("text")
    ('numpy', None, None)
    """
    if isinstance(array, np.ndarray):
        return "numpy" if type(array) is np.ndarray else None
    try:
        return library_of([array])
    except UnsupportedDtypeError:
        return None


def settled(array: AnyArray) -> AnyArray:
    """The same array, when it is there.

    What a task returns counts as done. Of a device that would be true of the call only: one that
    hangs, or fails, would be noticed by whoever reads the result.

    Examples
    --------
    >>> settled(np.ones(2))
    array([1., 1.])
    """
    if not isinstance(array, np.ndarray):
        synchronizer = _SYNCHRONIZERS.get(served_library(array) or "")
        if synchronizer is not None:
            synchronizer(array)
    return array


def wait_for_cupy(array: AnyArray) -> None:
    """Wait for the current stream of the device of a CuPy array."""
    import cupy

    with array.device:
        cupy.cuda.get_current_stream().synchronize()
