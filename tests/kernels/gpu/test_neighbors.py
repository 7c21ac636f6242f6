"""Distances, their fusion and top-k: NumPy's reference against plain oracles, and both against
the CUDA source run on a CPU."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_coded.errors import (
    BlockShapeError,
    ParameterError,
    UnsupportedDtypeError,
    WeightsError,
)
from dask_coded.kernels import candidate_distances, candidate_products, fuse_distances, top_k
from dask_coded.kernels.gpu import _neighbors
from dask_coded.kernels.gpu.emulation import emulated_cupy, host_compiler

Place = Callable[[Any], Any]


@pytest.fixture(params=["numpy", "cupy"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Puts a NumPy array where it is to be worked on."""
    if request.param == "numpy":
        yield np.asarray
        return
    if host_compiler() is None:
        pytest.skip("emulation: no g++ with C++20 threads here")
    with emulated_cupy() as cupy:
        yield cupy.asarray


def host(array: Any) -> Any:
    return array if isinstance(array, np.ndarray) else array.get()


def candidates(stream: np.random.Generator, n: int, counts: list[int]) -> tuple[Any, Any]:
    starts = np.concatenate([[0], np.cumsum(counts)])
    return stream.integers(0, n, starts[-1]), starts


@pytest.mark.parametrize(
    ("dtype", "features"), [("f4", 1), ("f4", 35), ("f4", 64), ("f2", 80), ("f8", 35)]
)
def test_distances_and_products(place: Place, dtype: str, features: int) -> None:
    stream = np.random.default_rng(features)
    points = stream.standard_normal((40, features)).astype(dtype)
    queries = stream.standard_normal((4, features)).astype(dtype)
    rows, starts = candidates(stream, 40, [5, 0, 9, 1])
    owners = np.repeat(np.arange(4), np.diff(starts))
    wide = points.astype(np.longdouble)[rows], queries.astype(np.longdouble)[owners]
    placed = [place(array) for array in (points, queries, rows, starts)]
    epsilon = float(np.finfo("f8" if dtype == "f8" else "f4").eps)
    for found, exact, size in (
        (candidate_distances(*placed), ((wide[0] - wide[1]) ** 2).sum(1), 0),
        (candidate_products(*placed), (wide[0] * wide[1]).sum(1), abs(wide[0] * wide[1]).sum(1)),
    ):
        assert found.dtype == ("f8" if dtype == "f8" else "f4")
        assert (abs(host(found) - exact) <= 16 * epsilon * (size + abs(exact))).all()


def test_rows_of_any_stride(place: Place) -> None:
    stream = np.random.default_rng(0)
    points, queries = stream.standard_normal((9, 8)), stream.standard_normal((2, 8))
    rows, starts = candidates(stream, 9, [3, 4])
    expected = candidate_distances(points[::2, 1:], queries[:, 1:], rows // 2, starts)
    for make in (np.ascontiguousarray, np.asfortranarray):
        found = candidate_distances(
            place(make(points))[::2, 1:],
            place(make(queries))[:, 1:],
            place((rows // 2).astype(np.int32)),
            place(starts),
        )
        np.testing.assert_allclose(host(found), expected, rtol=1e-13)


@pytest.mark.parametrize(("slices", "dtype"), [(1, "f2"), (3, "f4"), (3, "f8"), (66, "f8")])
def test_partial_products_of_slices_make_distances(place: Place, slices: int, dtype: str) -> None:
    stream = np.random.default_rng(slices)
    points, queries = stream.standard_normal((20, 66)), stream.standard_normal((3, 66))
    rows, starts = candidates(stream, 20, [4, 0, 6])
    pieces = np.array_split(np.arange(66), slices)
    partials = [
        candidate_products(points[:, piece], queries[:, piece], rows, starts).astype(dtype)
        for piece in pieces
    ]
    norms = (points**2).sum(1), (queries**2).sum(1)
    found = fuse_distances(
        np.ones(slices),
        [place(partial) for partial in partials],
        *[place(array) for array in (*norms, rows, starts)],
    )
    assert found.dtype == ("f8" if dtype == "f8" else "f4")
    exact = candidate_distances(points, queries, rows, starts)
    tolerance = 400 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(host(found), exact, atol=tolerance)


def test_fused_distances_weigh_in_float64_and_are_not_negative(place: Place) -> None:
    rows, starts = np.array([0, 0]), np.array([0, 2])
    partials = [np.array([1, 2], "f4"), np.array([1, 2], "f4")]
    found = fuse_distances(
        [1e9, -1e9 + 1],
        [place(partial) for partial in partials],
        *[place(array) for array in (np.array([1.0]), np.array([1.0]), rows, starts)],
    )
    assert host(found).tolist() == [0, 0]


def by_sorting(values: Any, k: int) -> tuple[Any, Any]:
    order = np.argsort(values, axis=1, kind="stable")[:, :k]
    pad = ((0, 0), (0, max(k - values.shape[1], 0)))
    best = np.take_along_axis(values, order, 1)
    return (
        np.pad(best, pad, constant_values=np.inf),
        np.pad(order, pad, constant_values=-1),
    )


def same(found: tuple[Any, Any], expected: tuple[Any, Any]) -> None:
    np.testing.assert_array_equal(host(found[0]), expected[0])
    np.testing.assert_array_equal(host(found[1]), expected[1])
    assert found[0].dtype == expected[0].dtype
    assert found[1].dtype == np.int64


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize(("columns", "k"), [(1, 1), (100, 30), (130, 130), (70, 100)])
def test_top_k_with_heavy_ties(place: Place, dtype: str, columns: int, k: int) -> None:
    stream = np.random.default_rng(columns)
    values = stream.integers(-2, 3, (3, columns)).astype(dtype)
    values[0, ::7] = np.nan
    values[1] = np.nan
    values[2, ::5], values[2, ::9], values[2, ::11] = -0.0, np.inf, -np.inf
    same(top_k(place(values), k), by_sorting(values, k))


def test_top_k_of_few_long_rows_selects_in_tiles(place: Place) -> None:
    stream = np.random.default_rng(1)
    values = stream.integers(0, 3000, (1, 20_001)).astype("f4")
    values[0, 9000:] = np.inf
    for k in (20, 40):
        same(top_k(place(values), k), by_sorting(values, k))


def test_more_values_than_a_block_sorts(place: Place) -> None:
    values = np.random.default_rng(2).integers(0, 9, (2, 2100)).astype("f4")
    same(top_k(place(values), 2080), by_sorting(values, 2080))
    starts = np.array([0, 3, 3, 2100])
    best, positions = top_k(place(values[0]), 2090, place(starts))
    assert host(positions)[1].tolist() == [-1] * 2090
    np.testing.assert_array_equal(host(best)[2], by_sorting(values[:1, 3:], 2090)[0][0])


def test_rows_of_several_lengths(place: Place) -> None:
    values = np.random.default_rng(3).integers(0, 4, 60).astype("f8")
    starts = np.array([0, 5, 5, 40, 60])
    best, positions = (host(array) for array in top_k(place(values), 7, place(starts)))
    for row, (first, last) in enumerate(pairwise(starts)):
        expected = by_sorting(values[None, first:last], 7)
        np.testing.assert_array_equal(best[row], expected[0][0])
        np.testing.assert_array_equal(positions[row], expected[1][0])


@pytest.mark.parametrize("lengths", [[20_001, 5, 0], [3, 17_000], [18_000], [9000, 9001, 9002]])
def test_long_rows_of_several_lengths_are_cut(place: Place, lengths: list[int]) -> None:
    stream = np.random.default_rng(5)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    values = stream.integers(0, 3000, starts[-1]).astype("f4")
    values[: lengths[0] // 2] = np.inf
    best, positions = (host(array) for array in top_k(place(values), 20, place(starts)))
    for row, (first, last) in enumerate(pairwise(starts)):
        expected = by_sorting(values[None, first:last], 20)
        np.testing.assert_array_equal(best[row], expected[0][0])
        np.testing.assert_array_equal(positions[row], expected[1][0])


def test_no_block_selects_from_more_than_it_can_count() -> None:
    for rows in (1, 3, 10**6):
        for length in (1, 2**31 - 1, 2**31, 2**40):
            assert 1 <= _neighbors._tile(length, rows, 2048, 132) <= 2**30


def test_ragged_rows_beyond_the_largest_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small largest tile: every launch keeps to it, and the positions are those of rows."""
    if host_compiler() is None:
        pytest.skip("emulation: no g++ with C++20 threads here")
    monkeypatch.setattr(_neighbors, "_LARGEST_TILE", 100)
    monkeypatch.setattr(_neighbors, "_TILE", 60)
    values = np.random.default_rng(6).integers(0, 9, 700).astype("f4")
    starts = np.array([0, 350, 351, 351, 700])
    with emulated_cupy() as cupy:
        cupy.standin.recorded = []
        best, positions = top_k(cupy.asarray(values), 7, cupy.asarray(starts))
        first, *_ = cupy.standin.recorded
        assert first.job.arguments["tile"] <= 100
        assert first.job.arguments["n_tiles"] == 4
    for row, (begin, end) in enumerate(pairwise(starts)):
        expected = by_sorting(values[None, begin:end], 7)
        np.testing.assert_array_equal(best.get()[row], expected[0][0])
        np.testing.assert_array_equal(positions.get()[row], expected[1][0])


def test_rows_that_are_not_contiguous(place: Place) -> None:
    values = np.random.default_rng(4).standard_normal((6, 50)).astype("f4")
    for index in (np.s_[::2], np.s_[:, 1:], np.s_[:, ::3]):
        same(top_k(place(values)[index], 4), by_sorting(values[index], 4))


def test_no_rows(place: Place) -> None:
    best, positions = top_k(place(np.zeros((0, 5))), 3)
    assert best.shape == positions.shape == (0, 3)
    best, _ = top_k(place(np.zeros(0)), 3, place(np.array([0])))
    assert best.shape == (0, 3)
    none = [place(np.zeros(0, int)), place(np.array([0, 0]))]
    points = place(np.zeros((2, 3)))
    assert candidate_distances(points, points[:1], *none).shape == (0,)
    norms = place(np.zeros(2)), place(np.zeros(1))
    assert fuse_distances([1], [place(np.zeros(0))], *norms, *none).shape == (0,)


@given(
    st.lists(st.floats(width=32), min_size=1, max_size=30),
    st.integers(1, 35),
)
def test_reference_of_top_k_sorts(values: list[float], k: int) -> None:
    array = np.array([values], "f4")
    same(top_k(array, k), by_sorting(array, k))


def test_bad_input_is_named(place: Place) -> None:
    points, queries = place(np.zeros((3, 4))), place(np.zeros((2, 4)))
    rows, starts = place(np.array([0, 2])), place(np.array([0, 1, 2]))
    for bad in (np.array([0, 3]), np.array([-1, 0])):
        with pytest.raises(ParameterError, match=r"3 points, 0 to 2; got values from"):
            candidate_distances(points, queries, place(bad), starts)
        with pytest.raises(ParameterError, match="3 points"):
            fuse_distances(
                [1], [place(np.zeros(2))], points[:, 0], queries[:, 0], place(bad), starts
            )
    for cut in ([0, 1], [0, 3, 2], [1, 1, 2], [0, 1, 3]):
        with pytest.raises(BlockShapeError, match=r"starts"):
            candidate_products(points, queries, rows, place(np.array(cut)))
    with pytest.raises(BlockShapeError, match="as many features"):
        candidate_distances(points, place(np.zeros((2, 3))), rows, starts)
    with pytest.raises(UnsupportedDtypeError, match=r"points.*astype"):
        candidate_distances(place(np.zeros((3, 4), int)), queries, rows, starts)
    with pytest.raises(UnsupportedDtypeError, match="one dtype"):
        candidate_distances(points, place(np.zeros((2, 4), "f4")), rows, starts)
    with pytest.raises(UnsupportedDtypeError, match="integers"):
        candidate_distances(points, queries, place(np.zeros(2)), starts)
    with pytest.raises(ParameterError, match="k=0"):
        top_k(points, 0)
    with pytest.raises(BlockShapeError, match="matrix"):
        top_k(points[0], 1)
    norms = place(np.zeros(3)), place(np.zeros(2))
    with pytest.raises(WeightsError, match="finite"):
        fuse_distances([np.nan], [place(np.zeros(2))], *norms, rows, starts)
    with pytest.raises(BlockShapeError, match="2 weights fuse"):
        fuse_distances([1, 2], [place(np.zeros(2))], *norms, rows, starts)
    with pytest.raises(BlockShapeError, match="number 0 has"):
        fuse_distances([1], [place(np.zeros(3))], *norms, rows, starts)
    with pytest.raises(BlockShapeError, match="norms are vectors"):
        fuse_distances([1], [place(np.zeros(2))], points, norms[1], rows, starts)


def test_one_library_at_a_time() -> None:
    with emulated_cupy() as cupy, pytest.raises(UnsupportedDtypeError, match="one library"):
        top_k(cupy.zeros(3), 1, np.array([0, 3]))
