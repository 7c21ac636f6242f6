"""Checks of code parameters, with one wording."""

from dask_coded.errors import ParameterError
from dask_coded.fields import PAIRED, Field

__all__ = ["enough_shares", "positive", "unpaired"]


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
