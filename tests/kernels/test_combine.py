"""The public verb: what it accepts, what it refuses and why, and how libraries plug in."""

from typing import Any

import numpy as np
import pytest

from dask_coded.errors import (
    BlockShapeError,
    FieldRangeError,
    ParameterError,
    UnsupportedDtypeError,
    UnsupportedOperationError,
    WeightsError,
)
from dask_coded.fields import COMPLEX, REAL, Field, PrimeField
from dask_coded.kernels import _backends, combine, register_backend

ONES = np.ones((1, 2))
PAIR = [np.zeros((3, 4)), np.ones((3, 4))]


def test_outputs_are_arrays_of_their_own() -> None:
    outputs = combine(np.ones((3, 2)), PAIR)
    assert isinstance(outputs, list)
    assert [output.base for output in outputs] == [None] * 3
    unit = combine([[0, 1]], PAIR)[0]
    assert not np.shares_memory(unit, PAIR[1])


def test_blocks_may_be_any_sequence_also_a_stack() -> None:
    stack = np.arange(24.0).reshape(2, 3, 4)
    for blocks in (stack, tuple(stack), list(stack)):
        (found,) = combine([[2, -1]], blocks)
        assert (found == 2 * stack[0] - stack[1]).all()


def test_no_outputs() -> None:
    assert combine(np.zeros((0, 2)), PAIR) == []


@pytest.mark.parametrize("weights", [[1, 1], 1.0, np.ones((1, 2, 1))])
def test_weights_are_a_matrix(weights: Any) -> None:
    with pytest.raises(WeightsError, match="matrix"):
        combine(weights, PAIR)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", [REAL, COMPLEX, PrimeField(31)], ids=lambda f: f.name)
def test_weights_are_finite(field: Field, bad: float) -> None:
    with pytest.raises(WeightsError, match=r"weight of block 1 in output 0"):
        combine([[1, bad]], PAIR, field=field)


def test_weights_fit_the_field() -> None:
    with pytest.raises(WeightsError, match="field=COMPLEX"):
        combine([[1, 1j]], PAIR)
    with pytest.raises(WeightsError, match="numbers"):
        combine([["a", "b"]], PAIR)
    with pytest.raises(WeightsError, match="numbers"):
        combine(np.array([[1, None]]), PAIR)
    with pytest.raises(FieldRangeError, match="whole"):
        combine([[0.5, 1]], [np.zeros(2, int)] * 2, field=PrimeField(31))


def test_prime_weights_of_any_size_are_reduced() -> None:
    (found,) = combine([[-1, 2**80]], [np.array([3]), np.array([4])], field=PrimeField(31))
    assert found.tolist() == [(-3 + 4 * 2**80) % 31]


def test_as_many_blocks_as_columns() -> None:
    with pytest.raises(BlockShapeError, match="combine 2 blocks; got 1"):
        combine(ONES, PAIR[:1])
    with pytest.raises(BlockShapeError, match="no blocks"):
        combine(np.zeros((2, 0)), [])


def test_blocks_of_one_shape() -> None:
    with pytest.raises(BlockShapeError, match=r"block 1 has \(4, 3\)"):
        combine(ONES, [np.zeros((3, 4)), np.zeros((4, 3))])
    # Nothing is broadcast behind the caller's back.
    with pytest.raises(BlockShapeError):
        combine(ONES, [np.zeros((3, 4)), np.zeros((1, 4))])


@pytest.mark.parametrize("dtype", [object, "M8[s]", "m8[s]", "U3", np.longdouble])
def test_dtypes_without_accurate_sums(dtype: Any) -> None:
    if np.dtype(dtype) == np.float64:
        pytest.skip("long double is float64 here")
    blocks = [np.zeros(3), np.zeros(3, dtype)]
    with pytest.raises(UnsupportedDtypeError, match="block 1 has dtype"):
        combine(ONES, blocks)
    with pytest.raises(UnsupportedDtypeError, match="block 1 has dtype"):
        combine(ONES, [np.zeros(3, int), blocks[1]], field=PrimeField(31))


def test_integers_need_whole_weights() -> None:
    blocks = [np.zeros(3, np.int32)] * 2
    with pytest.raises(UnsupportedDtypeError, match=r"0\.5\. Use a code over a PrimeField, or"):
        combine([[1, 0.5]], blocks)
    with pytest.raises(UnsupportedDtypeError, match="astype"):
        combine(ONES, blocks, field=COMPLEX)
    with pytest.raises(UnsupportedDtypeError, match="uint64"):
        combine(ONES, [np.zeros(3, np.int64), np.zeros(3, np.uint64)])


def test_masked_arrays_are_not_unmasked_silently() -> None:
    with pytest.raises(UnsupportedDtypeError, match="mask"):
        combine(ONES, [np.ma.masked_array([1.0, 2.0], [True, False]), np.zeros(2)])


@pytest.mark.parametrize("block", [[1.0, 2.0], 3.0, memoryview(b"ab")])
def test_unknown_array_types(block: Any) -> None:
    with pytest.raises(UnsupportedDtypeError, match=r"numpy\.asarray.*register_backend"):
        combine([[1.0]], [block])


# --- out --------------------------------------------------------------------------------------


def test_out_is_written_and_returned() -> None:
    out = [np.full((3, 4), np.nan) for _ in range(2)]
    found = combine([[1, 1], [0, 0]], PAIR, out=out)
    assert all(a is b for a, b in zip(found, out, strict=True))
    assert (out[0] == 1).all()
    assert (out[1] == 0).all()


def test_out_of_any_layout() -> None:
    space = np.zeros((5, 9))
    out = [space[::2, ::-1][:, 1:8:2], np.zeros((4, 3)).T]
    blocks = [np.arange(12.0).reshape(3, 4), np.ones((3, 4))]
    combine([[1, 2], [3, 4]], blocks, out=out)
    assert (out[0] == blocks[0] + 2).all()
    assert (out[1] == 3 * blocks[0] + 4).all()
    assert np.count_nonzero(space) == 12


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ([], "make 1 outputs; out holds 0"),
        ([np.zeros((3, 4)), np.zeros((3, 4))], "out holds 2"),
        ([np.zeros((4, 3))], r"of shape \(3, 4\); got"),
        ([np.zeros((3, 4), np.float32)], "must be float64"),
        ([[[0.0] * 4] * 3], "is a list"),
        ([np.broadcast_to(np.zeros(4), (3, 4))], "read-only"),
        ([np.lib.stride_tricks.as_strided(np.zeros(4), (3, 4), (0, 8))], "repeats"),
    ],
)
def test_out_that_does_not_fit(out: Any, message: str) -> None:
    with pytest.raises(BlockShapeError, match=message):
        combine(ONES, PAIR, out=out)


def test_out_must_not_overlap() -> None:
    memory = np.zeros(30)
    with pytest.raises(BlockShapeError, match=r"share memory"):
        combine(ONES, [memory[:10], memory[10:20]], out=[memory[5:15]])
    with pytest.raises(BlockShapeError, match="share memory"):
        combine(np.ones((2, 1)), [np.ones(10)], out=[memory[:10], memory[9:19]])
    with pytest.raises(BlockShapeError, match="share memory"):
        combine([[1.0]], [memory[:10]], out=[memory[:10]])
    # Interleaved is not overlapping, and blocks may repeat each other.
    even, odd = memory[::2], memory[1::2]
    even[:] = 1
    combine([[1, 2]], [even, even], out=[odd])
    assert (odd == 3).all()


def test_nothing_is_written_before_everything_is_checked() -> None:
    out = [np.full(3, 7, np.int64)]
    with pytest.raises(UnsupportedDtypeError):
        combine([[0.5]], [np.zeros(3, np.int64)], out=out)
    assert (out[0] == 7).all()


# --- dispatch ---------------------------------------------------------------------------------


class Tensor:
    """An array of another library."""

    __module__ = "tensorlib.core"

    def __init__(self, *shape: int) -> None:
        self.shape = shape


class SpecialTensor(Tensor):
    __module__ = "elsewhere"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []

    def backend(weights: Any, blocks: Any, *, field: Field, out: Any) -> list[Any]:
        made.append((weights, blocks, field, out))
        return list(weights)

    monkeypatch.setattr(_backends, "_BACKENDS", dict(_backends._BACKENDS))
    register_backend("tensorlib", backend)
    return made


def test_backend_gets_checked_arguments(calls: list[Any]) -> None:
    blocks = (Tensor(2, 3), SpecialTensor(2, 3))
    combine([[1, 2]], blocks, field=REAL, out="theirs to check")  # type: ignore[arg-type]
    ((weights, given, field, out),) = calls
    assert weights.dtype == np.float64
    assert given == list(blocks)
    assert field is REAL
    assert out == "theirs to check"
    with pytest.raises(BlockShapeError):
        combine([[1, 2]], (Tensor(2, 3), Tensor(3, 2)))
    with pytest.raises(UnsupportedDtypeError, match="numpy, tensorlib"):
        combine([[1, 2]], (Tensor(3), np.zeros(3)))
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("name", "function"), [("cupy.core", len), ("", len), (None, len), ("x", 3)]
)
def test_backends_are_checked(calls: list[Any], name: Any, function: Any) -> None:
    with pytest.raises(ParameterError):
        register_backend(name, function)


def test_subclasses_of_ndarray_are_numpy(tmp_path: Any) -> None:
    mapped = np.memmap(tmp_path / "block", np.float64, "w+", shape=(4,))
    mapped[:] = 2
    (found,) = combine([[3, 1]], [mapped, np.ones(4)])
    assert type(found) is np.ndarray
    assert (found == 7).all()


def test_fields_of_others_are_refused_clearly() -> None:
    class Odd:
        exact = True

        def asarray(self, values: Any) -> Any:
            return np.asarray(values)

    with pytest.raises(UnsupportedOperationError, match="PrimeField"):
        combine(ONES, PAIR, field=Odd())  # type: ignore[arg-type]
