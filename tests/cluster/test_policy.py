"""The policy on plain values: no cluster, no clock."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_coded.cluster import Decision, GroupView, Patience, Policy, Verdict
from dask_coded.codes import LT, MDS, MatDot, Repair, Replication, Uncoded

POLICY = Policy(Patience(factor=0.5, slow_factor=0.1, minimum=0.0, evict_after=5.0))
CODE = MDS(5, k=3)


def view(**known: Any) -> GroupView:
    """A group of five shares, three of them outputs, of which nothing is known but what is said."""
    nothing: dict[str, Any] = {
        "code": CODE,
        "usable": frozenset(),
        "running": {},
        "stalled": {},
        "erased": frozenset(),
        "idle": frozenset(),
        "missing": {q: q for q in range(3)},
    }
    since = known.pop("suspect_since", None)
    if since is not None:
        stalling = frozenset[str]().union(*known.get("stalled", {}).values())
        known["suspects"] = dict.fromkeys(stalling, since)
    shares = {name: known[name] for name in ("usable", "erased", "idle") if name in known}
    return GroupView(**(nothing | known | {name: frozenset(v) for name, v in shares.items()}))


def decide(now: float = 100.0, **known: Any) -> Decision:
    return POLICY.decide(view(**known), now)


def test_parity_starts_at_once() -> None:
    decision = decide(running=dict.fromkeys(range(3), "a"), idle={3, 4})
    assert decision.launch == (3, 4)


def test_nothing_missing_is_resolved_and_the_rest_cancelled() -> None:
    decision = decide(usable={0, 1, 2}, running={3: "d"}, idle={4}, missing={})
    assert decision.resolved
    assert decision.cancel == (3,)


def test_decodes_when_enough_and_patience_is_over() -> None:
    known = {"usable": {0, 1, 3}, "running": {2: "c", 4: "e"}, "missing": {2: 2}, "typical": 1.0}
    patient = decide(decodable_since=99.9, **known)
    assert patient.decode_from is None
    assert patient.wake_at == pytest.approx(100.4)
    decision = decide(decodable_since=99.4, **known)
    assert decision.decode_from == (0, 1, 3)
    assert decision.cancel == (2, 4)
    assert decision.late == (2, 4)


def test_late_is_who_has_done_much_less_than_others() -> None:
    """With several shares to a worker some are always unfinished: "a" has done its part."""
    known = {"code": MDS(9, k=5), "usable": {0, 1, 2, 3, 5}, "missing": {4: 4}}
    running = {4: "a", 6: "b", 7: "c", 8: "c"}
    decision = decide(running=running, finished={"a": 2, "b": 1, "d": 2}, **known)
    assert decision.cancel == (4, 6, 7, 8)
    assert decision.late == (7, 8)


def test_no_patience_with_what_was_slow_before() -> None:
    known = {"usable": {0, 1, 3}, "running": {2: "c"}, "missing": {2: 2}, "typical": 1.0}
    decision = decide(decodable_since=99.8, slow=frozenset({"c"}), **known)
    assert decision.decode_from == (0, 1, 3)


def test_what_slow_workers_hold_is_read_only_if_it_is_needed() -> None:
    known = {"missing": {2: 2}, "erased": {2}}
    assert decide(usable={0, 1, 3, 4}, **known).decode_from == (0, 1, 3, 4)
    slow = {"slow": frozenset({"d"}), "held_by_slow": frozenset({3})}
    assert decide(usable={0, 1, 3, 4}, **known, **slow).decode_from == (0, 1, 4)
    # Too few without it.
    assert decide(usable={0, 1, 3}, **known, **slow).decode_from == (0, 1, 3)


def test_accuracy_comes_before_what_slow_workers_cost() -> None:
    known = {"usable": {0, 1, 3, 4}, "missing": {2: 2}, "erased": {2}}
    both = CODE.decoder({0, 1, 3, 4}).amplification
    assert both < CODE.decoder({0, 1, 4}).amplification
    known |= {"tolerance": 1.01 * both * np.finfo(float).eps, "held_by_slow": frozenset({3})}
    decision = decide(**known)
    assert decision.decode_from == (0, 1, 3, 4)
    assert not decision.inaccurate


@pytest.mark.parametrize(
    "lost", [{"stalled": {2: frozenset({"c"})}}, {"erased": {2}}, {"idle": {2}}]
)
def test_no_patience_when_the_share_does_not_run(lost: dict[str, Any]) -> None:
    decision = decide(usable={0, 1, 3}, missing={2: 2}, typical=10.0, **lost)
    assert decision.decode_from == (0, 1, 3)


def test_decode_under_way_is_left_alone_while_its_survivors_last() -> None:
    known = {"running": {2: "c"}, "missing": {2: 2}, "decoding": (0, 1, 3)}
    assert decide(usable={0, 1, 3}, **known).reason == Verdict.DECODING
    # Share 1 was lost, 4 has come: decode again from others.
    assert decide(usable={0, 3, 4}, decodable_since=0.0, **known).decode_from == (0, 3, 4)


def test_inaccurate_waits_then_starts_then_decodes_with_a_warning() -> None:
    known = {"usable": {0, 1, 3}, "missing": {2: 2}, "tolerance": 1e-30}
    assert decide(running={2: "c"}, **known).reason == Verdict.INACCURATE
    assert decide(idle={4}, **known).launch == (4,)
    decision = decide(erased={2, 4}, **known)
    assert decision.decode_from == (0, 1, 3)
    assert decision.inaccurate
    assert decision.amplification is not None


def test_exact_fields_know_no_inaccuracy() -> None:
    from dask_coded.fields import PrimeField

    code = MDS(5, k=3, field=PrimeField(65537))
    decision = decide(code=code, usable={0, 1, 3}, erased={2}, missing={2: 2}, tolerance=1e-30)
    assert not decision.inaccurate


def test_too_few_left_raises_what_the_share_raised() -> None:
    decision = decide(usable={1, 2}, erased={0, 3, 4}, missing={0: 0})
    assert decision.raise_from == 0
    # It is known already while others still run.
    assert decide(running={1: "b", 2: "c"}, erased={0, 3, 4}, missing={0: 0, 1: 1}).raise_from == 0


def test_exceptions_elsewhere_are_nobodys_business_in_a_part_of_a_group() -> None:
    decision = decide(running={0: "a"}, erased={3, 4}, missing={0: 0})
    assert decision.raise_from is None
    assert decision.reason == Verdict.PLAIN


def test_parity_is_not_started_where_it_cannot_help() -> None:
    assert decide(running={0: "a"}, idle={3, 4}, missing={0: 0}).launch == ()


def test_consumed_outputs_run_again_only_if_there_is_no_other_way() -> None:
    known = {"idle": {0, 1, 3, 4}, "consumed": frozenset({0, 1}), "missing": {2: 2}}
    # Output 2 was lost and runs again by itself.
    assert decide(running={2: "c"}, **known).launch == ()
    # It cannot: its inputs are out of reach.
    assert decide(stalled={2: frozenset({"c"})}, **known).launch == (0, 1, 3, 4)


def test_blocked_by_suspects_asks_for_rescue_then_evicts() -> None:
    known = {
        "usable": {0, 1},
        "stalled": {2: frozenset({"c"}), 3: frozenset({"d"}), 4: frozenset({"e"})},
        "missing": {2: 2},
    }
    suspects = {"c": 99.0, "d": 98.5, "e": 99.0}
    first = decide(suspects=suspects, **known)
    assert first.blocked_by == {"c", "d", "e"}
    assert not first.evict
    assert first.wake_at == 105.0
    known |= {"suspects": suspects, "blocked_since": 100.0}
    assert not decide(now=104.9, **known).evict
    last = decide(now=105.0, **known)
    assert last.evict == {"d"}
    # It may not be possible to remove anybody: then nothing else would wake the group.
    assert last.wake_at is not None
    assert last.wake_at > 105.0


def test_silence_before_anything_was_needed_is_not_held_against_a_worker() -> None:
    known = {"usable": {0, 1}, "stalled": {s: frozenset({"c"}) for s in (2, 3, 4)}}
    known |= {"missing": {2: 2}, "suspects": {"c": 50.0}}
    first = decide(**known)
    assert not first.evict
    assert first.wake_at == 105.0
    assert decide(now=105.0, blocked_since=100.0, **known).evict == {"c"}
    # A group that waited already gives a worker that fell silent later its time too.
    known["suspects"] = {"c": 103.0}
    assert decide(now=105.0, blocked_since=99.0, **known).wake_at == 108.0


def test_nobody_is_removed_while_others_come_back() -> None:
    known = {"usable": {0, 1}, "stalled": {s: frozenset({"c"}) for s in (2, 3, 4)}}
    known |= {"missing": {2: 2}, "suspects": {"c": 50.0}, "blocked_since": 51.0}
    spared = decide(spared_until=101.5, **known)
    assert not spared.evict
    assert spared.wake_at == 101.5
    assert decide(now=101.5, spared_until=101.5, **known).evict == {"c"}


def test_outputs_that_are_no_share() -> None:
    known = {"code": MatDot(5, p=2), "missing": {0: None}}
    assert decide(running=dict.fromkeys(range(5), "a"), **known).decode_from is None
    decision = decide(usable={0, 2, 4}, running={1: "b", 3: "d"}, **known)
    assert decision.decode_from == (0, 2, 4)


CODES = [
    MDS(6, k=4),
    Replication(6, k=3),
    Uncoded(4),
    MatDot(6, p=2),
    LT(8, k=4),
]


@given(data=st.data(), code=st.sampled_from(CODES))
def test_whatever_arrives_something_happens(data: st.DataObject, code: Any) -> None:
    """No dead ends: a group is resolved, decodes, waits for something that can come, or fails."""
    n, outputs = code.n_shares, int(np.prod(code.output_grid))
    where = data.draw(
        st.lists(
            st.sampled_from(["usable", "running", "stalled", "erased", "idle", "absent"]),
            min_size=n,
            max_size=n,
        )
    )
    shares = {name: [i for i in range(n) if where[i] == name] for name in set(where)}
    systematic = isinstance(code, MDS | Replication | Uncoded)
    missing = {
        q: q if systematic else None
        for q in range(outputs)
        if not systematic or where[q] not in ("usable", "absent")
    }
    decision = decide(
        code=code,
        usable=shares.get("usable", ()),
        running=dict.fromkeys(shares.get("running", ()), "r"),
        stalled=dict.fromkeys(shares.get("stalled", ()), frozenset({"s"})),
        erased=shares.get("erased", ()),
        idle=shares.get("idle", ()),
        missing=missing,
        suspect_since=0.0,
    )
    usable, running = set(shares.get("usable", ())), set(shares.get("running", ()))
    assert set(decision.launch) <= set(shares.get("idle", ()))
    if not missing:
        assert decision.resolved
    elif decision.decode_from is not None:
        assert usable.issuperset(decision.decode_from)
        assert code.is_decodable(decision.decode_from)
    elif code.is_decodable(range(n)) and not shares.get("absent"):
        assert (
            running
            or decision.launch
            or decision.raise_from is not None
            or decision.blocked_by
            or decision.wake_at is not None
        )


def at_rest(**known: Any) -> Decision:
    """Five shares of an encoded matrix: outputs of their own group."""
    code = Repair(CODE)
    missing = {q: q for q in known.pop("missing")}
    return decide(code=code, at_rest=True, missing=missing, **known)


def test_a_share_at_rest_that_was_lost_is_rebuilt_at_once() -> None:
    decision = at_rest(usable={0, 1, 2, 4}, missing={3}, lost=frozenset({3}), idle={3})
    assert decision.decode_from is not None
    assert decision.outputs == (3,)


def test_a_suspect_may_finish_its_share_at_rest() -> None:
    known = {"usable": {0, 1, 2}, "running": {3: "d"}, "stalled": {4: frozenset("e")}}
    decision = at_rest(missing={3, 4}, suspect_since=97.0, **known)
    assert decision.outputs is None
    assert decision.wake_at == pytest.approx(102.0)
    decision = at_rest(missing={3, 4}, suspect_since=94.9, **known)
    assert decision.outputs == (4,)


def test_a_share_at_rest_that_decoding_would_blur_is_made_by_its_own_work() -> None:
    """A row that costs too much is left to its share; the others are decoded."""
    code = Repair(MDS(7, k=4))
    costs = np.abs(np.asarray(code.decoder([2, 3, 5, 6]).weights)).sum(axis=1)
    assert costs[1] > 1.2 * max(costs[0], costs[4])
    known: dict[str, Any] = {
        "code": code,
        "at_rest": True,
        "usable": {2, 3, 5, 6},
        "missing": {q: q for q in (0, 1, 4)},
        "lost": frozenset({0, 1, 4}),
        "eps": 1.0,
    }
    known["tolerance"] = float(costs[1]) / 1.1
    decision = decide(running={0: None, 1: None, 4: "a"}, **known)
    assert decision.outputs == (0, 4)
    assert decision.amplification == pytest.approx(max(costs[0], costs[4]))
    assert not decision.inaccurate
    decision = decide(idle={0, 1, 4}, **known)
    assert decision.outputs == (0, 4)
    assert decision.launch == (1,)
    known["tolerance"] = 1e-3
    decision = decide(running={0: None, 1: None, 4: "a"}, **known)
    assert decision.decode_from is None
    assert not decision.launch


def test_a_share_at_rest_that_cannot_come_is_decoded_at_any_price_and_that_is_told() -> None:
    known = {"usable": {0, 1, 2, 4}, "missing": {3}, "lost": frozenset({3}), "tolerance": 1e-30}
    decision = at_rest(erased={3}, **known)
    assert decision.outputs == (3,)
    assert decision.inaccurate
    known |= {"stalled": {3: frozenset("e")}}
    decision = at_rest(suspect_since=97.0, **known)
    assert decision.outputs is None
    assert decision.wake_at == pytest.approx(102.0)
    decision = at_rest(suspect_since=94.9, **known)
    assert decision.outputs == (3,)
    assert decision.inaccurate
