"""Noise is uniform, and shares say nothing: counted, with planted failures that must be noticed.

Counts of real noise vary from run to run, as noise from a seed would be no noise. A chi-square
statistic here is compared with a quantile that a right implementation exceeds once in a billion
runs, and each planted failure exceeds it by far.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dask_coded.codes import (
    AbstractPrivateCode,
    PrivateBivariate,
    PrivateEntangled,
    PrivateLagrange,
)
from dask_coded.fields import PrimeField
from dask_coded.private import _noise, _product
from dask_coded.private._noise import uniform

F7, F11 = PrimeField(7), PrimeField(11)
ONCE_IN = 1e9


def surprising(counts: np.ndarray) -> bool:
    """Whether these counts of equally likely cells are beyond chance."""
    expected = counts.sum() / counts.size
    statistic = ((counts - expected) ** 2 / expected).sum()
    return bool(statistic > stats.chi2.isf(1 / ONCE_IN, counts.size - 1))


def different(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two samples of the same size come from different distributions, beyond chance."""
    total = first + second
    seen = total > 0
    statistic = ((first - second)[seen] ** 2 / total[seen]).sum()
    return bool(statistic > stats.chi2.isf(1 / ONCE_IN, max(int(seen.sum()) - 1, 1)))


@pytest.mark.parametrize("p", [2, 3, 7, 257, 65537, 2**31 - 1, 2**61 - 1])
def test_noise_is_uniform(p: int) -> None:
    drawn = uniform(p, (300, 200))
    assert drawn.dtype == np.int64
    assert drawn.min() >= 0
    assert drawn.max() < p
    cells = min(p, 64)
    # Cells of equal size, up to one number of very many.
    counts = np.bincount((drawn.astype(object) * cells // p).astype(int).ravel(), minlength=cells)
    sizes = np.diff([-(-cell * p // cells) for cell in range(cells + 1)]).astype(float)
    expected = sizes / p * drawn.size
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert statistic < stats.chi2.isf(1 / ONCE_IN, cells - 1)


def test_a_remainder_would_be_noticed() -> None:
    """What rejection is for: a byte modulo 7 prefers 0 to 3."""
    drawn = np.random.default_rng(0).integers(0, 256, 2_000_000) % 7
    assert surprising(np.bincount(drawn))
    assert not surprising(np.bincount(uniform(7, (2_000_000,)).ravel()))


def test_noise_is_never_the_same() -> None:
    assert (uniform(2**61 - 1, (64,)) != uniform(2**61 - 1, (64,))).any()


def test_large_draws_are_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_noise, "_AT_ONCE", 5)
    assert uniform(5, (7, 11)).shape == (7, 11)
    assert uniform(5, (0, 3)).shape == (0, 3)


def histogram(
    code: AbstractPrivateCode, operand: int, coalition: list[int], value: int, samples: int
) -> np.ndarray:
    """How often each combination of shares is given to a coalition, for blocks of one value."""
    field = code.field
    assert isinstance(field, PrimeField)
    n_blocks = code.generator(operand).shape[1]
    blocks = [np.full((1, samples), (value * (j + 1)) % field.p) for j in range(n_blocks)]
    shares = _product._shares(code, operand, blocks, coalition, field)
    cells = np.ravel_multi_index([share[0] for share in shares], (field.p,) * len(coalition))
    return np.bincount(cells, minlength=field.p ** len(coalition))


CODES: list[AbstractPrivateCode] = [
    PrivateEntangled(6, 1, 1, 1, colluding=2, field=F11),
    PrivateEntangled(7, 2, 1, 1, colluding=2, field=F11),
    PrivateLagrange(5, 1, 2, colluding=2, field=F11),
]
SAMPLES = 40_000
STREAM = np.random.default_rng(1)


@pytest.mark.parametrize("code", CODES, ids=repr)
@pytest.mark.parametrize("coalition", [[0, 1], [1, 4], [0, 3]], ids=str)
def test_shares_of_two_inputs_look_alike(code: AbstractPrivateCode, coalition: list[int]) -> None:
    for operand in range(len(code.operand_grids)):
        zeros = histogram(code, operand, coalition, 0, SAMPLES)
        fives = histogram(code, operand, coalition, 5, SAMPLES)
        assert not different(zeros, fives)
        assert not surprising(zeros)
        assert not surprising(fives)


M31 = PrimeField(2**31 - 1)
#: Its prime is far too large for a cell to each value of its shares.
BIVARIATE = PrivateBivariate(12, 1, 2, 2, colluding=2, field=M31)


def seen(code: AbstractPrivateCode, operand: int, coalition: list[int], value: int) -> np.ndarray:
    """All shares that a coalition of workers is given, ``(shares, SAMPLES)``."""
    given = [share for worker in coalition for share in code.workers[worker]]
    if operand == 0:
        # Of the left operand all sub-tasks of a worker have the same.
        given = [code.workers[worker][0] for worker in coalition]
    n_blocks = code.generator(operand).shape[1]
    blocks = [np.full((1, SAMPLES), value * (j + 1)) for j in range(n_blocks)]
    assert isinstance(code.field, PrimeField)
    shares = _product._shares(code, operand, blocks, given, code.field)
    return np.stack([share[0] for share in shares])


def binned(shares: np.ndarray, p: int) -> np.ndarray:
    """Counts of equal intervals of all shares together, about 4096 cells."""
    bins = {1: 4096, 2: 64, 3: 16, 4: 8}[len(shares)]
    cells = np.ravel_multi_index(list(shares * bins // p), (bins,) * len(shares))
    return np.bincount(cells, minlength=bins ** len(shares))


@pytest.mark.parametrize("coalition", [[0, 1], [1, 4], [0, 5]], ids=str)
@pytest.mark.parametrize("operand", [0, 1])
def test_intervals_of_bivariate_shares_look_alike(operand: int, coalition: list[int]) -> None:
    """The shares, and sums of them with random weights: what depends on an input would show."""
    zeros, large = (seen(BIVARIATE, operand, coalition, value) for value in (0, 2**27 + 5))
    assert len(zeros) == (2 if operand == 0 else 4)
    weights = STREAM.integers(1, M31.p, (3, len(zeros)))
    pairs = [
        (zeros, large),
        *zip(M31.matmul(weights, zeros), M31.matmul(weights, large), strict=True),
    ]
    for first, second in pairs:
        counts = [binned(np.atleast_2d(each), M31.p) for each in (first, second)]
        assert not different(*counts)
        assert not surprising(counts[0])
        assert not surprising(counts[1])


@pytest.mark.parametrize("operand", [0, 1])
def test_one_worker_more_sees_through_bivariate_noise(operand: int) -> None:
    """Three workers have a sum without noise, and its intervals tell."""
    zeros, large = (seen(BIVARIATE, operand, [0, 1, 2], value) for value in (0, 2**27 + 5))
    shares = [share for worker in (0, 1, 2) for share in BIVARIATE.workers[worker]]
    shares = shares[::2] if operand == 0 else shares
    free = M31.left_null(BIVARIATE.noise(operand)[shares])
    assert len(free)
    counts = [binned(M31.matmul(free[:1], each), M31.p) for each in (zeros, large)]
    assert different(*counts)


def seeded(p: int, shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(0).integers(0, p, shape)


def missing(p: int, shape: tuple[int, ...]) -> Any:
    return np.zeros(shape, np.int64)


def biased(p: int, shape: tuple[int, ...]) -> Any:
    return STREAM.integers(0, 16, shape) % p


def recycled(p: int, shape: tuple[int, ...]) -> Any:
    return np.resize(uniform(p, (shape[0], 100)), shape)


@pytest.mark.parametrize("failure", [missing, biased, recycled])
@pytest.mark.parametrize("operand", [0, 1])
def test_bad_noise_of_bivariate_shares_is_noticed(
    failure: Callable[..., Any], operand: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noise that repeats itself from block to block does not show in intervals, but in residues."""
    monkeypatch.setattr(_product, "uniform", failure)
    zeros, large = (
        binned(seen(BIVARIATE, operand, [0, 1], value), M31.p) for value in (0, 2**27 + 5)
    )
    assert different(zeros, large) or surprising(zeros)


@pytest.mark.parametrize("failure", [seeded, missing, biased, recycled])
def test_bad_noise_is_noticed(failure: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    code = CODES[0]
    monkeypatch.setattr(_product, "uniform", failure)
    zeros, fives = (histogram(code, 0, [0, 1], value, SAMPLES) for value in (0, 5))
    assert different(zeros, fives) or surprising(zeros)


def test_one_worker_more_is_noticed() -> None:
    code = CODES[0]
    zeros, fives = (histogram(code, 0, [0, 1, 2], value, SAMPLES) for value in (0, 5))
    assert different(zeros, fives)


def test_nobody_sows_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise comes from the system's generator only, and for every share anew."""
    asked: list[int] = []
    true = _noise.os.urandom

    def counted(size: int) -> bytes:
        asked.append(size)
        return true(size)

    monkeypatch.setattr(_noise.os, "urandom", counted)
    code = PrivateEntangled(9, 1, 2, 1, colluding=2)
    blocks = [np.ones((3, 4), np.int64)] * 2
    _product._shares(code, 0, blocks, list(range(9)), code.field)
    # Two noise blocks of 12 numbers of 8 bytes, at the least.
    assert sum(asked) >= 2 * 12 * 8
