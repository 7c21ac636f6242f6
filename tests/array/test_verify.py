"""Verified products without a cluster: right with clean shares, and with wrong ones."""

from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask._task_spec import Task
from dask.local import get_sync
from hypothesis import given, settings
from hypothesis import strategies as st
from losses import low_level, specs
from operands import products

from dask_coded import coded_matmul, encode
from dask_coded.array import plan_matmul
from dask_coded.codes import MDS, AbstractCode, GeneralizedPolyDot, MatDot, Polynomial, Replication
from dask_coded.errors import (
    ParameterError,
    UnsupportedOperationError,
    UnverifiableError,
    WrongResultError,
    WrongResultWarning,
)

RNG = np.random.default_rng(7)
A, B = RNG.normal(size=(46, 30)), RNG.normal(size=(30, 17))


def hit(task: Task, harm: Callable[[Any], Any]) -> Task:
    """The task of a share, whose result suffers."""

    def suffering(*args: Any, **kwargs: Any) -> Any:
        result = task.func(*args, **kwargs)
        # A share of nothing but padding is not measured.
        return (harm(result[0]), *result[1:]) if isinstance(result, tuple) else result

    return Task(task.key, suffering, *task.args, **task.kwargs)


def computed_with(
    array: da.Array, wrong: Callable[[int], dict[int, Callable[[Any], Any]]]
) -> np.ndarray:
    """The value of an array if in the n-th group results of these shares suffer so."""
    graph = low_level(array)
    groups = [spec for spec in specs(graph).values() if spec.verify is not None]
    assert groups
    for number, spec in enumerate(groups):
        for share, harm in wrong(number).items():
            key = spec.share_keys[share]
            graph[key] = hit(graph[key], harm)
    finalize, args = array.__dask_postcompute__()
    return np.asarray(finalize(get_sync(graph, array.__dask_keys__()), *args))


def one_entry(array: Any) -> Any:
    array = array.copy()
    array.reshape(-1)[array.size // 2] += 1 + abs(array).max()
    return array


def garbage(array: Any) -> Any:
    return RNG.normal(size=array.shape).astype(array.dtype)


def not_a_number(array: Any) -> Any:
    return np.full_like(array, np.nan)


@pytest.mark.filterwarnings("ignore:Increasing number of chunks")
@given(operands=products(), verify=st.sampled_from(["detect", "correct", 2]))
@settings(max_examples=80)
def test_clean_products_are_numpys(operands: tuple[da.Array, da.Array], verify: Any) -> None:
    a, b = operands
    product = coded_matmul(a, b, verify=verify)
    plain = da.matmul(a, b)
    assert product.shape == plain.shape
    found, expected = dask.compute(product, plain, scheduler="sync")
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.filterwarnings("ignore:Increasing number of chunks")
@given(operands=products(["float32", "float64", "complex128", "int64"]), seed=st.integers(0, 999))
@settings(max_examples=50)
def test_one_wrong_result_in_each_group_changes_nothing(
    operands: tuple[da.Array, da.Array], seed: int
) -> None:
    a, b = operands
    product = coded_matmul(a, b, verify="correct")
    n_shares = next(iter(specs(low_level(product)).values())).code.n_shares
    shares = np.random.default_rng(seed).integers(0, n_shares, 100).tolist()
    with pytest.warns(WrongResultWarning, match="decoded without them"):
        found = computed_with(product, lambda group: {shares[group % 100]: one_entry})
    expected = da.matmul(a, b).compute(scheduler="sync")
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(
    "code",
    [
        MDS(7, 4),
        Replication(9, 3),
        Polynomial(10, 2, 3),
        MatDot(8, 3),
        GeneralizedPolyDot(9, m=2, n=2),
    ],
    ids=repr,
)
def test_every_family(code: AbstractCode) -> None:
    a, b = da.from_array(A, chunks=(12, 10)), da.from_array(B, chunks=(10, 6))
    surplus = code.n_shares - code.recovery_threshold
    product = coded_matmul(a, b, code=code, verify="correct")
    for harm in (one_entry, garbage, not_a_number):
        with pytest.warns(WrongResultWarning) if harm is not not_a_number else _nothing():
            found = computed_with(product, lambda group, harm=harm: {group % code.n_shares: harm})
        np.testing.assert_allclose(found, A @ B, atol=1e-9)
    if not isinstance(code, Replication):
        several = dict.fromkeys(range(surplus - 1), garbage)
        with pytest.warns(WrongResultWarning):
            found = computed_with(product, lambda group: several)
        np.testing.assert_allclose(found, A @ B, atol=1e-9)
        with pytest.raises(WrongResultError, match="cannot be told"):
            computed_with(product, lambda group: several | {surplus: garbage})
    with pytest.raises(WrongResultError):
        computed_with(coded_matmul(a, b, code=code, verify="detect"), lambda group: {0: one_entry})


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_any_scheduler(scheduler: str) -> None:
    product = coded_matmul(da.from_array(A, chunks=9), da.from_array(B, chunks=9), verify=1)
    np.testing.assert_allclose(product.compute(scheduler=scheduler), A @ B, atol=1e-12)


def test_sums_over_inner_chunks_are_measured_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large inner dimensions are multiplied in several tasks per share."""
    import dask_coded.array._plan as module

    monkeypatch.setattr(module, "_BYTES_PER_TASK", 1)
    a, b = da.from_array(A, chunks=(12, 4)), da.from_array(B, chunks=(4, 17))
    product = coded_matmul(a, b, parity=2, verify="correct")
    np.testing.assert_allclose(product.compute(scheduler="sync"), A @ B, atol=1e-12)
    with pytest.warns(WrongResultWarning):
        found = computed_with(product, lambda group: {2: one_entry})
    np.testing.assert_allclose(found, A @ B, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128", "int64"])
@pytest.mark.parametrize("kept", [False, True])
def test_encoded_products(dtype: str, kept: bool) -> None:
    a, b = (10 * A).astype(dtype), (10 * B).astype(dtype)
    encoded = encode(da.from_array(a, chunks=9), verify="correct")
    if kept:
        encoded = encoded.persist(scheduler="sync")
    for x in (b, b[:, 0], da.from_array(b, chunks=(7, 5))):
        product = encoded @ x
        expected = a @ np.asarray(x)
        tolerance = 1e-4 if dtype == "float32" else 1e-9
        np.testing.assert_allclose(
            product.compute(scheduler="sync"), expected, rtol=tolerance, atol=tolerance * 1e3
        )
        with pytest.warns(WrongResultWarning):
            found = computed_with(product, lambda group: {group + 1: one_entry})
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * 1e3)


def test_lengths_are_kept_with_the_shares() -> None:
    encoded = encode(da.from_array(A, chunks=9), verify="detect")
    n_shares = sum(stripe.code.n_shares for stripe in encoded.stripes)
    assert len(encoded.__dask_keys__()) == 2 * n_shares
    kept = encoded.persist(scheduler="sync")
    measured = [key for key in low_level(kept @ B[:, 0]) if "lengths" in str(key)]
    assert len(measured) == n_shares
    np.testing.assert_array_equal(kept.compute(scheduler="sync"), A)
    np.testing.assert_allclose((kept.verified(None) @ B).compute(scheduler="sync"), A @ B)
    assert len(encoded.verified(None).__dask_keys__()) == n_shares
    assert kept.verified("detect").name == kept.name


def test_single_precision_shares_times_doubles() -> None:
    """The shares of a float32 matrix were rounded to float32, whatever they are multiplied by."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        a = rng.normal(size=(40, 200)).astype(np.float32)
        x = rng.normal(size=200)
        product = encode(a, parity=3, verify="detect") @ x
        np.testing.assert_allclose(product.compute(scheduler="sync"), a.astype(float) @ x, 1e-4)


def test_products_that_cancel_are_right() -> None:
    """Centered columns times ones: the result is rounding, and no cause for alarm."""
    x = A - A.mean(axis=0)
    for dtype in ("float32", "float64"):
        a = da.from_array(x.astype(dtype).T.copy(), chunks=6)
        found = coded_matmul(a, np.ones(46, dtype), verify="correct").compute(scheduler="sync")
        np.testing.assert_allclose(found, 0, atol=1e-4)


def test_data_with_nan_cannot_be_verified() -> None:
    holes = A.copy()
    holes[3, 3] = np.nan
    product = coded_matmul(da.from_array(holes, chunks=(12, 30)), B, verify="detect")
    with pytest.raises(UnverifiableError, match="NaN"):
        product.compute(scheduler="sync")


def test_default_parity_is_what_it_takes() -> None:
    a = da.from_array(A, chunks=(6, 30))
    for verify, parity in (("detect", 1), ("correct", 2), (4, 5)):
        code = plan_matmul(a, B, verify=verify).code
        assert code is not None
        assert code.n_shares - code.recovery_threshold == parity
    assert "correct=True" in repr(plan_matmul(a, B, verify="correct"))


def test_requests_that_cannot_be() -> None:
    a = da.from_array(A, chunks=(6, 30))
    with pytest.raises(ParameterError, match="choose 'detect'"):
        coded_matmul(a, B, verify="repair")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="use parity=3 or more"):
        coded_matmul(a, B, parity=2, verify=2)
    with pytest.raises(ParameterError, match="use parity=1 or more"):
        coded_matmul(a, B, parity=0, verify="detect")
    with pytest.raises(ParameterError, match="parity=2 or more"):
        encode(A, parity=1, verify="correct")
    unknown = da.from_array(A, chunks=(6, 30))
    unknown._chunks = ((np.nan,) * 8, (30,))
    with pytest.raises(UnsupportedOperationError, match="verify='detect' was asked for"):
        coded_matmul(unknown, B, verify="detect")


def test_different_verification_is_another_array() -> None:
    a = da.from_array(A, chunks=(6, 30))
    names = {coded_matmul(a, B, parity=3, verify=v).name for v in (None, "detect", "correct", 2)}
    assert len(names) == 4
    encoded = encode(A, parity=3)
    assert (encoded @ B).name != (encoded.verified("detect") @ B).name
