"""Evaluation points and the functions whose values at them are coefficients.

Every structured code multiplies two families of functions and reads part of the product. In an
exact field these are powers of distinct points. Over real numbers powers lose all digits beyond
about twelve; orthonormal trigonometric functions on the circle obey the same algebra (they are a
unitary image of the powers of roots of unity) and are as well conditioned as those.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from dask_coded.errors import ParameterError
from dask_coded.fields import COMPLEX, Field
from dask_coded.typing import Array

__all__ = [
    "cardinal_ladder",
    "enough_points",
    "ladder",
    "random_powers",
    "ring_of",
    "rowwise_kron",
    "scattered",
    "spread_first",
]

# With random points a set of threshold size fails to decode with a chance of about the degree of
# a determinant, some thousands, over p.
_SMALLEST_PRIME = 2**31 - 1


def ladder(
    field: Field, n_points: int, size: int, *, stride: int = 1, reverse: bool = False
) -> Array:
    """Values ``(n_points, size)`` of functions with frequencies (exponents) `stride` apart.

    The product of function k of a ladder and function l of a reversed one has frequency
    ``stride * (size - 1 + k - l)``; only k = l meet at the middle.
    """
    if field.exact:
        points = field.asarray(np.arange(1, n_points + 1))
        exponents = stride * np.arange(size)
        return _powers(field, points, exponents[::-1] if reverse else exponents)
    # Frequencies in halves, so that every angle is a whole multiple of pi / n_points.
    steps = np.arange(n_points)[:, None]
    if field == COMPLEX:
        cosine, sine = _turn(steps * (2 * stride * np.arange(size)), n_points)
        return field.asarray(cosine - 1j * sine if reverse else cosine + 1j * sine)
    # Frequencies lie symmetrically about zero: half-integers if size is even.
    halves = stride * np.arange(1 + size % 2, size, 2)
    waves = np.stack(_turn(steps * halves, n_points), axis=2).reshape(n_points, -1)
    constant = np.ones((n_points, size % 2))
    return field.asarray(np.concatenate([constant, np.sqrt(np.longdouble(2)) * waves], axis=1))


def cardinal_ladder(field: Field, n_points: int, size: int) -> Array:
    """The ladder's functions recombined to be 1 at one of the first `size` points, 0 at the rest.

    Rows are in share order, as :func:`spread_first` arranges the points: rows ``0 .. size - 1``
    are the identity, so these shares hold the blocks themselves.
    """
    points = np.array(spread_first(n_points, size))
    if field.exact:
        values = ladder(field, n_points, size)[points]
        cardinal = field.matmul(values, field.inverse(values[:size]))
    else:
        # Lagrange's product, in which every factor is accurate to its last digit. Inverting the
        # ladder would lose a digit or two, which decoding then amplifies like any other error.
        steps = points[:, None] - points[None, :size]
        chords = 2 * _turn(steps, n_points)[1]
        chords[steps == 0] = 1
        products = chords.prod(axis=1, keepdims=True)
        cardinal = products / products[:size].T / chords
        if field == COMPLEX:
            cosine, sine = _turn(steps * (size - 1), n_points)
            cardinal = cardinal * (cosine + 1j * sine)
        cardinal = field.asarray(cardinal)
    cardinal[:size] = np.eye(size, dtype=cardinal.dtype)
    return cardinal


def spread_first(n_points: int, size: int) -> list[int]:
    """Point of each share: `size` points spread evenly over the circle first, then the others."""
    chosen = [index * n_points // size for index in range(size)]
    taken = set(chosen)
    return chosen + [point for point in range(n_points) if point not in taken]


def ring_of(points: list[int]) -> tuple[int, ...]:
    """Shares in the cyclic order of their points."""
    return tuple(sorted(range(len(points)), key=points.__getitem__))


def random_powers(field: Field, seed: int, n_points: int, size: int) -> Array:
    """Powers ``0 .. size - 1`` of distinct random points of a prime field, none of them zero."""
    # NumPy promises never to change this stream.
    stream = np.random.RandomState(seed)
    points: dict[int, None] = {}
    while len(points) < n_points:
        high, low = (int(part) for part in stream.randint(0, 2**31, 2))
        point = ((high << 31) + low) % _modulus(field)
        if point:
            points.setdefault(point)
    return _powers(field, field.asarray(list(points)), np.arange(size))


def scattered(family: str, field: Field) -> None:
    """Raise if random points of an exact field would often coincide."""
    if field.exact and _modulus(field) < _SMALLEST_PRIME:
        raise ParameterError(
            f"{family}: random points of {field.name} would often coincide; use a prime of at "
            "least 2**31 - 1"
        )


def _modulus(field: Field) -> int:
    return int(field.name.partition(":")[2])


def rowwise_kron(field: Field, a: Array, b: Array) -> Array:
    """Row by row Kronecker product: ``(N, R), (N, Q) -> (N, R * Q)``."""
    product = field.multiply(a[:, :, None], b[:, None, :])
    return product.reshape(len(a), -1)


def enough_points(field: Field, n_points: int) -> None:
    """Raise unless an exact field has distinct points 1 to `n_points`.

    Zero is left out because the noise of private codes must not vanish at any share.
    """
    if not field.exact:
        return
    points = field.asarray(np.arange(1, n_points + 1))
    if len(np.unique(points)) < n_points or not points.all():
        raise ParameterError(
            f"{field.name} has too few non-zero elements for {n_points} shares; "
            f"choose a prime above {n_points}"
        )


def _powers(field: Field, points: Array, exponents: Array) -> Array:
    """``points[i] ** exponents[j]``, by repeated multiplication."""
    highest = int(exponents.max(initial=0))
    table = np.ones((len(points), highest + 1), dtype=field.dtype)
    for exponent in range(1, highest + 1):
        table[:, exponent] = field.multiply(table[:, exponent - 1], points)
    return table[:, exponents]


def _turn(steps: npt.NDArray[np.int64], n_points: int) -> tuple[Any, Any]:
    """Cosine and sine of ``pi * steps / n_points``, in extended precision where there is one.

    Whole turns are taken off while the angle is still an integer: of a large angle rounded to
    float64 the sine has lost as many digits as the angle is large.
    """
    angles = (steps % (2 * n_points)) * (np.arctan2(np.longdouble(0), np.longdouble(-1)) / n_points)
    return np.cos(angles), np.sin(angles)
