"""Code families by name, open to other packages through entry points.

A package adds a family with the entry point group ``dask_coded.codes``::

    [project.entry-points."dask_coded.codes"]
    my_code = "my_package:MyCode"
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from dask_coded.errors import ParameterError, UnknownCodeError

__all__ = ["ENTRY_POINT_GROUP", "lookup", "register", "registered"]

ENTRY_POINT_GROUP = "dask_coded.codes"

_families: dict[str, Any] = {}

Family = TypeVar("Family", bound=type)


def register(name: str) -> Callable[[Family], Family]:
    """Class decorator: make a family known under `name`, which becomes its ``name``.

    Raises
    ------
    ParameterError
        If another family already has that name.

    Examples
    --------
    >>> @register("mds")  # doctest: +ELLIPSIS
    ... class Mine: ...
    Traceback (most recent call last):
    dask_coded.errors.ParameterError: code name 'mds' is taken by ..._mds.MDS; ...
    """

    def add(family: Family) -> Family:
        taken = _families.get(name)
        # A reloaded module defines its classes anew; that is not a second family.
        if taken is not None and _origin(taken) != _origin(family):
            raise ParameterError(
                f"code name {name!r} is taken by {_origin(taken)}; choose another name"
            )
        family.name = name  # type: ignore[attr-defined]
        _families[name] = family
        return family

    return add


def _origin(family: type) -> str:
    return f"{family.__module__}.{family.__qualname__}"


def registered() -> tuple[str, ...]:
    """Names of all families: built in, registered, and offered by entry points.

    Examples
    --------
    >>> {"mds", "matdot", "lagrange"} <= set(registered())
    True
    """
    offered = {point.name for point in entry_points(group=ENTRY_POINT_GROUP)}
    return tuple(sorted(offered | set(_families)))


def lookup(name: str) -> Any:
    """The family registered under `name`; loads an entry point on first use.

    Raises
    ------
    UnknownCodeError
        If there is none, or the package that offers it cannot be imported.
    ParameterError
        If two packages offer it, or what a package offers is named otherwise.
    """
    if name not in _families:
        for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
            _load(point)
    try:
        return _families[name]
    except KeyError:
        raise UnknownCodeError(
            f"no code is named {name!r}; known are {', '.join(registered())}"
        ) from None


def _load(point: EntryPoint) -> None:
    try:
        family = point.load()
    except (ImportError, AttributeError) as error:
        raise UnknownCodeError(
            f"code {point.name!r} is offered as {point.value}, which cannot be imported: {error}. "
            "Repair or remove the package that offers it"
        ) from error
    if not isinstance(family, type):
        raise ParameterError(
            f"code {point.name!r} is offered as {point.value}, which is no class but {family!r}; "
            "its package has to offer a subclass of AbstractCode"
        )
    named = vars(family).get("name", point.name)
    if named != point.name:
        raise ParameterError(
            f"entry point {point.name!r} leads to a family that calls itself {named!r}; "
            "its package has to use one name"
        )
    register(point.name)(family)
