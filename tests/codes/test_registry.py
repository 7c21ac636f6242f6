"""Families by name: built in, registered here, and offered by other packages."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import numpy as np
import pytest

from dask_coded.codes import MDS, AbstractCode, AbstractLinearCode, register, registered
from dask_coded.codes import _registry as registry
from dask_coded.errors import ParameterError, UnknownCodeError
from dask_coded.fields import REAL, Field


@dataclass(frozen=True)
class Mirror(AbstractLinearCode):
    """A family of another package: two copies of everything."""

    k: int
    field: Field = REAL

    @property
    def n_shares(self) -> int:  # type: ignore[override]
        return 2 * self.k

    @property
    def recovery_threshold(self) -> int:
        return 2 * self.k - 1

    def generator(self, operand: int = 0) -> Any:
        return np.tile(np.eye(self.k), (2, 1))


class Named:
    """What an entry point may wrongly lead to."""

    name = "another_name"


no_class = 3


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Makes it look as if installed packages offered families; forgets them afterwards."""
    offered: list[EntryPoint] = []

    def entry_points(**wanted: str) -> EntryPoints:
        return EntryPoints(offered).select(**wanted)

    def offer(name: str, value: str) -> None:
        module, _, attribute = value.partition(":")
        monkeypatch.setitem(__import__("sys").modules, "a_package", _Package)
        offered.append(EntryPoint(name, f"{module}:{attribute}", registry.ENTRY_POINT_GROUP))

    known = dict(registry._families)
    monkeypatch.setattr(registry, "entry_points", entry_points)
    yield offer
    registry._families.clear()
    registry._families.update(known)
    if "name" in vars(Mirror):
        del Mirror.name


class _Package:
    Mirror = Mirror
    MDS = MDS
    Named = Named
    no_class = no_class


def test_a_family_of_another_package(offer: Any) -> None:
    offer("mirror", "a_package:Mirror")
    assert "mirror" in registered()
    code = AbstractCode.from_dict({"name": "mirror", "configuration": {"k": 3}})
    assert code == Mirror(3)
    assert code.is_decodable([0, 4, 5])
    assert AbstractCode.from_dict(json.loads(json.dumps(code.to_dict()))) == code


def test_nothing_is_loaded_before_it_is_asked_for(offer: Any) -> None:
    offer("broken", "a_package_that_is_not_there:Code")
    assert "broken" in registered()
    assert AbstractCode.from_dict(MDS(3, k=2).to_dict()) == MDS(3, k=2)


@pytest.mark.parametrize("value", ["a_package_that_is_not_there:Code", "a_package:Nothing"])
def test_a_package_that_cannot_be_imported(offer: Any, value: str) -> None:
    offer("broken", value)
    with pytest.raises(UnknownCodeError, match="Repair or remove the package"):
        AbstractCode.from_dict({"name": "broken", "configuration": {}})


def test_what_is_offered_must_be_a_class(offer: Any) -> None:
    offer("three", "a_package:no_class")
    with pytest.raises(ParameterError, match="has to offer a subclass of AbstractCode"):
        AbstractCode.from_dict({"name": "three", "configuration": {}})


def test_what_is_offered_must_use_one_name(offer: Any) -> None:
    offer("mirror", "a_package:Named")
    with pytest.raises(ParameterError, match="calls itself 'another_name'"):
        AbstractCode.from_dict({"name": "mirror", "configuration": {}})


def test_two_packages_with_one_name(offer: Any) -> None:
    offer("mirror", "a_package:Mirror")
    AbstractCode.from_dict({"name": "mirror", "configuration": {"k": 3}})
    with pytest.raises(ParameterError, match=r"taken by .*\.Mirror; choose another name"):
        register("mirror")(type("Other", (), {}))


def test_a_built_in_name_is_taken() -> None:
    with pytest.raises(ParameterError, match=r"'mds' is taken by dask_coded.codes._mds.MDS"):
        register("mds")(type("MDS", (), {}))
    assert AbstractCode.from_dict(MDS(3, k=2).to_dict()) == MDS(3, k=2)


def test_a_module_may_be_reloaded() -> None:
    again = type("MDS", (), {"__module__": MDS.__module__})
    try:
        assert register("mds")(again) is again
    finally:
        register("mds")(MDS)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UnknownCodeError, match=r"'reed_solomon'; known are .*lagrange.*matdot"):
        AbstractCode.from_dict({"name": "reed_solomon", "configuration": {}})


def test_a_family_reads_only_its_own() -> None:
    data = MDS(3, k=2).to_dict()
    assert MDS.from_dict(data) == MDS(3, k=2)
    with pytest.raises(ParameterError, match="is a MDS, no Mirror"):
        Mirror.from_dict(data)


@pytest.mark.parametrize(
    "configuration",
    [
        {"n_shares": 3},
        {"n_shares": 3, "k": 2, "colour": "red"},
        {"n_shares": 3.0, "k": 2},
        {"n_shares": 3, "k": 2, "field": "octonion"},
        {"n_shares": 3, "k": 2, "field": 7},
        {"n_shares": 3, "k": 2, "field": "prime:9"},
    ],
)
def test_configurations_that_do_not_fit(configuration: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        AbstractCode.from_dict({"name": "mds", "configuration": configuration})


def test_a_description_without_a_name() -> None:
    with pytest.raises(ParameterError, match=r"to_dict\(\) gives; got 'family'"):
        AbstractCode.from_dict({"family": "mds"})
