"""Arithmetic in which codes live: real, complex, real in pairs, and prime fields."""

from dask_coded.errors import ParameterError
from dask_coded.fields._field import Field as Field
from dask_coded.fields._float import COMPLEX as COMPLEX
from dask_coded.fields._float import PAIRED as PAIRED
from dask_coded.fields._float import REAL as REAL
from dask_coded.fields._prime import PrimeField as PrimeField

__all__ = ["COMPLEX", "PAIRED", "REAL", "Field", "PrimeField", "field_from_name"]


def field_from_name(name: str) -> Field:
    """The field that a code's ``to_dict`` named.

    Raises
    ------
    ParameterError
        If `name` is none of ``"real"``, ``"complex"``, ``"paired"``, ``"prime:<p>"``.

    Examples
    --------
    >>> field_from_name("prime:65537")
    PrimeField(p=65537)
    """
    for field in (REAL, COMPLEX, PAIRED):
        if name == field.name:
            return field
    kind, _, modulus = name.partition(":")
    if kind == "prime" and modulus.isdecimal():
        return PrimeField(int(modulus))
    raise ParameterError(
        f"unknown field {name!r}; known are 'real', 'complex', 'paired' and 'prime:<p>'"
    )
