"""What runs only when something is late, and what the memory manager may not drop."""

import itertools
from typing import Any

import numpy as np
import pytest
from distributed import Client, wait
from distributed.active_memory_manager import ReduceReplicas, Suggestion
from distributed.utils_test import gen_cluster
from watching import on_workers

from dask_coded.cluster import (
    CodedSchedulerPlugin,
    GroupView,
    Patience,
    Policy,
    Verdict,
    enable,
)
from dask_coded.cluster._cohorts import Cohorts
from dask_coded.cluster._group import Group
from dask_coded.cluster._memory import HomePolicy
from dask_coded.codes import MDS
from dask_coded.graph import GroupSpec

CODE = MDS(5, k=3)
PATIENCE = Patience(cohort_factor=3.0, slow_cohort_factor=1.25, cohort_minimum=0.01)


def view(**known: Any) -> GroupView:
    """A group whose one output is share 1; the others are helpers."""
    nothing: dict[str, Any] = {
        "code": CODE,
        "usable": frozenset(),
        "running": {1: "b"},
        "stalled": {},
        "erased": frozenset(),
        "idle": frozenset({0, 2, 3, 4}),
        "missing": {1: 1},
        "on_demand": True,
    }
    return GroupView(**(nothing | known))


# ---------------------------------------------------------------------- the policy


@pytest.mark.parametrize("due", [None, 101.0])
def test_helpers_rest_while_the_output_is_not_late(due: float | None) -> None:
    decision = Policy().decide(view(due=due), now=100.0)
    assert decision.launch == ()
    assert (decision.reason, decision.wake_at) == (Verdict.PUNCTUAL, due)


def test_helpers_run_when_it_is() -> None:
    assert Policy().decide(view(due=99.0), now=100.0).launch == (0, 2, 3, 4)


@pytest.mark.parametrize("where", ["stalled", "erased"])
def test_helpers_run_when_it_cannot_come(where: str) -> None:
    lost: Any = {1: frozenset({"b"})} if where == "stalled" else frozenset({1})
    decision = Policy().decide(view(running={}, **{where: lost}), now=100.0)
    assert decision.launch == (0, 2, 3, 4)


def test_a_helper_that_is_not_waited_for_is_not_late() -> None:
    known = {"running": {1: "b", 4: "e"}, "usable": frozenset({0, 2, 3}), "idle": frozenset()}
    decision = Policy().decide(view(decodable_since=0.0, **known), now=100.0)
    assert decision.decode_from is not None
    assert set(decision.cancel) == {1, 4}
    assert decision.late == (1,)


# ---------------------------------------------------------------------- what is late


def group(name: str, cohort: str | None = "c") -> Group:
    shares = tuple((name, i) for i in range(5))
    outputs = (("void", name, 0), shares[1], ("void", name, 2))
    return Group(GroupSpec(name, CODE, shares, outputs, cohort=cohort), submitted=0.0)


def started(cohorts: Cohorts, count: int) -> list[Group]:
    groups = [group(f"g{i}") for i in range(count)]
    for number, made in enumerate(groups):
        cohorts.join(made)
        made.started[1], made.ran_on[1] = 10.0, f"w{number}"
    return groups


def test_late_is_what_takes_several_times_as_long_as_half_of_the_others() -> None:
    cohorts = Cohorts(PATIENCE)
    first, second, third, last = started(cohorts, 4)
    assert cohorts.due(last, frozenset()) is None
    first.took[1], first.resolved = 2.0, True
    assert cohorts.finished(first, 12.0) == []
    assert cohorts.due(last, frozenset()) is None
    second.took[1], second.resolved = 4.0, True
    assert cohorts.finished(second, 14.0) == [third, last]
    assert cohorts.due(last, frozenset()) == 10.0 + 3.0 * 3.0
    assert cohorts.due(last, frozenset({"w3"})) == pytest.approx(14.0)  # not before it is known
    third.took[1] = 100.0
    assert cohorts.finished(third, 110.0) == []
    assert cohorts.due(last, frozenset()) == 10.0 + 3.0 * 4.0
    del last.started[1]
    assert cohorts.due(last, frozenset()) == 14.0 + 3.0 * 4.0


def test_cohorts_end_with_their_last_group_and_are_forgotten() -> None:
    cohorts = Cohorts(PATIENCE)
    groups = started(cohorts, 3)
    for made in groups:
        made.took[1] = 1.0
        cohorts.finished(made, 11.0)
    for made in groups:
        cohorts.leave(made, 12.0)
    assert not cohorts._cohorts
    alone = group("alone", cohort=None)
    cohorts.join(alone)
    assert cohorts.due(alone, frozenset()) is None
    assert cohorts.finished(alone, 1.0) == []
    assert cohorts.leave(alone, 1.0) == []


def test_nobody_waits_for_half_of_those_that_were_given_up() -> None:
    cohorts = Cohorts(PATIENCE)
    first, late, *others = started(cohorts, 6)
    first.took[1], first.resolved = 2.0, True
    assert cohorts.finished(first, 12.0) == []
    cohorts.leave(first, 12.0)
    for made in others[1:]:
        assert cohorts.leave(made, 13.0) == []
    assert cohorts.due(late, frozenset()) is None
    # One that has ended before anybody looked at its result counts as finished.
    others[0].took[1] = 4.0
    assert cohorts.leave(others[0], 14.0) == [late]
    assert cohorts.due(late, frozenset()) == 10.0 + 3.0 * 3.0
    cohorts.leave(late, 15.0)
    assert not cohorts._cohorts


def test_the_last_that_is_given_up_leaves_half_of_them_known() -> None:
    cohorts = Cohorts(PATIENCE)
    first, late, *others = started(cohorts, 4)
    first.took[1], first.resolved = 2.0, True
    assert cohorts.finished(first, 12.0) == []
    assert cohorts.leave(others[0], 13.0) == []
    assert cohorts.leave(others[1], 14.0) == [late]
    assert cohorts.due(late, frozenset()) == 10.0 + 3.0 * 2.0


# ---------------------------------------------------------------------- copies


@gen_cluster(**on_workers(3, config={"distributed.scheduler.active-memory-manager.start": False}))
async def test_the_copy_at_home_stays(c: Client, s: Any, *workers: Any) -> None:
    manager = s.extensions["amm"]
    manager.policies.clear()
    reduce = ReduceReplicas()
    manager.add_policy(reduce)
    home = {f"kept{i}": worker.address for i, worker in enumerate(workers)}
    manager.policies.remove(reduce)
    manager.add_policy(HomePolicy(reduce, home.get))
    futures = [c.submit(np.ones, 1000, key=key, workers=[home[key]]) for key in home]
    futures.append(c.submit(np.ones, 1000, key="other"))
    await wait(futures)
    await c.replicate(futures)
    assert all(len(s.tasks[future.key].who_has) == 3 for future in futures)
    manager.run_once()
    for key, address in home.items():
        assert {ws.address for ws in s.tasks[key].who_has} == {address}
    assert len(s.tasks["other"].who_has) == 1


def test_other_suggestions_pass() -> None:
    class Task:
        def __init__(self, key: str) -> None:
            self.key, self.who_has = key, set()

    class Both(ReduceReplicas):
        def run(self) -> Any:
            for op, key in itertools.product(("replicate", "drop"), ("x", "y")):
                answers.append((yield Suggestion(op, Task(key))))

    answers: list[Any] = []
    policy = HomePolicy(Both(), lambda key: "a" if key == "x" else None).run()
    seen = [next(policy)] + [policy.send(answer) for answer in (1, 2, 3)]
    assert [(s.op, s.ts.key, s.candidates) for s in seen] == [
        ("replicate", "x", None),
        ("replicate", "y", None),
        ("drop", "x", set()),
        ("drop", "y", None),
    ]
    assert answers == [1, 2, 3]


@gen_cluster(**on_workers(1))
async def test_the_manager_gets_its_own_policy_back(c: Client, s: Any, *workers: Any) -> None:
    before = set(s.extensions["amm"].policies)
    await enable(c)
    assert {type(policy) for policy in s.extensions["amm"].policies} == {HomePolicy}
    await s.plugins[CodedSchedulerPlugin.name].close()
    assert s.extensions["amm"].policies == before
