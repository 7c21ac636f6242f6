"""Checks of code parameters, with one wording."""

from typing import Any

from dask_coded.errors import ParameterError
from dask_coded.fields import PAIRED, Field

__all__ = ["arithmetic", "enough_shares", "one_of", "positive", "seeded", "unpaired"]


def positive(**parameters: int) -> None:
    """Raise unless every parameter is a positive ``int``."""
    for name, value in parameters.items():
        if type(value) is not int:
            raise ParameterError(
                f"{name} must be an int, got {value!r} of type {type(value).__name__}; "
                f"pass a plain integer"
            )
        if value < 1:
            raise ParameterError(f"{name} must be at least 1, got {value}")


def arithmetic(field: Any) -> None:
    """Raise unless `field` is one."""
    if not isinstance(field, Field):
        raise ParameterError(
            f"field={field!r} is no field; pass REAL, COMPLEX, PAIRED or PrimeField(p) of "
            "dask_coded.fields"
        )


def seeded(seed: int) -> None:
    """Raise unless `seed` starts a stream of random numbers."""
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise ParameterError(f"seed must be an int from 0 to 2**31 - 1, got {seed!r}")


def one_of(operand: int, count: int) -> None:
    """Raise unless a code of `count` operands has this one."""
    if operand not in range(count):
        raise ParameterError(
            f"this code has {count} operand{'s' * (count > 1)}, counted from 0; got "
            f"operand={operand!r}"
        )


def enough_shares(family: str, n_shares: int, threshold: int, reason: str) -> None:
    """Raise unless there are at least `threshold` shares."""
    if n_shares < threshold:
        raise ParameterError(
            f"{family} needs at least {threshold} shares ({reason}), got n_shares={n_shares}; "
            f"use more shares or fewer blocks"
        )


def unpaired(family: str, field: Field) -> None:
    """Raise if the field pairs rows, which only maps from the right leave alone."""
    if field == PAIRED:
        raise ParameterError(
            f"{family} encodes what multiplies the rows with complex coefficients, or is not "
            "linear, so it cannot work on paired rows; use field=REAL"
        )
