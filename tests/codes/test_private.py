"""Private codes: thresholds as formulas, and privacy as a rank, both against galois.

What must be caught is planted too: T + 1 workers, noise that is left out, noise that a worker sees
less of than it needs.
"""

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_coded.codes import (
    AbstractPrivateCode,
    PrivateBivariate,
    PrivateEntangled,
    PrivateLagrange,
)
from dask_coded.errors import ParameterError
from dask_coded.fields import PrimeField
from dask_coded.testing import CODES
from dask_coded.typing import Array

M31 = PrimeField(2**31 - 1)
F257 = PrimeField(257)
PRIVATE = [code for code in CODES if isinstance(code, AbstractPrivateCode)]


@pytest.fixture(scope="module")
def galois() -> Any:
    return pytest.importorskip("galois")


def over(galois: Any, code: AbstractPrivateCode) -> Any:
    # Interpreted: compiling for the few numbers here would take longer than the tests.
    return galois.GF(int(code.field.name.partition(":")[2]), compile="python-calculate")


def entangled(spare: int, m: int, p: int, n: int, t: int) -> PrivateEntangled:
    return PrivateEntangled((m * p + t) * (n + 1) - 1 + spare, m, p, n, t, F257)


def lagrange(spare: int, k: int, degree: int, t: int) -> PrivateLagrange:
    return PrivateLagrange(degree * (k + t - 1) + 1 + spare, k, degree, t, F257)


def bivariate(spare: int, m: int, n: int, s: int, t: int) -> PrivateBivariate:
    needed = (m + t) * n + s * (m + t - 1)
    return PrivateBivariate(-(-(needed + spare) // s) * s, m, n, s, t, field=M31)


FORMULAS: list[AbstractPrivateCode] = [
    *(entangled(2, *each) for each in [(1, 2, 1, 1), (1, 3, 1, 2), (2, 1, 2, 1), (2, 2, 2, 1)]),
    *(entangled(2, *each) for each in [(1, 1, 1, 3), (3, 1, 1, 2), (1, 2, 3, 2)]),
    *(lagrange(2, *each) for each in [(1, 2, 1), (3, 2, 1), (2, 2, 3), (2, 3, 2), (3, 1, 2)]),
    *(bivariate(2, *each) for each in [(2, 2, 1, 1), (2, 2, 2, 1), (1, 3, 2, 1), (2, 3, 3, 2)]),
]


@pytest.mark.parametrize("code", FORMULAS, ids=repr)
def test_threshold_is_a_rank(galois: Any, code: AbstractPrivateCode) -> None:
    """As many results as the formula says determine the outputs, one fewer only by luck."""
    field = over(galois, code)
    responses, targets = field(code.responses()), field(code.targets())
    stream = np.random.default_rng(0)

    def determined(survivors: list[int]) -> bool:
        rows = responses[survivors]
        both = field(np.concatenate([rows, targets]))
        return bool(np.linalg.matrix_rank(rows) == np.linalg.matrix_rank(both))

    least = code.recovery_threshold
    orders = [stream.permutation(code.n_shares).tolist() for _ in range(4)]
    assert all(determined(sorted(order[:least])) for order in orders)
    assert not all(determined(sorted(order[: least - 1])) for order in orders)


def test_every_profile_of_a_bivariate_code_decodes() -> None:
    """However the threshold's products are spread over slow and fast workers."""
    code = PrivateBivariate(12, m=1, n=2, per_worker=2, colluding=1, field=M31)
    assert code.recovery_threshold == 6
    for survivors in itertools.combinations(range(12), 6):
        assert code.decoder(survivors).shares


def subsets(n: int, size: int) -> list[tuple[int, ...]]:
    """All where few, sampled ones and runs where many."""
    if math.comb(n, size) <= 300:
        return list(itertools.combinations(range(n), size))
    stream = np.random.default_rng(0)
    drawn = {tuple(sorted(stream.choice(n, size, replace=False).tolist())) for _ in range(60)}
    return [*drawn, *(tuple(range(start, start + size)) for start in range(n - size + 1))]


def distinct_rows(noise: Any) -> Any:
    """The shares of one worker may be the same one share."""
    return np.unique(noise, axis=0)


LARGE: list[AbstractPrivateCode] = [
    PrivateEntangled(40, 2, 2, 2, 5, F257),
    PrivateLagrange(60, 10, 2, 7, F257),
    PrivateBivariate(120, 3, 4, 4, 6, field=M31),
]


@pytest.mark.parametrize("code", dict.fromkeys([*PRIVATE, *FORMULAS, *LARGE]), ids=repr)
def test_noise_of_every_coalition_is_regular(galois: Any, code: AbstractPrivateCode) -> None:
    """The noise coefficients of any T workers are a regular matrix: their shares are uniform."""
    field = over(galois, code)
    for coalition in subsets(len(code.workers), code.colluding):
        seen = [share for worker in coalition for share in code.workers[worker]]
        for operand in range(len(code.operand_grids)):
            noise = distinct_rows(code.noise(operand)[seen])
            assert noise.shape[0] == noise.shape[1]
            assert np.linalg.matrix_rank(field(noise)) == len(noise)
        assert code.hides(coalition)


@pytest.mark.parametrize("code", dict.fromkeys([*PRIVATE, *FORMULAS]), ids=repr)
def test_one_worker_more_is_told_something(code: AbstractPrivateCode) -> None:
    for coalition in subsets(len(code.workers), code.colluding + 1):
        assert not code.hides(coalition)


def test_no_workers_know_nothing_and_unknown_ones_are_refused() -> None:
    code = PRIVATE[0]
    assert code.hides([])
    with pytest.raises(ParameterError, match="has workers 0 to"):
        code.hides([len(code.workers)])


@pytest.mark.parametrize("code", PRIVATE, ids=repr)
def test_a_worker_has_one_left_share(code: AbstractPrivateCode) -> None:
    for shares in code.workers:
        assert len(np.unique(code.generator(0)[list(shares)], axis=0)) == 1
    assert sorted(itertools.chain(*code.workers)) == list(range(code.n_shares))


@dataclass(frozen=True)
class Careless(AbstractPrivateCode):
    """What not to do: the first share is a block, or there is less noise than workers."""

    inner: PrivateLagrange
    mistake: str

    field = property(lambda self: self.inner.field)
    n_shares = property(lambda self: self.inner.n_shares)
    colluding = property(lambda self: self.inner.colluding)
    operand_grids = property(lambda self: self.inner.operand_grids)
    output_grid = property(lambda self: self.inner.output_grid)
    recovery_threshold = property(lambda self: self.inner.recovery_threshold)

    def generator(self, operand: int = 0) -> Array:
        return self.inner.generator(operand)

    def responses(self) -> Array:
        return self.inner.responses()

    def targets(self) -> Array:
        return self.inner.targets()

    def noise(self, operand: int = 0) -> Array:
        noise = self.inner.noise(operand).copy()
        if self.mistake == "systematic":
            noise[0] = 0
        elif self.mistake == "too little":
            noise = noise[:, :-1]
        elif self.mistake == "the same twice":
            noise[:, 1] = noise[:, 0]
        return noise


@pytest.mark.parametrize(
    ("mistake", "found"),
    [("none", False), ("systematic", True), ("too little", True), ("the same twice", True)],
)
def test_planted_leaks_are_found(mistake: str, found: bool) -> None:
    code = Careless(PrivateLagrange(9, 2, 2, colluding=2, field=F257), mistake)
    leaks = [pair for pair in itertools.combinations(range(9), 2) if not code.hides(pair)]
    assert bool(leaks) == found


@given(st.data())
def test_thresholds_and_privacy_of_any_parameters(data: st.DataObject) -> None:
    """Any m, p, n and T: as many shares as the formula says decode, T workers learn nothing."""
    small = st.integers(1, 3)
    kind = data.draw(st.sampled_from([entangled, lagrange, bivariate]))
    if kind is bivariate:
        m, n, t = (data.draw(small) for _ in range(3))
        code: AbstractPrivateCode = bivariate(1, m, n, data.draw(st.integers(1, n)), t)
    elif kind is entangled:
        code = entangled(1, *(data.draw(small) for _ in range(4)))
    else:
        code = lagrange(1, *(data.draw(small) for _ in range(3)))
    shares = data.draw(st.permutations(range(code.n_shares)))
    assert code.decoder(shares[: code.recovery_threshold]).shares
    workers = data.draw(st.permutations(range(len(code.workers))))
    assert code.hides(workers[: code.colluding])


def test_points_of_a_bivariate_code_follow_its_seed() -> None:
    code = PrivateBivariate(12, 2, 2, 2, 1, field=M31)
    assert (code.generator(1) != replace(code, seed=1).generator(1)).any()
    assert (code.generator(0) == replace(code, seed=1).generator(0)).all()
