"""Traces are values; playing them is told apart from the cluster they are played on."""

from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from dask_coded.errors import EmulationError, ParameterError
from dask_coded.testing import ConstantDelay, FaultEvent, FaultTrace, TaskFaults, signal
from dask_coded.testing._points import LONGEST_LINE, PointBoard

WORKERS = ["w0", "w1", "w2", "w3"]
INJECTED = TaskFaults(0, delay=ConstantDelay(0.1))


def random_trace(seed: int, **options: Any) -> FaultTrace:
    kinds = ["freeze", "kill", "slow", "inject"]
    return FaultTrace.random(seed, WORKERS, kinds=kinds, faults=INJECTED, rate=0.5, **options)


@given(st.integers(0, 2**32))
def test_a_seed_is_a_trace_and_json_keeps_it(seed: int) -> None:
    trace = random_trace(seed, points=["product-started"] if seed % 2 else [])
    assert trace == random_trace(seed, points=["product-started"] if seed % 2 else [])
    assert FaultTrace.from_json(trace.to_json()) == trace


def test_seeds_differ() -> None:
    assert len({random_trace(seed).events for seed in range(20)}) == 20


@given(st.integers(0, 2**32), st.integers(1, 3))
def test_no_more_workers_are_hit_together_than_asked_for(seed: int, together: int) -> None:
    hit: set[str] = set()
    for event in random_trace(seed, together=together).events:
        if event.kind in ("freeze", "kill", "slow", "inject"):
            assert event.worker not in hit
            hit.add(event.worker)
        else:
            hit.remove(event.worker)
        assert len(hit) <= together
    assert not hit


def test_faults_at_points() -> None:
    trace = random_trace(3, points=["started", "finished"], occurrences=5, together=2, hold=30.0)
    assert {event.after for event in trace.events} <= {"started", "finished"}
    assert {event.occurrence for event in trace.events} <= set(range(1, 6))
    assert len({event.worker for event in trace.events}) == 2
    for fault, remedy in zip(trace.events[:2], trace.events[2:], strict=True):
        assert remedy.at == pytest.approx(fault.at + 30.0, abs=1.0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "melt"},
        {"kind": "freeze", "at": -1.0},
        {"kind": "freeze", "occurrence": 0},
        {"kind": "slow"},
        {"kind": "freeze", "factor": 2.0},
        {"kind": "inject"},
    ],
    ids=str,
)
def test_impossible_events_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        FaultEvent(worker="w0", **wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"workers": []},
        {"kinds": ["thaw"]},
        {"rate": 0.0},
        {"kinds": ["inject"]},
        {"faults": INJECTED},
    ],
    ids=str,
)
def test_impossible_random_traces_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        FaultTrace.random(**({"seed": 0, "workers": WORKERS} | wrong))


class Recorder:
    """Takes faults like a cluster and does nothing; ``gone`` workers cannot be signalled."""

    def __init__(self, folder: Path) -> None:
        self.points = PointBoard(folder, lambda point: None)
        self.deeds: list[tuple[Any, ...]] = []
        self.gone: set[str] = set()

    def _do(self, *deed: Any) -> None:
        if deed[1] in self.gone:
            raise EmulationError(f"{deed[1]} is gone")
        self.deeds.append(deed)

    def freeze(self, worker: str) -> None:
        self._do("freeze", worker)

    def thaw(self, worker: str) -> None:
        self._do("thaw", worker)

    def kill(self, worker: str) -> None:
        self._do("kill", worker)
        self.gone.add(worker)

    def replace(self, worker: str) -> str:
        self.gone.discard(worker)
        self._do("replace", worker)
        return worker

    def slow(self, worker: str, factor: float) -> None:
        self._do("slow", worker, factor)

    def restore(self, worker: str) -> None:
        self._do("restore", worker)

    def inject(self, worker: str, faults: TaskFaults | None) -> None:
        self._do("inject", worker, faults)


@pytest.fixture
def recorder(tmp_path: Path) -> Any:
    target = Recorder(tmp_path)
    yield target
    target.points.close()


def test_events_happen_in_order_of_time(recorder: Recorder) -> None:
    events = (
        FaultEvent("thaw", "w0", at=0.02),
        FaultEvent("freeze", "w0", at=0.01),
        FaultEvent("slow", "w1", at=0.03, factor=10.0),
        FaultEvent("restore", "w1", at=0.04),
    )
    with FaultTrace(events).play(recorder) as playback:
        assert playback.wait(timeout=30)
        times = [(played.due, played.done) for played in playback.record]
    assert recorder.deeds == [
        ("freeze", "w0"),
        ("thaw", "w0"),
        ("slow", "w1", 10.0),
        ("restore", "w1"),
    ]
    assert all(due <= done for due, done in times)


def test_events_wait_for_their_point(recorder: Recorder) -> None:
    recorder.points.announce("product-started")  # before the trace began: does not count
    trace = FaultTrace(
        (
            FaultEvent("freeze", "w0", after="product-started", occurrence=2),
            FaultEvent("freeze", "w1", after="result-finished@w1"),
        )
    )
    with trace.play(recorder) as playback:
        recorder.points.announce("product-started")
        recorder.points.announce("result-finished", "w0")
        assert playback.record == ()
        recorder.points.announce("product-started")
        assert playback.wait(1, timeout=30)
        assert recorder.deeds == [("freeze", "w0")]
        recorder.points.announce("result-finished", "w1")
        assert playback.wait(timeout=30)
    assert recorder.deeds == [("freeze", "w0"), ("freeze", "w1"), ("thaw", "w0"), ("thaw", "w1")]


def test_leaving_early_ends_the_playing_and_puts_right(recorder: Recorder) -> None:
    trace = FaultTrace(
        (
            FaultEvent("freeze", "w0"),
            FaultEvent("slow", "w1", factor=10.0),
            FaultEvent("inject", "w2", faults=INJECTED),
            FaultEvent("freeze", "w3"),
            FaultEvent("kill", "w3"),
            FaultEvent("thaw", "w0", at=3600.0),
        )
    )
    with trace.play(recorder) as playback:
        assert playback.wait(5, timeout=30)
    assert recorder.deeds[5:] == [("thaw", "w0"), ("restore", "w1"), ("inject", "w2", None)]


def test_what_could_not_be_done_is_recorded(recorder: Recorder) -> None:
    trace = FaultTrace((FaultEvent("kill", "w0"), FaultEvent("freeze", "w0")))
    with trace.play(recorder) as playback:
        assert playback.wait(timeout=30)
        assert [played.error for played in playback.record] == [None, "w0 is gone"]


def test_not_being_able_to_put_right_is_an_error(recorder: Recorder) -> None:
    def lose_a_frozen_worker() -> None:
        with FaultTrace((FaultEvent("freeze", "w0"),)).play(recorder) as playback:
            assert playback.wait(timeout=30)
            recorder.gone.add("w0")

    with pytest.raises(EmulationError, match="could not thaw w0"):
        lose_a_frozen_worker()


def test_a_point_must_fit_into_one_write() -> None:
    with pytest.raises(ParameterError, match="in one piece"):
        signal("x" * LONGEST_LINE)
