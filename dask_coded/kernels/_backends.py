"""Which function combines the blocks of which array library."""

from collections.abc import Sequence
from typing import Protocol

from dask_coded.errors import ParameterError, UnsupportedDtypeError
from dask_coded.fields import Field
from dask_coded.typing import AnyArray, Array

__all__ = ["Backend", "backend_for", "library_of", "register_backend"]


class Backend(Protocol):
    """Combines blocks of one array library; called by :func:`combine` after its own checks."""

    def __call__(
        self,
        weights: Array,
        blocks: Sequence[AnyArray],
        *,
        field: Field,
        out: Sequence[AnyArray] | None,
    ) -> list[AnyArray]:
        """Outputs ``sum_j weights[q, j] * blocks[j]``, one array per row of the weights.

        `weights` is a finite host matrix ``(o, i)`` of the field's dtype, with i > 0; the i blocks
        have one shape. What `out` must satisfy, and which dtypes are served, is the backend's
        to check.
        """
        ...


_BACKENDS: dict[str, Backend] = {}


def register_backend(module_name: str, function: Backend) -> None:
    """Let :func:`combine` serve the arrays of one more library; a second call replaces the first.

    Parameters
    ----------
    module_name
        Top-level module of the array type, such as ``"cupy"``: subclasses defined elsewhere
        are recognised by their base.
    function
        Called as ``function(weights, blocks, field=field, out=out)``; see :class:`Backend`.

    Raises
    ------
    ParameterError
        If `module_name` is no name of a top-level module, or `function` cannot be called.

    Examples
    --------
    >>> def combine_tensors(weights, blocks, *, field, out):
    ...     return [sum(w * block for w, block in zip(row, blocks)) for row in weights]
    >>> register_backend("tensors", combine_tensors)
    """
    if not isinstance(module_name, str) or not module_name.isidentifier():
        raise ParameterError(
            f"a backend is registered under a top-level module such as 'cupy'; got {module_name!r}"
        )
    if not callable(function):
        raise ParameterError(
            f"the backend of {module_name!r} must be a function of weights and blocks; "
            f"got {function!r}"
        )
    _BACKENDS[module_name] = function


def backend_for(blocks: Sequence[AnyArray]) -> Backend:
    """The one backend that serves all blocks.

    Raises
    ------
    UnsupportedDtypeError
        If an array type is of no registered library, or blocks come from two libraries.
    """
    return _BACKENDS[library_of(blocks)]


def library_of(arrays: Sequence[AnyArray]) -> str:
    """Top-level module of the one library of all arrays, with the errors of `backend_for`."""
    names = {kind: _registered_name(kind) for kind in {type(array) for array in arrays}}
    for kind, name in names.items():
        if name is None:
            raise UnsupportedDtypeError(
                f"no backend combines blocks of type {kind.__module__}.{kind.__qualname__}; "
                f"known are arrays of {', '.join(sorted(_BACKENDS))}. Convert with "
                "numpy.asarray, or give the library a backend with "
                "dask_coded.kernels.register_backend"
            )
    found = {name for name in names.values() if name is not None}
    if len(found) > 1:
        raise UnsupportedDtypeError(
            f"blocks of one call must live in one library; got {', '.join(sorted(found))}. "
            "Convert them to one"
        )
    return found.pop()


def _registered_name(kind: type) -> str | None:
    for base in kind.__mro__:
        name = base.__module__.partition(".")[0]
        if name in _BACKENDS:
            return name
    return None
