"""Silence on a made-up clock."""

from dask_coded.cluster import Suspicion
from dask_coded.cluster._suspects import Watch


def look(watch: Watch, now: float, **heard: float) -> tuple[set[str], set[str]]:
    new, trusted = watch.look(heard, now, heartbeat=0.5, interval=0.1)
    return set(new), set(trusted)


def test_three_heartbeats_are_allowed() -> None:
    watch = Watch(Suspicion(factor=3, minimum=0))
    assert look(watch, 10.0, a=10.0, b=8.6) == (set(), set())
    assert look(watch, 10.1, a=10.0, b=8.5) == ({"b"}, set())
    assert look(watch, 10.2, a=10.0, b=8.5) == (set(), set())
    assert watch.since == {"b": 10.1}


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
    while now < 21.6:
        now += 0.1
        look(watch, now, a=now, b=10.0)
    assert watch.suspects == {"b"}
