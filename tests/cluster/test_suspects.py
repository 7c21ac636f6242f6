"""Silence on a made-up clock."""

import pytest

from dask_coded.cluster import Suspicion
from dask_coded.cluster._suspects import Watch


def look(watch: Watch, now: float, **heard: float) -> tuple[set[str], set[str]]:
    new, trusted = watch.look(heard, now, heartbeat=0.5, interval=0.1)
    return set(new), set(trusted)


def beating(*workers: str) -> Watch:
    """A watch that has heard from everybody every half second until 10."""
    watch = Watch(Suspicion(factor=3, minimum=0))
    for beat in (9.0, 9.5, 10.0):
        look(watch, beat, **dict.fromkeys(workers, beat))
    return watch


def silence_until_suspect(watch: Watch, worker: str, last: float) -> float:
    """How long a worker may say nothing."""
    now = last
    while worker not in watch.suspects:
        now += 0.1
        others = dict.fromkeys(watch._heard.keys() - {worker}, now)
        look(watch, now, **{worker: last}, **others)
    return now - last


def test_three_heartbeats_are_allowed() -> None:
    watch = beating("a", "b")
    assert silence_until_suspect(watch, "b", 10.0) == pytest.approx(1.6)
    assert look(watch, 11.7, a=11.7, b=10.0) == (set(), set())
    assert watch.since == {"b": pytest.approx(11.6)}


def test_the_first_heartbeat_comes_late() -> None:
    watch = beating("a")
    look(watch, 10.1, a=10.1, new=10.1)
    assert silence_until_suspect(watch, "new", 10.1) == pytest.approx(2.1)


def test_who_is_often_late_is_given_more_time() -> None:
    watch = beating("a", "b")
    for beat in (11.2, 12.4, 13.6):
        for part in range(1, 13):
            now = beat - 1.2 + part / 10
            look(watch, now, a=now, b=beat if part == 12 else beat - 1.2)
    assert not watch.suspects
    assert silence_until_suspect(watch, "b", 13.6) == pytest.approx(2.3, abs=0.11)


@pytest.mark.parametrize("back", range(118, 132))
def test_nobody_is_waited_for_much_longer_than_others(back: int) -> None:
    """However long somebody was frozen before: less than half as long again, and a look."""
    watch = beating("a", "b")
    assert silence_until_suspect(watch, "b", 10.0) == pytest.approx(1.6)
    for tick in range(117, back + 1):
        look(watch, tick / 10, a=tick / 10, b=back / 10 if tick == back else 10.0)
    assert 1.5 < silence_until_suspect(watch, "b", back / 10) < 2.25 + 0.11


def test_who_is_often_busy_for_longer_than_others_may_be_is_not_accused_again() -> None:
    watch = beating("a", "b")
    assert silence_until_suspect(watch, "b", 10.0) == pytest.approx(1.6)
    for tick in range(117, 122):
        look(watch, tick / 10, a=tick / 10, b=12.1 if tick == 121 else 10.0)
    assert silence_until_suspect(watch, "b", 12.1) > 2.1


def test_who_was_frozen_is_given_no_more_time_than_before() -> None:
    watch = beating("a", "b")
    assert silence_until_suspect(watch, "b", 10.0) == pytest.approx(1.6)
    for tick in range(117, 200):
        look(watch, tick / 10, a=tick / 10, b=19.9 if tick == 199 else 10.0)
    assert silence_until_suspect(watch, "b", 19.9) == pytest.approx(1.6, abs=0.11)


def test_who_speaks_is_trusted() -> None:
    watch = Watch(Suspicion(factor=3, minimum=0))
    look(watch, 10.0, a=5.0)
    assert look(watch, 10.1, a=10.05) == (set(), {"a"})
    assert not watch.suspects


def test_who_left_is_no_suspect() -> None:
    watch = Watch(Suspicion(factor=3, minimum=0))
    look(watch, 10.0, a=5.0)
    assert look(watch, 10.1) == (set(), {"a"})


def test_a_watcher_that_did_not_listen_accuses_nobody() -> None:
    watch = Watch(Suspicion(factor=3, minimum=0))
    look(watch, 10.0, a=10.0, b=10.0)
    # Ten seconds without looking: the heartbeats may lie unread in the mail box.
    assert look(watch, 20.0, a=10.0, b=10.0) == (set(), set())
    assert look(watch, 20.1, a=20.05, b=10.0) == (set(), set())
    now = 20.1
    while now < 22.0:
        now += 0.1
        look(watch, now, a=now, b=10.0)
    assert watch.suspects == {"b"}
