"""Dask's own tests of products, with ours in the place of theirs and with the optimisation on.

One parity share is asked for, so that products are really coded although there is no cluster.
Run in the place of Dask's functions: ``matmul`` is :func:`coded_matmul` itself; ``tensordot``, and
``dot`` with it, brings the contracted axes together and multiplies matrices. Not applicable:

* ``test_tensordot_more_than_26_dims`` would need a matrix with 2**27 columns; the optimisation,
  which leaves it alone, passes it.
* Products of masked and sparse chunks are no products of matrices of numbers; the optimisation
  passes them, because shares that are outputs compute what Dask does.
"""

import importlib
import types
from collections.abc import Callable, Iterator
from typing import Any

import dask.array as da
import numpy as np
import pytest

from dask_coded.array import coded_matmul, optimize

pytest.importorskip("dask.array.tests")
routines = importlib.import_module("dask.array.routines")

pytestmark = [
    # Dask's tests are written for Dask's settings: PerformanceWarning is one of their subjects.
    pytest.mark.filterwarnings("default"),
    pytest.mark.filterwarnings("ignore::dask.array.PerformanceWarning"),
]

dask_tensordot = da.tensordot


def in_place_of_matmul(a: Any, b: Any) -> da.Array:
    return coded_matmul(a, b, parity=1)


def in_place_of_tensordot(a: Any, b: Any, axes: Any = 2) -> da.Array:
    a, b = da.asanyarray(a), da.asanyarray(b)
    if isinstance(axes, int):
        axes = tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    left, right = (
        tuple(axis % array.ndim for axis in ((own,) if isinstance(own, int) else own))
        for own, array in zip(axes, (a, b), strict=True)
    )
    if not left:
        return dask_tensordot(a, b, axes)
    rows = [axis for axis in range(a.ndim) if axis not in left]
    columns = [axis for axis in range(b.ndim) if axis not in right]
    inner = int(np.prod([a.shape[axis] for axis in left]))
    product = in_place_of_matmul(
        a.transpose(*rows, *left).reshape((-1, inner)),
        b.transpose(*right, *columns).reshape((inner, -1)),
    )
    shape = [a.shape[axis] for axis in rows] + [b.shape[axis] for axis in columns]
    return product.reshape(shape)


def in_place_of_dot(a: Any, b: Any) -> da.Array:
    return in_place_of_tensordot(a, b, axes=((a.ndim - 1,), (b.ndim - 2,)))


def replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {
        "matmul": in_place_of_matmul,
        "tensordot": in_place_of_tensordot,
        "dot": in_place_of_dot,
    }
    for name, function in ours.items():
        monkeypatch.setattr(da, name, function)
        monkeypatch.setattr(routines, name, function)


@pytest.fixture(params=["replaced", "optimized"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """How products come to be coded."""
    if request.param == "replaced":
        replaced(monkeypatch)
        yield request.param
    else:
        with optimize(parity=1):
            yield request.param


@pytest.fixture
def optimized() -> Iterator[None]:
    """With the optimisation only."""
    with optimize(parity=1):
        yield


def theirs(module: str, name: str, fixture: str) -> Callable[..., None]:
    """A copy of a test of Dask's, under a fixture of ours."""
    test = getattr(importlib.import_module(f"dask.array.tests.{module}"), name)
    ours = types.FunctionType(
        test.__code__, test.__globals__, f"test_dask_{name}", test.__defaults__, test.__closure__
    )
    marks = [numbered(mark) for mark in getattr(test, "pytestmark", [])]
    ours.pytestmark = [*marks, pytest.mark.usefixtures(fixture).mark]
    return ours


def numbered(mark: pytest.Mark) -> pytest.Mark:
    """Parameters by number: Dask's include functions, whose names are all the same."""
    if mark.name != "parametrize":
        return mark
    names, values = mark.args
    ids = [str(number) for number in range(len(values))]
    return pytest.mark.parametrize(names, values, ids=ids).mark


test_matmul = theirs("test_routines", "test_matmul", "way")
test_tensordot = theirs("test_routines", "test_tensordot", "way")
test_tensordot_2 = theirs("test_routines", "test_tensordot_2", "way")
test_tensordot_neq2 = theirs("test_routines", "test_tensordot_double_contraction_neq2", "way")
test_tensordot_ngt2 = theirs("test_routines", "test_tensordot_double_contraction_ngt2", "way")
test_tensordot_26 = theirs("test_routines", "test_tensordot_more_than_26_dims", "optimized")
test_dot_method = theirs("test_routines", "test_dot_method", "way")
test_dot_persist = theirs("test_routines", "test_dot_persist_equivalence", "way")
test_vdot = theirs("test_routines", "test_vdot", "way")

test_core_matmul = theirs("test_array_core", "test_matmul", "way")
test_core_matmul_ufunc = theirs("test_array_core", "test_matmul_array_ufunc", "way")
test_core_dot_dtype = theirs("test_array_core", "test_dtype_complex", "way")

# What multiplies on the way, or checks its result by products.
test_tsqr = theirs("test_linalg", "test_tsqr", "way")
test_sfqr = theirs("test_linalg", "test_sfqr", "way")
test_qr = theirs("test_linalg", "test_qr", "way")
test_svd_self_consistent = theirs("test_linalg", "test_dask_svd_self_consistent", "way")
test_svd_compressed = theirs("test_linalg", "test_svd_compressed", "way")
test_svd_compressed_shapes = theirs("test_linalg", "test_svd_compressed_shapes", "way")
test_svd_compressed_dtype = theirs("test_linalg", "test_svd_compressed_dtype_preservation", "way")
test_svd_deterministic = theirs("test_linalg", "test_svd_compressed_deterministic", "way")
test_solve = theirs("test_linalg", "test_solve", "way")
test_inv = theirs("test_linalg", "test_inv", "way")
test_cholesky = theirs("test_linalg", "test_cholesky", "way")
test_cholesky_complex = theirs("test_linalg", "test_cholesky_complex", "way")
test_lstsq = theirs("test_linalg", "test_lstsq", "way")

test_masked_basic = theirs("test_masked", "test_basic", "optimized")
test_masked_tensordot = theirs("test_masked", "test_tensordot", "optimized")
test_masked_mixed = theirs("test_masked", "test_mixed_concatenate", "optimized")
