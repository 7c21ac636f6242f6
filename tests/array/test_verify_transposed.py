"""Verified products with the transpose without a cluster: NumPy's, with wrong terms and without."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask._task_spec import Task
from dask.local import get_sync
from hypothesis import given, settings
from hypothesis import strategies as st
from losses import computed_without, specs

from dask_coded import encode
from dask_coded.array import EncodedArray
from dask_coded.array._products import adjoint_product
from dask_coded.codes import MDS, AbstractLinearCode, Replication
from dask_coded.errors import UnverifiableError, WrongResultError, WrongResultWarning
from dask_coded.fields import PAIRED

RNG = np.random.default_rng(7)
A, Y = 10 * RNG.normal(size=(46, 30)), 10 * RNG.normal(size=(46, 4))


def computed_with(array: da.Array, hit: int, harm: Callable[[Any], Any]) -> np.ndarray:
    """The value of an array if the term of this block suffers so."""
    graph = dict(array.__dask_graph__())
    for key, task in list(graph.items()):
        if isinstance(key, tuple) and key[0].endswith("-term") and key[1] == hit:

            def suffering(*args: Any, task: Any = task, **kwargs: Any) -> Any:
                return harm(np.array(task.func(*args, **kwargs)))

            graph[key] = Task(key, suffering, *task.args, **task.kwargs)
    finalize, args = array.__dask_postcompute__()
    return np.asarray(finalize(get_sync(graph, array.__dask_keys__()), *args))


def one_entry(array: Any) -> Any:
    array.reshape(-1)[array.size // 2] += 1 + abs(array).max() / 8
    return array


def last_bit(array: Any) -> Any:
    array.reshape(-1)[array.size // 3] += 1
    return array


def cancelling(array: Any) -> Any:
    """Errors whose sum, and whose sum by columns, is zero."""
    array[3] += 1000
    array[8] -= 1000
    return array


def not_a_number(array: Any) -> Any:
    array[5] = np.nan
    return array


def operands(matrix: Any, other: Any) -> Any:
    return other, other[:, 0], da.from_array(other, chunks=(17, 3))


def exact(expected: Any, found: Any, dtype: str = "float64") -> None:
    assert found.dtype == expected.dtype
    bound = 0 if expected.dtype.kind in "iu" else 1e-4 if "f4" in dtype or "c8" in dtype else 1e-10
    np.testing.assert_allclose(found, expected, rtol=bound, atol=1e4 * bound)


@given(
    matrix=st.sampled_from(["f4", "f8", "c8", "c16", "i8", "i4", "u1", "u8"]),
    other=st.sampled_from(["f4", "f8", "c16", "i8", "i2", "u1"]),
    verify=st.sampled_from(["detect", "correct", 2]),
    ways=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(0, 3)),
    seed=st.integers(0, 99),
)
@settings(max_examples=120)
def test_clean_products_are_numpys(
    matrix: str,
    other: str,
    verify: Any,
    ways: tuple[bool, bool, bool],
    shape: tuple[int, int, int],
    seed: int,
) -> None:
    adjoint, coded, kept = ways
    rng = np.random.default_rng(seed)
    a = rng.integers(0, 5, shape[:2]).astype(matrix)
    y = rng.integers(0, 5, (shape[0], shape[2]) if shape[2] else shape[0]).astype(other)
    wraps = matrix[1] == "8" and matrix[0] in "iu" and verify == "detect"
    if wraps and np.result_type(a, y).kind not in "iu":
        return  # refused, verified or not
    encoded = encode(a, adjoint=adjoint, verify=verify)
    if kept:
        encoded = encoded.persist(scheduler="sync")
    product = adjoint_product(encoded.rows, y, coded=coded)
    expected = a.conj().T @ y
    found = product.compute(scheduler="sync")
    assert (product.dtype, product.shape) == (expected.dtype, expected.shape)
    exact(expected, found, matrix + other)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128", "int64"])
@pytest.mark.parametrize("verify", ["detect", "correct"])
def test_one_wrong_term(dtype: str, verify: Any) -> None:
    a = A.astype(dtype)
    encoded = encode(a, adjoint=True, verify=verify)
    blocks = len(encoded.stripes[0].rows)
    harms = [one_entry, cancelling, *([last_bit] if dtype == "int64" else [])]
    for y in operands(a, Y.astype(dtype)):
        product, expected = encoded.H @ y, a.conj().T @ np.asarray(y)
        for block in range(blocks):
            harm = harms[block % len(harms)]
            if verify == "detect":
                with pytest.raises(WrongResultError, match=rf"share {block} disagrees"):
                    computed_with(product, block, harm)
                continue
            with pytest.warns(WrongResultWarning, match="decoded without them"):
                found = computed_with(product, block, harm)
            exact(expected, found, "f4" if dtype == "float32" else dtype)


@pytest.mark.parametrize("verify", ["detect", "correct"])
def test_nan_is_an_erasure(verify: Any) -> None:
    encoded = encode(A, parity=2, verify=verify)
    for y in operands(A, Y):
        found = computed_with(encoded.T @ y, 3, not_a_number)
        exact(A.T @ np.asarray(y), found)


CODES: list[AbstractLinearCode] = [MDS(7, 4), MDS(8, 5, field=PAIRED), Replication(9, 3)]


@pytest.mark.parametrize("code", CODES, ids=repr)
def test_what_terms_are_decoded_from(code: AbstractLinearCode) -> None:
    """As the scheduler does it: the check has failed, and the others stand in."""
    encoded = encode(A, code=code, adjoint=True, verify="correct").persist(scheduler="sync")
    for y in operands(A, Y):
        product = adjoint_product(encoded.rows, y, coded=True)
        checks = [name for name in specs(dict(product.__dask_graph__())) if "-checked" in name]
        assert len(checks) == code.k * (1 if y.ndim == 1 else product.npartitions)
        found = computed_without(product, lambda spec: [0] if "-checked" in spec.group else [])
        exact(A.T @ np.asarray(y), found)
        # And what they are decoded from comes without its first result.
        found = computed_without(product, lambda spec: [0])
        exact(A.T @ np.asarray(y), found)


def wrong_tile(encoded: EncodedArray, share: int) -> EncodedArray:
    """The same matrix, whose sketches are right and one tile no longer."""
    kept = encoded.persist(scheduler="sync")
    graph = dict(kept.__dask_graph__())
    key = (kept.name, 0, share)
    (tile,) = get_sync(graph, [key])
    graph[key] = Task(key, lambda: tile + 1e-3 * RNG.normal(size=tile.shape))
    return kept._with_graph(graph)


@pytest.mark.parametrize("code", CODES, ids=repr)
def test_a_tile_that_went_wrong(code: AbstractLinearCode) -> None:
    for share in range(code.n_shares):
        encoded = wrong_tile(encode(A, code=code, adjoint=True, verify="correct"), share)
        # Parity is not read where all terms are right.
        with pytest.warns(WrongResultWarning) if share < code.k else nullcontext():
            found = (encoded.T @ Y).compute(scheduler="sync")
        exact(A.T @ Y, found)


def test_tiles_that_are_wrong_when_sketches_are_made() -> None:
    """Sketches come from results that were compared."""
    encoded = wrong_tile(encode(A, parity=2, verify="correct"), 1)
    with pytest.warns(WrongResultWarning):
        found = (encoded.T @ Y).compute(scheduler="sync")
    exact(A.T @ Y, found)
    with pytest.raises(WrongResultError):
        (encoded.verified("detect").T @ Y).compute(scheduler="sync")


def test_data_with_nan_cannot_be_verified() -> None:
    holes = A.copy()
    holes[3, 3] = np.nan
    encoded = encode(holes, adjoint=True, verify="correct")
    pitted = encode(A, adjoint=True, verify="correct").T @ np.where(Y > 8, np.nan, Y)
    for product in (encoded.T @ Y, encoded @ Y[:30], pitted):
        with pytest.raises(UnverifiableError, match="NaN"):
            product.compute(scheduler="sync")


def test_sketches_are_kept_where_the_transpose_matters() -> None:
    plain = encode(A, verify="correct")
    both = encode(A, adjoint=True, verify="correct")
    blocks = len(plain.stripes[0].rows)
    assert len(both.__dask_keys__()) == len(plain.__dask_keys__()) + blocks
    kept = both.persist(scheduler="sync")
    assert not any("coded-matmul" in str(key) for key in dict((kept.T @ Y).__dask_graph__()))
    assert any("coded-matmul" in str(key) for key in dict((plain.T @ Y).__dask_graph__()))
    for encoded in (plain, both, kept, kept.verified("detect"), kept.verified(None)):
        (gathered,) = dask.compute(encoded, scheduler="sync")
        np.testing.assert_array_equal(gathered, A)
        exact(A.T @ Y, (encoded.T @ Y).compute(scheduler="sync"))
        exact(Y.T @ A, (Y.T @ encoded).compute(scheduler="sync"))
    assert len(kept.verified(None).__dask_keys__()) == blocks + 3


def test_columns_that_were_cut_are_verified_from_both_sides() -> None:
    wide = encode(A.T.copy(), parity=2, adjoint=True).verified("correct")
    assert wide.flipped
    exact(A.T @ Y, (wide @ Y).compute(scheduler="sync"))
    exact(A @ Y[:30], (wide.T @ Y[:30]).compute(scheduler="sync"))
    with pytest.warns(WrongResultWarning):
        exact(A.T @ Y, computed_with(wide @ Y, 2, one_entry))


def test_different_verification_is_another_array() -> None:
    encoded = encode(A, parity=3)
    names = {(encoded.verified(how).T @ Y).name for how in (None, "detect", "correct", 2)}
    assert len(names) == 4
