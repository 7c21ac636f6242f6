"""What is remembered of slots that are to be freed."""

from dask_coded.cluster._record import History


class Clock(float):
    """A time that counts how often it is compared with others."""

    asked = 0

    def __sub__(self, other: float) -> float:
        Clock.asked += 1
        return float(self) - other


def test_a_slot_that_is_free_is_told_and_forgotten() -> None:
    history, freed = History(10), dict[str, float]()
    history.stopping("a", freed, 3, 100.0)
    history.stopped("a", 101.5)
    history.stopped("a", 103.0)
    history.stopped("never heard of", 103.0)
    assert freed == {"3": 1.5}


def test_who_does_not_answer_is_forgotten() -> None:
    history, freed = History(10), dict[str, float]()
    for now in (0.0, 10.0, 200.0):
        history.stopping(f"at {now}", freed, 0, now)
    history.stopping("at 0.0", freed, 0, 201.0)
    assert list(history._stopping) == ["at 200.0", "at 0.0"]


def test_many_that_stop_cost_no_more_than_a_few_each() -> None:
    history, freed, many = History(10), dict[str, float](), 300
    Clock.asked = 0
    for number in range(many):
        history.stopping(str(number), freed, 0, Clock(number / many))
    assert len(history._stopping) == many
    assert Clock.asked <= 3 * many
