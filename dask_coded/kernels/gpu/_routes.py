"""Whose code sums: our kernel on separate blocks, or cuBLAS on a stack of them."""

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from dask_coded.errors import ParameterError
from dask_coded.kernels.gpu._geometry import Geometry
from dask_coded.typing import AnyArray, Array

__all__ = ["RouteCase", "RouteRule", "default_route", "route_of", "sum_by_cublas", "use_route"]

_ROUTES = ("combine", "cublas")
# Rows from which a product with a stack that exists already is assumed to have enough arithmetic
# for cuBLAS; use_route puts measurements in its place.
_STACKED_OUTPUTS = 32


class RouteCase(NamedTuple):
    """What a rule decides by."""

    n_inputs: int
    n_outputs: int
    dtype: np.dtype[Any]
    length: int
    """Elements of a block."""
    stacked: bool
    """Whether the blocks lie one after the other already, so that nothing need be copied."""


RouteRule: TypeAlias = Callable[[RouteCase], str]


def default_route(case: RouteCase) -> str:
    """cuBLAS for many outputs of blocks that are stacked already, else the kernel.

    The assumption is that memory bounds such sums: stacking separate blocks more than doubles what
    is moved, and where they are stacked, one product reads them once for all outputs, whereas the
    kernel reads them once for each sixteen.
    """
    return "cublas" if case.stacked and case.n_outputs >= _STACKED_OUTPUTS else "combine"


_RULE: list[RouteRule] = [default_route]


def use_route(rule: RouteRule | str | None) -> None:
    """Let measurements decide instead: replace the rule in this process.

    Parameters
    ----------
    rule
        Function from :class:`RouteCase` to ``"combine"`` or ``"cublas"``, or one of these for all
        cases; None for :func:`default_route`. It is asked only where cuBLAS would sum in the same
        precision: float32, float64 and complex blocks, dense weights, no `out`.

    Raises
    ------
    ParameterError
        If `rule` is neither.

    Examples
    --------
    >>> use_route(lambda case: "cublas" if case.n_outputs > 48 else "combine")
    >>> use_route(None)
    """
    if isinstance(rule, str):
        if rule not in _ROUTES:
            raise ParameterError(f"routes are 'combine' and 'cublas'; got {rule!r}")
        name = rule
        _RULE[0] = lambda case: name
    elif rule is None:
        _RULE[0] = default_route
    elif callable(rule):
        _RULE[0] = rule
    else:
        raise ParameterError(
            f"a rule of routes is a function of a RouteCase, 'combine' or 'cublas'; got {rule!r}"
        )


def route_of(case: RouteCase) -> str:
    """What the rule in force says.

    Raises
    ------
    ParameterError
        If it says what is no route.
    """
    # TensorFloat-32 keeps ten bits of a weight, and coded sums live by their digits.
    if case.dtype.char in "fF" and os.environ.get("CUPY_TF32", "0") not in ("", "0"):
        return "combine"
    found = _RULE[0](case)
    if found not in _ROUTES:
        raise ParameterError(f"a rule of routes says 'combine' or 'cublas'; it said {found!r}")
    return found


def is_stacked(geometry: Geometry, n_inputs: int, n_bytes: int) -> bool:
    """Whether contiguous blocks of `n_bytes` lie one after the other."""
    first = geometry.pointers[0]
    expected = [first + n_bytes * number for number in range(n_inputs)]
    return not geometry.steps and geometry.pointers[:n_inputs] == expected


def sum_by_cublas(
    module: Any, weights: Array, blocks: Sequence[AnyArray], stacked: bool
) -> list[AnyArray]:
    """All sums as one matrix product; the outputs are views of one array."""
    first = blocks[0]
    shape = (len(blocks), first.size)
    if stacked:
        # The blocks are alive as long as this function runs, and so is what lies between them.
        stack = module.ndarray(shape, first.dtype, first.data)
    else:
        stack = module.stack([block.reshape(-1) for block in blocks])
    dtype = first.dtype if weights.dtype.kind == "c" else np.finfo(first.dtype).dtype
    product = module.matmul(module.asarray(weights.astype(dtype)), stack)
    return list(product.reshape(len(weights), *first.shape))
