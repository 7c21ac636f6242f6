"""Codes that look right and lose every digit: shown failing, so that nobody brings them back.

None is registered. Each has the any-k property over exact numbers.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from dask_coded.codes import MDS, AbstractCode, AbstractLinearCode
from dask_coded.errors import NotDecodableError
from dask_coded.fields import PAIRED, REAL, Field
from dask_coded.testing import loss_patterns


@dataclass(frozen=True)
class AbstractBadCode(AbstractLinearCode):
    n_shares: int
    k: int
    field: Field = REAL

    @property
    def recovery_threshold(self) -> int:
        return self.k

    def systematic(self, parity: Any) -> Any:
        return np.concatenate(
            [np.eye(self.k), parity / np.linalg.norm(parity, axis=1, keepdims=True)]
        )


@dataclass(frozen=True)
class Vandermonde(AbstractBadCode):
    def generator(self, operand: int = 0) -> Any:
        return np.vander(np.linspace(-1, 1, self.n_shares), self.k, increasing=True)


@dataclass(frozen=True)
class Cauchy(AbstractBadCode):
    def generator(self, operand: int = 0) -> Any:
        rows, columns = np.arange(self.n_shares - self.k), np.arange(self.k)
        return self.systematic(1 / (rows[:, None] + self.k + 0.5 - columns[None]))


@dataclass(frozen=True)
class RandomSigns(AbstractBadCode):
    def generator(self, operand: int = 0) -> Any:
        stream = np.random.default_rng(0)
        return self.systematic(stream.choice([-1.0, 1.0], (self.n_shares - self.k, self.k)))


def worst_error(code: AbstractCode, n_random: int = 50) -> float:
    """Largest error of decoded outputs of size one, over random losses and all runs."""
    responses: Any = code.responses()
    truth = np.random.default_rng(1).standard_normal(responses.shape[1])
    if code.field == PAIRED:
        truth = truth + 1j * np.random.default_rng(2).standard_normal(truth.shape)
    results = responses @ truth
    worst = 0.0
    for lost in loss_patterns(code, code.n_shares - code.recovery_threshold, n_random):
        decoder = code.decoder(set(range(code.n_shares)) - set(lost))
        decoded = decoder.weights @ results[list(decoder.shares)]
        worst = max(worst, float(np.abs(decoded - truth).max()))
    return worst


@pytest.mark.parametrize("code", [MDS(32, 28), MDS(32, 28, field=PAIRED)], ids=repr)
def test_what_the_library_uses_instead(code: AbstractCode) -> None:
    assert worst_error(code) < 1e-11


def test_vandermonde_on_real_points_has_no_digits_left() -> None:
    assert worst_error(Vandermonde(32, k=28)) > 1e-3
    # Small ones still work, which is how they get into use.
    assert worst_error(Vandermonde(8, k=6)) < 1e-11


def test_cauchy_parity_fails_from_three_losses_on() -> None:
    assert worst_error(Cauchy(30, k=28)) < 1e-10
    assert worst_error(Cauchy(31, k=28)) > 1e-10
    assert worst_error(Cauchy(36, k=28)) > 1e-3


def test_random_signs_have_singular_minors_from_two_parities_on() -> None:
    code = RandomSigns(12, k=10)
    parity: Any = code.generator()[10:]
    singular = [
        pair
        for pair in itertools.combinations(range(10), 2)
        if abs(np.linalg.det(parity[:, list(pair)])) < 1e-12
    ]
    # Two columns of signs are parallel with probability one half.
    assert len(singular) > 10
    survivors = sorted(set(range(12)) - set(singular[0]))
    # The threshold is claimed, so the set counts as decodable; that it is not shows in the numbers.
    decoder = code.decoder(survivors)
    assert decoder.residual > 0.1
    assert decoder.amplification > 1e14


def test_one_fewer_than_claimed_is_still_refused() -> None:
    with pytest.raises(NotDecodableError):
        RandomSigns(12, k=10).decoder(range(9))


def test_the_numbers_tell_before_the_data_do() -> None:
    """Amplification, which stops a computation from decoding, predicts each of these failures."""
    for code in (Vandermonde(32, k=28), Cauchy(36, k=28)):
        amplification = max(
            code.decoder(set(range(code.n_shares)) - set(lost)).amplification
            for lost in loss_patterns(code, code.n_shares - code.k, 50)
        )
        assert amplification > 1e10
