"""Decode weights over every survivor: of least norm over floats, any exact ones in a prime field.

Over floats one step of refinement follows each solve. Its residual is taken in extended precision,
so that rounding in the weights, which decoding amplifies like any other error, is all that is left.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from dask_coded.fields import Field
from dask_coded.typing import Array

__all__ = ["misfit", "solve_compressed", "solve_outputs"]

# Refinement converges where the first residual is well below 1. Where it is not, the weights are
# as good as the code lets them be, and their misfit says so.
_REFINABLE = 0.1


def solve_outputs(
    field: Field, responses: Array, holders: Mapping[int, int], wanted: Sequence[int]
) -> Array | None:
    """Weights ``(len(wanted), s)`` where the unknowns are the outputs themselves.

    What is known is eliminated first, so the system is as small as the number of losses.

    Parameters
    ----------
    field, responses
        Responses ``(s, O)`` of the survivors.
    holders
        For each output that a survivor's result *is*, the row of that survivor.
    wanted
        All other outputs.
    """
    known, known_rows = list(holders), list(holders.values())
    rest = np.setdiff1d(np.arange(len(responses)), known_rows)
    mixed, known_part = responses[rest][:, wanted], responses[rest][:, known]
    weights = np.zeros((len(wanted), len(responses)), dtype=field.dtype)
    if field.exact:
        solved = field.solve(mixed, np.eye(len(wanted), dtype=field.dtype))
        if solved is None:
            return None
        weights[:, rest] = solved
        zero = np.zeros((), dtype=field.dtype)
        weights[:, known_rows] = field.subtract(zero, field.matmul(solved, known_part))
        return weights
    solved = _least_weighted_norm(field, mixed, known_part)
    weights[:, rest] = solved
    wide = _wide(field)
    weights[:, known_rows] = -(solved.astype(wide) @ cast(Any, known_part).astype(wide))
    return weights


def _least_weighted_norm(field: Field, mixed: Any, known_part: Any) -> Any:
    """``D (m, p)`` with ``D @ mixed == 1`` and the least norm of ``[D, -D @ known_part]``.

    With ``1 + K K* = L L*`` that norm is the norm of ``D L``.
    """
    gram = known_part @ known_part.conj().T
    gram[np.diag_indices(len(gram))] += 1
    root = np.linalg.cholesky(gram)
    identity = np.eye(mixed.shape[1], dtype=field.dtype)
    scaled: Any = field.solve(np.linalg.solve(root, mixed), identity)
    solved = np.linalg.solve(root.T, scaled.T).T
    wide = _wide(field)
    gap = identity - solved.astype(wide) @ mixed.astype(wide)
    if np.abs(gap).max(initial=0.0) < _REFINABLE:
        solved = solved + gap.astype(field.dtype) @ solved
    return solved


def solve_compressed(
    field: Field, responses: Array, targets: Array, basis: Array, functional: Array, lift: Array
) -> Array | None:
    """Weights ``(m, s)`` with ``weights @ responses == targets``, solved in other coordinates.

    Parameters
    ----------
    field, responses, targets
        Responses ``(s, R)`` of the survivors, targets ``(m, R)``.
    basis, functional, lift
        ``responses @ lift``, ``targets @ lift``, and the map ``(R, r)``: see ``Field.compress``.
    """
    if field.exact:
        return field.solve(basis, functional)
    inverse: Any = field.solve(basis, np.eye(basis.shape[1], dtype=field.dtype))
    weights: Any = field.matmul(functional, inverse)
    # The residual is taken in the code's own unknowns, free of the change of coordinates.
    wide = _wide(field)
    rest: Any = targets - weights.astype(wide) @ cast(Any, responses).astype(wide)
    if np.abs(rest).max(initial=0.0) < _REFINABLE * np.abs(cast(Any, targets)).max(initial=0.0):
        weights = weights + rest.astype(field.dtype) @ lift @ inverse
    return cast(Array, weights)


def misfit(field: Field, weights: Any, responses: Array, targets: Any) -> float:
    """Largest entry of ``weights @ responses - targets``, relative to the targets' largest."""
    difference: Any = field.matmul(weights, responses) - targets
    if field.exact:
        return float(difference.any())
    return float(np.abs(difference).max(initial=0.0) / (np.abs(targets).max(initial=0.0) or 1.0))


def _wide(field: Field) -> Any:
    return np.longdouble if field.dtype.kind == "f" else np.clongdouble
