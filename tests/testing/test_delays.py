"""Delay distributions against scipy's, which knows them from elsewhere."""

from typing import Any

import numpy as np
import pytest
import scipy.stats

from dask_coded.errors import ParameterError
from dask_coded.testing import Bimodal, ConstantDelay, ParetoDelay, ShiftedExponential
from dask_coded.testing._delays import delay_from_dict, delay_to_dict

DELAYS = [
    ConstantDelay(0.3),
    ShiftedExponential(0.1, 0.4),
    ParetoDelay(0.2, 3.0),
    Bimodal(0.1, 2.0, 0.25),
]


def samples(delay: Any, count: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(20260101)
    return np.array([delay.sample(rng) for _ in range(count)])


@pytest.mark.parametrize(
    ("delay", "oracle"),
    [
        (ShiftedExponential(0.1, 0.4), scipy.stats.expon(loc=0.1, scale=0.4)),
        (ParetoDelay(0.2, 1.5), scipy.stats.pareto(1.5, scale=0.2)),
    ],
)
def test_samples_follow_the_distribution(delay: Any, oracle: Any) -> None:
    assert scipy.stats.kstest(samples(delay), oracle.cdf).pvalue > 0.01
    assert delay.mean == pytest.approx(oracle.mean())


def test_bimodal_is_slow_as_often_as_it_says() -> None:
    drawn = samples(Bimodal(0.0, 5.0, 0.25))
    assert set(drawn) == {0.0, 5.0}
    assert scipy.stats.binomtest(int((drawn == 5.0).sum()), drawn.size, 0.25).pvalue > 0.01


@pytest.mark.parametrize("delay", DELAYS, ids=repr)
def test_mean_is_that_of_the_samples(delay: Any) -> None:
    drawn = samples(delay)
    error = 5 * drawn.std() / np.sqrt(drawn.size)
    assert drawn.mean() == pytest.approx(delay.mean, abs=error + 1e-12)


def test_a_heavy_tail_has_no_mean() -> None:
    assert ParetoDelay(1.0, 1.0).mean == float("inf")


@pytest.mark.parametrize("delay", DELAYS, ids=repr)
def test_dict_round_trip(delay: Any) -> None:
    assert delay_from_dict(delay_to_dict(delay)) == delay


def test_only_our_own_delays_are_written_down() -> None:
    with pytest.raises(ParameterError, match="cannot be written down"):
        delay_to_dict(0.5)
    with pytest.raises(ParameterError, match="no delay is called 'weibull'"):
        delay_from_dict({"name": "weibull", "configuration": {}})


@pytest.mark.parametrize(
    ("family", "values"),
    [
        (ConstantDelay, (-1.0,)),
        (ShiftedExponential, (0.0, 0.0)),
        (ShiftedExponential, (-0.1, 1.0)),
        (ParetoDelay, (0.0, 1.0)),
        (ParetoDelay, (1.0, 0.0)),
        (Bimodal, (0.0, 1.0, 1.5)),
        (Bimodal, (-1.0, 1.0, 0.5)),
    ],
)
def test_impossible_parameters_are_refused(family: Any, values: tuple[float, ...]) -> None:
    with pytest.raises(ParameterError, match="cannot be"):
        family(*values)
