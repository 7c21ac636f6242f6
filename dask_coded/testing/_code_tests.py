"""The conformance suite of codes, for this package's families and for anybody's.

Subclass it in a test module and name the codes::

    class TestMyCode(CodeTests):
        codes = (MyCode(5, k=3), MyCode(40, k=30))
"""

import dataclasses
import itertools
import json
import math
import pickle
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from dask_coded.codes import AbstractCode
from dask_coded.errors import NotDecodableError, UnknownShareError
from dask_coded.kernels import combine
from dask_coded.testing._losses import subsets
from dask_coded.testing._oracles import determines, end_to_end

__all__ = ["CodeTests"]

_MOST_SUBSETS = 1500
_SAMPLES = 120


class CodeTests:
    """What every code must do; one test per law."""

    #: The codes under test.
    codes: ClassVar[Sequence[AbstractCode]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "code" in metafunc.fixturenames:
            metafunc.parametrize("code", self.codes, ids=repr)

    def test_shapes(self, code: AbstractCode) -> None:
        """Generator, responses and targets agree with the grids."""
        n_blocks = [math.prod(grid) for grid in code.operand_grids]
        for operand, blocks in enumerate(n_blocks):
            generator = code.generator(operand)
            assert generator.shape == (code.n_shares, blocks)
            assert generator.dtype == code.field.dtype
        responses, targets = code.responses(), code.targets()
        assert responses.shape[0] == code.n_shares
        assert targets.shape == (math.prod(code.output_grid), responses.shape[1])
        assert 1 <= code.recovery_threshold <= code.n_shares
        assert sorted(code.ring) == list(range(code.n_shares))

    def test_is_a_value(self, code: AbstractCode) -> None:
        """Equal parameters make equal codes; only parameters are stored, sent and compared."""
        names = [entry.name for entry in dataclasses.fields(code)]  # type: ignore[arg-type]
        twin = type(code)(**{name: getattr(code, name) for name in names})
        assert twin == code
        assert hash(twin) == hash(code)
        code.decoder(range(code.n_shares))
        assert set(vars(code)) == set(names)
        assert pickle.loads(pickle.dumps(code)) == code
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(code, names[0], None)

    def test_round_trip(self, code: AbstractCode) -> None:
        """``from_dict(to_dict())`` gives the code back, through JSON."""
        assert AbstractCode.from_dict(json.loads(json.dumps(code.to_dict()))) == code

    def test_matrices_are_reproducible(self, code: AbstractCode) -> None:
        """Computed twice, the matrices agree to the last bit."""
        np.testing.assert_array_equal(code.responses(), code.responses())

    def test_threshold_shares_decode(self, code: AbstractCode) -> None:
        """Any ``recovery_threshold`` shares decode: all sets when few, else sampled ones."""
        for survivors in subsets(code, code.recovery_threshold):
            assert code.is_decodable(survivors)
            check_weights(code, survivors)

    def test_threshold_is_tight(self, code: AbstractCode) -> None:
        """Some set with one share fewer does not decode, where the family says so."""
        if not code.tight or code.recovery_threshold == 1:
            pytest.skip("the family does not claim a tight threshold above one share")
        fewer = list(subsets(code, code.recovery_threshold - 1))
        if any(not code.is_decodable(survivors) for survivors in fewer):
            return
        complete = len(fewer) == math.comb(code.n_shares, code.recovery_threshold - 1)
        assert not complete, "every smaller set decodes: the threshold is too high"
        pytest.skip("no undecodable set among the samples")

    def test_is_decodable_equals_the_algebra(self, code: AbstractCode) -> None:
        """Survivors decode exactly when the targets lie in the row space of their responses."""
        if 2**code.n_shares <= _MOST_SUBSETS:
            sets = [
                chosen
                for size in range(code.n_shares + 1)
                for chosen in itertools.combinations(range(code.n_shares), size)
            ]
        else:
            stream = np.random.default_rng(1)
            sizes = stream.integers(0, code.n_shares + 1, _SAMPLES)
            sets = [tuple(stream.choice(code.n_shares, size, replace=False)) for size in sizes]
        for survivors in sets:
            assert code.is_decodable(survivors) == determines(code, survivors), survivors

    def test_arrivals_one_by_one(self, code: AbstractCode) -> None:
        """Asking after each arrival gives what asking once gives, and never turns back."""
        order = np.random.default_rng(2).permutation(code.n_shares).tolist()
        answers = [code.is_decodable(order[:count]) for count in range(code.n_shares + 1)]
        assert answers == sorted(answers)
        assert not answers[0]
        assert answers[-1]
        first = answers.index(True)
        assert determines(code, order[:first])
        assert not determines(code, order[: first - 1])

    def test_end_to_end(self, code: AbstractCode) -> None:
        """Encode, compute, lose, decode: the outputs are those of plain NumPy."""
        for survivors in itertools.islice(subsets(code, code.recovery_threshold, seed=3), 12):
            found, expected, tolerance = end_to_end(code, survivors)
            if code.field.exact:
                np.testing.assert_array_equal(found, expected)
            else:
                assert np.abs(found - expected).max() <= tolerance

    def test_checker(self, code: AbstractCode) -> None:
        """Consistent results give zero; one wrong result among all shares does not."""
        everyone = range(code.n_shares)
        check: Any = code.checker(everyone)
        responses: Any = code.responses()
        left = np.asarray(code.field.matmul(check, responses))
        if code.field.exact:
            assert not left.any()
        else:
            assert np.abs(left).max(initial=0.0) <= 1e-10 * np.abs(responses).max()
            np.testing.assert_allclose(check @ check.conj().T, np.eye(len(check)), atol=1e-12)
        surplus = code.n_shares - code.field.rank(responses)
        assert check.shape == (surplus, code.n_shares)

    def test_amplification_bounds_the_error(self, code: AbstractCode) -> None:
        """Noise of size e in the results moves no output by more than ``amplification * e``."""
        if code.field.exact:
            pytest.skip("exact results carry no noise")
        stream = np.random.default_rng(4)
        for survivors in itertools.islice(subsets(code, code.recovery_threshold, seed=4), 40):
            decoder = code.decoder(survivors)
            noise = stream.uniform(-1, 1, (len(decoder.shares), 50))
            moved = np.abs(np.stack(combine(decoder.weights, list(noise), field=code.field)))
            assert moved.max() <= decoder.amplification * np.abs(noise).max() * (1 + 1e-12)

    def test_errors(self, code: AbstractCode) -> None:
        """Unknown survivors and too few survivors are named errors."""
        unknowns: list[Any] = [[code.n_shares], [-1], ["a"], [0.0], [[0]], [True]]
        for unknown in unknowns:
            with pytest.raises(UnknownShareError, match="shares 0 to"):
                code.is_decodable(unknown)
            with pytest.raises(UnknownShareError):
                code.decoder(unknown)
        with pytest.raises(NotDecodableError, match="Wait for more shares"):
            code.decoder([])
        with pytest.raises(NotDecodableError, match="Offer more shares"):
            code.cheapest({})

    def test_cheapest(self, code: AbstractCode) -> None:
        """The chosen set suffices, spares nothing, and its dearest share could not be cheaper."""
        costs = np.random.default_rng(5).permutation(code.n_shares).tolist()
        cost = dict(enumerate(map(float, costs)))
        chosen = code.cheapest(cost)
        assert code.is_decodable(chosen)
        for share in chosen:
            assert not code.is_decodable([other for other in chosen if other != share])
        dearest = max(cost[share] for share in chosen)
        assert not code.is_decodable([share for share in cost if cost[share] < dearest])

    @pytest.mark.parametrize("n_workers", [1, 2, 3, 5, 8])
    def test_placement(self, code: AbstractCode, n_workers: int) -> None:
        """Each share has one worker; holdings are even; neighbours are apart."""
        holdings = code.placement(n_workers)
        assert len(holdings) == n_workers
        assert sorted(itertools.chain(*holdings)) == list(range(code.n_shares))
        sizes = [len(shares) for shares in holdings]
        assert max(sizes) - min(sizes) <= 1
        worker = {share: index for index, shares in enumerate(holdings) for share in shares}
        if n_workers > 2 and code.n_shares > 2:
            ring = code.ring
            pairs = zip(ring, ring[1:] + ring[:1], strict=True)
            assert all(worker[share] != worker[neighbour] for share, neighbour in pairs)
        lost = code.tolerated_workers(n_workers)
        for gone in itertools.islice(itertools.combinations(range(n_workers), lost), 50):
            assert code.is_decodable(
                [share for share in range(code.n_shares) if worker[share] not in gone]
            )


def check_weights(code: AbstractCode, survivors: Sequence[int]) -> None:
    """``D V[S] == T`` in the code's own, uncompressed unknowns."""
    decoder = code.decoder(survivors)
    assert set(decoder.shares) <= set(survivors)
    assert decoder.weights.shape == (math.prod(code.output_grid), len(decoder.shares))
    responses: Any = code.responses()[list(decoder.shares)]
    found = code.field.matmul(decoder.weights, responses)
    targets: Any = code.targets()
    if code.field.exact:
        np.testing.assert_array_equal(found, targets)
    else:
        bound = 1e-13 * len(responses) * max(decoder.amplification, 1.0) * np.abs(responses).max()
        assert np.abs(found - targets).max() <= bound
