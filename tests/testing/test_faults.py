"""Faults of single tasks: reproducible, and what they say they are."""

import pickle
from typing import Any

import dask
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from dask_coded.errors import InjectedFaultError, ParameterError, UnsupportedOperationError
from dask_coded.testing import (
    Bimodal,
    ConstantDelay,
    ParetoDelay,
    ShiftedExponential,
    TaskFaults,
    flip_bit,
)

rates = st.floats(0, 1)
seeds = st.integers(0, 2**32)
delays = st.one_of(
    st.none(),
    st.builds(ConstantDelay, st.floats(0, 9)),
    st.builds(ShiftedExponential, st.floats(0, 9), st.floats(0.01, 9)),
    st.builds(ParetoDelay, st.floats(0.01, 9), st.floats(0.5, 9)),
    st.builds(Bimodal, st.floats(0, 9), st.floats(0, 9), rates),
)
faults = st.builds(
    TaskFaults,
    seed=seeds,
    delay=delays,
    factor=st.floats(0, 100),
    raise_rate=rates,
    corrupt_rate=rates,
    match=st.text(max_size=5),
    interruptible=st.booleans(),
    announce=st.none() | st.text(min_size=1, max_size=5),
)


@given(faults)
def test_dict_round_trip(fault: TaskFaults) -> None:
    assert TaskFaults.from_dict(fault.to_dict()) == fault
    assert pickle.loads(pickle.dumps(fault)) == fault


@given(faults, st.sampled_from(["w0", "w1"]), st.integers(0, 1000))
def test_the_same_call_meets_the_same_fault(fault: TaskFaults, worker: str, call: int) -> None:
    assert fault.decide(worker, call) == TaskFaults.from_dict(fault.to_dict()).decide(worker, call)


def test_workers_calls_and_seeds_differ() -> None:
    def drawn(seed: int, worker: str) -> list[float]:
        fault = TaskFaults(seed, delay=ShiftedExponential(0.0, 1.0))
        return [fault.decide(worker, call).delay for call in range(20)]

    values = drawn(1, "w0") + drawn(1, "w1") + drawn(2, "w0")
    assert len(set(values)) == len(values)


def test_asking_for_one_fault_does_not_shift_another() -> None:
    plain = TaskFaults(3, delay=ParetoDelay(1.0, 1.0))
    more = TaskFaults(3, delay=ParetoDelay(1.0, 1.0), raise_rate=0.5, corrupt_rate=0.5, factor=10)
    for call in range(50):
        assert more.decide("w0", call).delay == 10 * plain.decide("w0", call).delay


def test_rates_hold() -> None:
    fault = TaskFaults(5, raise_rate=0.25, corrupt_rate=0.75)
    drawn = [fault.decide("w0", call) for call in range(2000)]
    assert np.mean([one.raises for one in drawn]) == pytest.approx(0.25, abs=0.05)
    assert np.mean([one.corrupts is not None for one in drawn]) == pytest.approx(0.75, abs=0.05)


@pytest.mark.parametrize(
    "wrong", [{"raise_rate": 1.1}, {"corrupt_rate": -0.1}, {"factor": -1.0}], ids=str
)
def test_impossible_parameters_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match="rates must lie"):
        TaskFaults(0, **wrong)  # type: ignore[arg-type]


def test_wrapped_functions_suffer_on_any_scheduler() -> None:
    always = TaskFaults(0, raise_rate=1.0).wrap(np.sum)
    with pytest.raises(InjectedFaultError, match="the test's own"):
        dask.delayed(always)([1, 2]).compute(scheduler="threads")
    never = pickle.loads(pickle.dumps(TaskFaults(1).wrap(np.sum)))
    assert dask.delayed(never)([1, 2]).compute(scheduler="sync") == 3
    assert never.__name__ == "sum"


def test_wrapped_functions_have_stable_keys() -> None:
    tokens = {dask.base.tokenize(TaskFaults(seed).wrap(np.sum)) for seed in (1, 1, 2)}
    assert len(tokens) == 2


def test_wrong_results_differ_in_one_bit() -> None:
    wrong = TaskFaults(2, corrupt_rate=1.0).wrap(np.arange)(16)
    assert bits(wrong ^ np.arange(16)) == 1


def bits(value: Any) -> int:
    return int(np.unpackbits(np.asarray(value).reshape(-1).view(np.uint8)).sum())


@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.complex128, np.int8, np.uint64]),
        hnp.array_shapes(min_dims=0, max_dims=3),
    ),
    seeds,
    st.booleans(),
)
def test_flip_bit_flips_exactly_one(array: np.ndarray, seed: int, fortran: bool) -> None:
    array = np.asfortranarray(array) if fortran else array
    before = array.copy()
    flipped = flip_bit(array, seed)
    assert array.tobytes() == before.tobytes()
    assert (flipped.shape, flipped.dtype) == (array.shape, array.dtype)
    changed = np.frombuffer(flipped.tobytes(), np.uint8) ^ np.frombuffer(array.tobytes(), np.uint8)
    assert bits(changed) == 1


def test_flip_bit_finds_the_array_in_a_collection() -> None:
    value = {"name": "share", "blocks": [np.empty(0), np.zeros(3)], "more": np.ones(2)}
    flipped = flip_bit(value, 4)
    assert flipped["name"] == "share"
    assert bits(flipped["blocks"][1]) == 1
    np.testing.assert_array_equal(flipped["more"], np.ones(2))
    assert type(flip_bit(3.5, 1)) is float
    assert type(flip_bit((7, "x"), 1)) is tuple


@pytest.mark.parametrize("value", ["text", None, np.empty(0), ["a"], {}], ids=repr)
def test_flip_bit_refuses_what_holds_no_number(value: Any) -> None:
    with pytest.raises(UnsupportedOperationError, match="no array or number"):
        flip_bit(value, 0)
