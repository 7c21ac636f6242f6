"""Curves through operands: functions that vanish at chosen points, for every field.

Points lie on the circle over floats and are ``1, 2, ...`` in an exact field. The difference of two
of them is that of numbers there, and the sine of half their angle here: products of k such sines
are the trigonometric functions of frequencies up to k / 2, which interpolate as polynomials of
degree k do, as long as no odd k is mixed with even ones.
"""

from typing import Any

import numpy as np

from dask_coded.codes._points import ladder
from dask_coded.fields import Field
from dask_coded.typing import Array

__all__ = ["cardinal", "differences", "random_curve", "vanishing"]


def differences(field: Field, places: Any) -> Any:
    """Difference of every two points, ``(N, N)``; in extended precision over floats.

    Parameters
    ----------
    field
        Arithmetic of the points.
    places
        ``(N,)``; point of place q is ``q + 1``, or lies at ``q / N`` of the circle.
    """
    places = np.asarray(places)
    if field.exact:
        points = field.asarray(places + 1)
        return field.subtract(points[:, None], points[None, :])
    steps = (places[:, None] - places[None, :]).astype(np.longdouble)
    return 2 * np.sin(steps * (np.arctan2(np.longdouble(0), np.longdouble(-1)) / len(places)))


def vanishing(field: Field, gaps: Any, zeros: Any) -> Any:
    """Values ``(N,)`` of the product of all ``gaps[:, zero]``."""
    chosen = gaps[:, list(zeros)]
    if not field.exact:
        return chosen.prod(axis=1)
    product = np.ones(len(gaps), dtype=field.dtype)
    for column in chosen.T:
        product = np.asarray(field.multiply(product, np.ascontiguousarray(column)))
    return product


def cardinal(field: Field, gaps: Any, nodes: Any) -> Any:
    """Values ``(N, len(nodes))`` of functions that are 1 at one of some points, 0 at the others."""
    nodes = list(nodes)
    columns = []
    for node in nodes:
        column = vanishing(field, gaps, [other for other in nodes if other != node])
        if field.exact:
            column = field.multiply(column, field.reciprocal(column[node]))
        else:
            column = column / column[node]
        columns.append(column)
    return np.stack(columns, axis=1)


def random_curve(field: Field, places: Any, size: int, stream: np.random.RandomState) -> Any:
    """Values ``(N,)`` of a function with `size` random coefficients, of degree ``size - 1``."""
    if field.exact:
        coefficients = field.asarray(stream.randint(1, 2**31 - 1, size, dtype=np.int64))
        powers = ladder(field, len(places), size)
        order = np.asarray(places, dtype=np.int64)
        column: Array = coefficients[:, None]
        return field.matmul(np.ascontiguousarray(powers[order]), column)[:, 0]
    turns = 2 * np.pi * np.asarray(places, dtype=np.longdouble) / len(places)
    weights = stream.standard_normal(size)
    halves = np.arange(1 + size % 2, size, 2)
    waves = np.outer(turns, halves) / 2
    values = (
        np.cos(waves) @ weights[: len(halves)]
        + np.sin(waves) @ weights[len(halves) :][: len(halves)]
    )
    return values + weights[-1] / np.sqrt(2) if size % 2 else values
