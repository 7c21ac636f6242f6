"""Comparing measured results: what is right passes, what is wrong is found, and never guessed."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_coded.codes import MDS, AbstractCode, MatDot, Replication
from dask_coded.errors import (
    NotDecodableError,
    ParameterError,
    UnsupportedDtypeError,
    UnverifiableError,
    WrongResultError,
    WrongResultWarning,
)
from dask_coded.fields import PAIRED, REAL, Field
from dask_coded.graph import (
    PlainArithmetic,
    Verification,
    measured_result,
    row_lengths,
    unit_rounding,
    verified,
)
from dask_coded.kernels import combine

INNER = 50


class Made:
    """Measured results of one group, and what its outputs have to be."""

    def __init__(
        self,
        code: AbstractCode,
        dtype: str = "float64",
        *,
        rows: int = 6,
        columns: int | None = 4,
        inner: int = INNER,
        seed: int = 0,
        scale: float = 1.0,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.code, self.inner = code, inner
        width = () if columns is None else (columns,)

        def draw(*shape: int) -> Any:
            if np.dtype(dtype).kind in "iu":
                return rng.integers(0, 100, shape).astype(dtype)
            values = scale * rng.normal(size=shape)
            if np.dtype(dtype).kind == "c":
                values = values + 1j * rng.normal(size=shape)
            return values.astype(dtype)

        count = code.operand_grids[0][-1] if code.operation == "matmul" else code.k
        blocks = [draw(rows, inner) for _ in range(count)]
        left = combine(code.generator(), blocks, field=code.field)
        if code.operation == "matmul":
            others = [draw(inner, *width) for _ in range(count)]
            right = combine(code.generator(1), others, field=code.field)
            self.outputs = [sum(a @ b for a, b in zip(blocks, others, strict=True))]
        else:
            operand = draw(inner, *width)
            right = [operand] * code.n_shares
            self.outputs = [a @ operand for a in blocks]
        self.results: list[Any] = []
        for a, b in zip(left, right, strict=True):
            b = b.astype(dtype, copy=False)
            product = a.astype(dtype, copy=False) @ b
            if np.dtype(dtype).kind in "iu":
                self.results.append((product, None, None))
            else:
                b2 = b[:, None] if b.ndim == 1 else b
                widths = row_lengths(b2.T)
                self.results.append((product, row_lengths(a), widths if b.ndim == 2 else widths[0]))

    def verified(self, verify: Any = "correct", shares: Any = None) -> tuple[Any, ...]:
        how = Verification.asked(verify, self.inner)
        shares = range(self.code.n_shares) if shares is None else shares
        return verified(how, self.code, "g", shares, *(self.results[i] for i in shares))

    def check(self, outputs: Any) -> None:
        kind = self.outputs[0].dtype
        bound = 1e-4 if kind in (np.float32, np.complex64) else 1e-9
        size = max(float(np.abs(output).max()) for output in self.outputs)
        for output, expected in zip(outputs, self.outputs, strict=True):
            assert output.dtype == expected.dtype
            np.testing.assert_allclose(output, expected, rtol=bound, atol=bound * size)


CODES = [
    MDS(7, 4),
    MDS(9, 5, parity="gaussian"),
    MDS(8, 5, field=PAIRED),
    Replication(9, 3),
    MatDot(8, 3),
]


@pytest.mark.parametrize("columns", [4, None])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("code", CODES, ids=repr)
def test_right_results_pass(code: AbstractCode, dtype: str, columns: int | None) -> None:
    if code.field == PAIRED and dtype.startswith("complex"):
        pytest.skip("pairs real rows")
    for seed in range(5):
        made = Made(code, dtype, columns=columns, seed=seed)
        for verify in ("detect", "correct"):
            made.check(made.verified(verify))


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("code", CODES, ids=repr)
def test_one_wrong_entry_is_corrected(code: AbstractCode, dtype: str) -> None:
    if code.field == PAIRED and dtype.startswith("complex"):
        pytest.skip("pairs real rows")
    for share in range(code.n_shares):
        made = Made(code, dtype, seed=share)
        made.results[share][0][share % 6, 1] += 10.0
        with pytest.warns(WrongResultWarning, match=rf"shares \[{share}\]"):
            outputs = made.verified()
        made.check(outputs)
        with pytest.raises(WrongResultError, match=rf"shares \[{share}\] disagree"):
            made.verified("detect")


@given(
    code=st.sampled_from(CODES[:3] + CODES[4:]),
    wrong=st.integers(1, 4),
    kind=st.sampled_from(["garbage", "one entry", "huge", "sign", "zero", "not a number"]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60)
def test_outputs_are_right_or_there_are_none(
    code: AbstractCode, wrong: int, kind: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    made = Made(code, seed=seed % 1000)
    surplus = len(code.checker(range(code.n_shares)))
    for share in rng.choice(code.n_shares, min(wrong, code.n_shares), replace=False):
        result = made.results[share][0]
        place = tuple(rng.integers(result.shape))
        if kind == "garbage":
            result[...] = rng.normal(size=result.shape)
        elif kind == "one entry":
            result[place] *= 1.5
        elif kind == "huge":
            result[place] = rng.choice([-1, 1]) * 10.0 ** rng.uniform(100, 308)
        elif kind == "sign":
            result[...] *= -1
        elif kind == "zero":
            result[place[0]] = 0
        else:
            result[place] = rng.choice([np.nan, np.inf, -np.inf])
    try:
        with warnings.catch_warnings(action="ignore", category=WrongResultWarning):
            outputs = made.verified()
    except (WrongResultError, UnverifiableError):
        assert kind == "sign" or wrong >= surplus or (wrong > 1 and kind in ("one entry", "huge"))
        return
    made.check(outputs)


def test_nan_and_infinity_are_erasures() -> None:
    made = Made(MDS(7, 4))
    made.results[1][0][2, 2] = np.nan
    made.results[5][0][0, 0] = -np.inf
    made.check(made.verified())
    made.results[3][0][0, 0] += 1
    # One surplus result is left: it tells that something is wrong, not what.
    with pytest.raises(WrongResultError, match="cannot be told from 5 results"):
        made.verified()
    made.results[6][0][0, 0] = np.nan
    with pytest.raises(UnverifiableError, match="share 1: its result has NaN"):
        made.verified()


def test_wrong_lengths_are_erasures() -> None:
    made = Made(MDS(7, 4))
    array, rows, columns = made.results[2]
    made.results[2] = (array, rows * np.nan, columns)
    made.check(made.verified())


def test_collinear_errors() -> None:
    """Of four surplus results, errors that are alike leave two to be located, others three."""
    rng = np.random.default_rng(1)
    for count in range(1, 6):
        for alike in (False, True):
            made = Made(MDS(9, 5, parity="gaussian"), seed=count)
            error = rng.normal(size=(6, 4))
            for share in range(count):
                made.results[share][0][...] += error if alike else rng.normal(size=(6, 4))
            if count <= (2 if alike else 3):
                with pytest.warns(WrongResultWarning):
                    made.check(made.verified())
            else:
                with pytest.raises(WrongResultError, match="cannot be told"):
                    made.verified()


def test_errors_at_one_place_are_alike() -> None:
    made = Made(MDS(7, 4))
    made.results[0][0][1, 1] += 1
    made.results[4][0][1, 1] += 2
    with pytest.raises(WrongResultError, match="cannot be told"):
        made.verified()


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_integers_are_exact(dtype: str) -> None:
    """Sums wrap around, and still agree to the last bit."""
    for code in (MDS(5, 4), Replication(9, 3)):
        made = Made(code, dtype)
        made.check(made.verified("detect"))
        for bit in range(np.dtype(dtype).itemsize * 8):
            made = Made(code, dtype, seed=bit)
            flat = made.results[2][0].view(f"u{np.dtype(dtype).itemsize}")
            flat[3, 1] ^= flat.dtype.type(1 << bit)
            with pytest.raises(WrongResultError):
                made.verified("detect")
            if isinstance(code, Replication):
                with pytest.warns(WrongResultWarning, match=r"shares \[2\]"):
                    made.check(made.verified())


def test_integers_with_fractional_codes_are_refused() -> None:
    made = Made(MDS(5, 4), "int64")
    with pytest.raises(UnsupportedDtypeError, match="no check of whole numbers"):
        verified(Verification.asked("detect", 3), MDS(5, 3), "g", range(5), *made.results)


def test_two_copies_tell_and_cannot_say_who() -> None:
    made = Made(Replication(6, 3))
    made.results[4][0][0, 0] += 1
    with pytest.raises(WrongResultError):
        made.verified()


def test_what_nothing_compares_is_not_passed_on() -> None:
    """One copy of block 1 is missing: the other one could be anything."""
    made = Made(Replication(6, 3))
    with pytest.raises(UnverifiableError, match="too few"):
        made.verified("detect", shares=[0, 1, 2, 3, 5])
    made.check(made.verified("detect"))


@pytest.mark.parametrize("field", [REAL, PAIRED])
def test_uneven_results_get_their_own_shapes(field: Field) -> None:
    """Blocks of 6, 6, 5 and 3 rows: shorter ones were continued with zeros to be encoded."""
    made, heights = Made(MDS(7, 4, field=field)), (6, 6, 5, 3)
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(height, INNER)) for height in heights]
    operand = rng.normal(size=(INNER, 4))
    full = [np.pad(block, ((0, 6 - len(block)), (0, 0))) for block in blocks]
    shares = [*blocks, *combine(made.code.generator(), full, field=field)[4:]]
    results = [(a @ operand, row_lengths(a), row_lengths(operand.T)) for a in shares]
    shapes = [(height, 4) for height in heights]
    how = Verification.asked("correct", INNER)
    for wrong in (None, 0, 3, 5):
        given = [(r.copy(), *lengths) for r, *lengths in results]
        if wrong is not None:
            given[wrong][0][2, 2] += 1
        with warnings.catch_warnings(action="ignore", category=WrongResultWarning):
            outputs = verified(how, made.code, "g", range(7), *given, shapes=shapes)
        for output, block in zip(outputs, blocks, strict=True):
            np.testing.assert_allclose(output, block @ operand, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("inner", [1, 7, 300, 5000])
def test_rounding_stays_within_its_bound(dtype: str, inner: int) -> None:
    """Against long doubles, for data that rounds well and data that rounds badly."""
    code = MDS(5, 3)
    how = Verification.asked("detect", inner)
    everyone = tuple(range(5))
    check: Any = code.checker(everyone)
    bound = unit_rounding(how, code, everyone, check, np.dtype(dtype), 24)
    for scale in (1e-12, 1.0, 1e12):
        made = Made(code, dtype, inner=inner, scale=scale)
        wide = np.clongdouble if dtype.startswith("c") else np.longdouble
        residual = sum(
            check[:, i, None, None].astype(wide) * made.results[i][0].astype(wide) for i in everyone
        )
        rows = np.max([r[1] for r in made.results], axis=0)
        columns = np.max([r[2] for r in made.results], axis=0)
        assert (np.abs(residual) <= bound * rows[:, None] * columns).all()


@pytest.mark.parametrize("data", ["constant", "sorted", "cancelling"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_data_that_rounds_one_way(data: str, dtype: str) -> None:
    code, inner = MDS(5, 3), 4000
    rng = np.random.default_rng(0)
    blocks = [np.full((4, inner), 0.1 + i / 7) for i in range(3)]
    if data == "sorted":
        blocks = [np.sort(rng.normal(size=(4, inner))) for _ in range(3)]
    operand = np.full((inner, 3), 0.3)
    if data == "cancelling":
        operand[::2] *= -1
    blocks, operand = [block.astype(dtype) for block in blocks], operand.astype(dtype)
    results = [
        measured_result(PlainArithmetic(np.matmul, dtype), None, None, a, operand)
        for a in combine(code.generator(), blocks)
    ]
    outputs = verified(Verification.asked("detect", inner), code, "g", range(5), *results)
    expected = [block.astype(float) @ operand.astype(float) for block in blocks]
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-3)


def test_what_may_be_asked() -> None:
    assert Verification.asked("detect", 9) == Verification(False, 0, 9)
    assert Verification.asked("correct", 9) == Verification(True, 1, 9)
    assert Verification.asked(3, 9) == Verification(True, 3, 9)
    for nonsense in ("repair", 0, -1, True, 1.5):
        with pytest.raises(ParameterError, match="choose 'detect'"):
            Verification.asked(nonsense, 9)  # type: ignore[arg-type]


def test_unfit_and_void_shares() -> None:
    made = Made(MDS(6, 3))
    made.results[4] = object()
    made.check(made.verified())
    with pytest.raises((UnverifiableError, NotDecodableError)):
        made.verified(shares=[0, 1])
