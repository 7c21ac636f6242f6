"""Comparing measured results: what is right passes, what is wrong is found, and never guessed."""

import warnings
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_coded.codes import MDS, AbstractCode, MatDot, Replication
from dask_coded.errors import (
    AmplificationWarning,
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

    def check_shapes(self, outputs: Any) -> None:
        assert [output.shape for output in outputs] == [output.shape for output in self.outputs]


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
        with pytest.raises(WrongResultError, match=rf"shares \[{share}\],"):
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


def inflated(made: Made, share: int, side: int, place: int, factor: float) -> None:
    """Lengths of a share that are too large, or too small, at one place."""
    lengths = [np.array(each) for each in made.results[share][1:]]
    lengths[side][place] *= factor
    made.results[share] = (made.results[share][0], *lengths)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("where", ["same", "other"])
@pytest.mark.parametrize("code", [MDS(9, 5), MDS(10, 5, field=PAIRED), MatDot(9, 3)], ids=repr)
def test_lengths_cannot_hide_a_wrong_entry(code: AbstractCode, where: str, side: int) -> None:
    for share in range(code.n_shares):
        made = Made(code, seed=share)
        liar = share if where == "same" else (share + 1) % code.n_shares
        inflated(made, liar, side, 2, 1e12)
        made.results[share][0][2, 2] += 1e-3
        with pytest.warns(WrongResultWarning, match=r"shares \[") as caught:
            made.check(made.verified())
        named = str(caught[0].message).partition("[")[2].partition("]")[0]
        assert {int(name) for name in named.split(",")} == {share, liar}
        with pytest.raises(WrongResultError):
            made.verified("detect")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("side", [0, 1])
def test_bits_of_lengths(dtype: str, side: int) -> None:
    """Right outputs whatever bit is flipped; those that would hide errors are noticed."""
    bits = np.dtype(dtype).itemsize * 8
    for bit in range(bits):
        made = Made(MDS(8, 4), dtype, seed=bit)
        lengths = [each.astype(dtype) for each in made.results[bit % 8][1:]]
        before = lengths[side][1].copy()
        flat = lengths[side].view(f"u{bits // 8}")
        flat[1] ^= flat.dtype.type(1 << bit)
        made.results[bit % 8] = (made.results[bit % 8][0], *lengths)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", WrongResultWarning)
            made.check(made.verified())
        if np.isfinite(lengths[side][1]) and lengths[side][1] > 100 * before:
            assert f"shares [{bit % 8}]" in str(caught[0].message)
        # And an error beside them is found all the same.
        made.results[(bit + 3) % 8][0][1, 1] += 1.0
        with pytest.warns(WrongResultWarning, match=rf"{(bit + 3) % 8}"):
            made.check(made.verified())


def test_two_copies_cannot_tell_whose_lengths_are_wrong() -> None:
    made = Made(Replication(6, 3))
    inflated(made, 4, 0, 1, 1e6)
    with pytest.raises(WrongResultError, match="cannot be told"):
        made.verified()


@pytest.mark.parametrize("code", CODES, ids=repr)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_lengths_of_any_data_are_believed(code: AbstractCode, dtype: str) -> None:
    """Rows of any sizes beside each other, zeros, and rows that are alike but for rounding."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        count = code.operand_grids[0][-1] if code.operation == "matmul" else code.k
        low, high = (-2, 2) if dtype == "float16" else (-15, 15)
        blocks = [
            (rng.normal(size=(6, INNER)) * 10.0 ** rng.uniform(low, high, (6, 1))).astype(dtype)
            for _ in range(count)
        ]
        blocks[0][seed % 6] = 0
        if seed % 3 == 0:
            blocks[-1] = -blocks[0]
        a = combine(code.generator(), blocks, field=code.field)
        operand = rng.normal(size=(INNER, 4)).astype(dtype)
        b = [operand] * code.n_shares
        if code.operation == "matmul":
            b = list(combine(code.generator(1), [operand] * count, field=code.field))
        arithmetic = PlainArithmetic(np.matmul, dtype)
        results = [
            measured_result(arithmetic, None, None, *pair) for pair in zip(a, b, strict=True)
        ]
        verified(Verification.asked("detect", INNER), code, "g", range(code.n_shares), *results)


def test_decoding_from_few_results_says_what_it_costs() -> None:
    """All shares together lose nothing; without the wrong ones digits are lost."""
    code, wrong = MDS(14, 9, parity="gaussian"), range(5, 9)
    amplification = code.decoder(set(range(14)) - set(wrong)).amplification
    assert amplification > 50 * code.decoder(range(14)).amplification
    made = Made(code)
    rng = np.random.default_rng(0)
    for share in wrong:
        made.results[share][0][...] = rng.normal(size=(6, 4))
    how, eps = Verification.asked("correct", INNER), np.finfo(float).eps

    def outputs(tolerance: float) -> Any:
        return verified(how, code, "g", range(14), *made.results, tolerance=tolerance)

    with (
        pytest.warns(WrongResultWarning),
        pytest.warns(AmplificationWarning, match="from the results that are right"),
    ):
        outputs(0.9 * amplification * eps)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outputs(1.1 * amplification * eps)
    assert [warning.category for warning in caught] == [WrongResultWarning]


@pytest.mark.parametrize("columns", [0, 4])
@pytest.mark.parametrize("code", CODES, ids=repr)
def test_results_without_entries(code: AbstractCode, columns: int) -> None:
    made = Made(code, columns=columns, rows=6 if columns == 0 else 0)
    made.check_shapes(made.verified())


@pytest.mark.parametrize("rows", [1, 5, 7])
def test_odd_rows_of_pairs(rows: int) -> None:
    """Copies are not continued with zeros, as shares are that pair their rows."""
    code = Replication(9, 3, field=PAIRED)
    for wrong in (None, rows - 1):
        made = Made(Replication(9, 3), rows=rows)
        made.code = code
        if wrong is not None:
            made.results[4][0][wrong, 1] += 1.0
        with pytest.warns(WrongResultWarning) if wrong is not None else nullcontext():
            outputs = made.verified()
        for output, expected in zip(outputs, made.outputs, strict=True):
            np.testing.assert_allclose(output[:rows], expected, atol=1e-9)
