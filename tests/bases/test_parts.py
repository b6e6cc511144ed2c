from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dark_halo_scope.bases.groups import GroupError
from dark_halo_scope.bases.parts import GroupedRows, refuse_shared_sessions, split_base, split_target
from dark_halo_scope.bases.spec import SplitSpec

FEW = settings(max_examples=150, deadline=None, derandomize=True)
DURATION = 2.0


@st.composite
def recordings(draw):
    """Rows of two groups in any order: sessions of windows that begin every 1 s and last 2 s, with pauses between."""
    columns = []
    for group in ("p01", "p02"):
        start = 0.0
        for session in range(draw(st.integers(2, 4))):
            n = draw(st.integers(1, 12))
            columns += [(group, f"{group}/{session}", start + k, k // 3 % 2) for k in range(n)]
            start += n + DURATION + draw(st.integers(0, 3))
    shuffled = draw(st.permutations(columns))
    group, session, time, label = zip(*shuffled, strict=True)
    return GroupedRows.of(group, session, time, DURATION), np.array(label)


def rows_of(group, session, time, duration=0.0):
    return GroupedRows.of(group, session, time, duration)


@FEW
@given(recordings(), st.data())
def test_a_target_is_divided_in_time_within_its_budget_and_without_overlap(recorded, data):
    rows, label = recorded
    fraction = data.draw(st.floats(0.05, 0.9))
    whole = split_target(rows, "p01", budget=None, n_val=0, test_fraction=fraction)
    budget = data.draw(st.integers(1, len(whole.train)))
    n_val = data.draw(st.integers(0, budget - 1))
    by_class = label if data.draw(st.booleans()) else None
    try:
        parts = split_target(rows, "p01", budget=budget, n_val=n_val, test_fraction=fraction, label=by_class)
    except GroupError as error:
        assume(n_val == 0 or "overlap in time with all" not in str(error))
        raise
    spent = np.concatenate([parts.train, parts.val, parts.gap])
    assert len(spent) == len(set(spent.tolist())) == budget
    assert len(parts.val) == n_val
    assert len(parts.train) >= 1
    assert np.array_equal(parts.test, whole.test), "the same test for every budget"
    assert set(spent.tolist()) <= set(whole.train.tolist())
    assert {rows.groups[code] for code in rows.group[np.concatenate([spent, parts.test])]} == {"p01"}
    assert rows.time[spent].max() + DURATION <= rows.time[parts.test].min()
    assert not set(rows.session[spent]) & set(rows.session[parts.test])
    for part in (parts.train, parts.gap):
        nearest = np.abs(rows.time[part][:, None] - rows.time[parts.val][None, :]).min(axis=1, initial=np.inf)
        assert np.array_equal(nearest < DURATION, np.full(len(part), part is parts.gap))
    sessions = [set(rows.session[part].tolist()) for part in (whole.train, whole.test)]
    assert len(parts.test) >= fraction * len(rows.of_groups(["p01"])) - 1e-6 or len(sessions[0]) == 1


@FEW
@given(recordings(), st.data())
def test_labels_are_added_to_those_of_a_smaller_budget(recorded, data):
    rows, label = recorded
    pool = len(split_target(rows, "p02", budget=None, n_val=0, test_fraction=0.3).train)
    budgets = sorted(data.draw(st.lists(st.integers(1, pool), min_size=2, max_size=3)))
    for by_class in (None, label):
        labelled = [
            set(split_target(rows, "p02", budget=n, n_val=0, test_fraction=0.3, label=by_class).train.tolist())
            for n in budgets
        ]
        assert all(few <= more for few, more in pairwise(labelled))


def test_a_target_by_hand():
    """Three sessions in time order b, a, c, of 4 rows each; two classes, in blocks of two."""
    time = [10, 11, 12, 13, 0, 1, 2, 3, 20, 21, 22, 23]
    rows = rows_of(["p"] * 12, list("aaaabbbbcccc"), time, duration=1.5)
    label = np.array([0, 0, 1, 1] * 3)
    parts = split_target(rows, "p", budget=None, n_val=2, test_fraction=1 / 3)
    assert [part.tolist() for part in (parts.train, parts.gap, parts.val, parts.test)] == [
        [0, 4, 5, 6, 7],
        [1],
        [2, 3],
        [8, 9, 10, 11],
    ]
    assert split_target(rows, "p", budget=3, n_val=0, test_fraction=0.34).train.tolist() == [4, 5, 6], (
        "b, a and c tested"
    )
    assert split_target(rows, "p", budget=2, n_val=0, test_fraction=0.3, label=label).train.tolist() == [4, 6]
    evenly = split_target(rows, "p", budget=6, n_val=2, test_fraction=0.3, label=label)
    assert (evenly.train.tolist(), evenly.val.tolist(), evenly.gap.tolist()) == ([4, 5, 6, 7], [0, 2], [])


def test_rows_without_time_are_divided_by_session():
    rows = rows_of(["r"] * 6, [3, 3, 1, 1, 2, 2], np.zeros(6))
    parts = split_target(rows, "r", budget=3, n_val=1, test_fraction=0.3)
    assert (parts.train.tolist(), parts.val.tolist(), parts.test.tolist()) == ([2, 3], [4], [0, 1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"budget": 7},
            "a budget of 7 labels cannot be spent on p, which has 6 rows before its test sessions: ask for 1",
        ),
        ({"budget": 0}, "a budget of 0 labels cannot be spent"),
        ({"budget": 4, "n_val": 4}, "4 labels of p for validation leave none to train on in a budget of 4"),
        ({"n_val": -1}, "-1 labels of p for validation"),
        ({"budget": 2, "n_val": 1}, "the 1 validation rows of p overlap in time with all 1 training rows of a budget"),
        ({"test_fraction": 1.0}, r"test_fraction=1\.0 must be more than 0 and less than 1"),
    ],
)
def test_what_a_target_cannot_give_is_refused(changes, message):
    rows = rows_of(["p"] * 9, [1] * 3 + [2] * 3 + [3] * 3, [0, 1, 2, 10, 11, 12, 20, 21, 22], duration=2.0)
    with pytest.raises(GroupError, match=message):
        split_target(rows, "p", **{"budget": None, "n_val": 0, "test_fraction": 0.3} | changes)


@pytest.mark.parametrize(
    ("session", "time", "message"),
    [
        ([1, 1, 1, 1], [0, 1, 2, 3], "p has 1 session: adapting and testing take one each"),
        (
            [1, 1, 2, 2],
            [0, 5, 0, 5],
            r"sessions 1 and 2 of p overlap in time \(the second begins at 0, the first ends at 6",
        ),
        ([1, 1, 2, 2], [0, 5, 5.5, 7], r"sessions 1 and 2 of p overlap in time \(the second begins at 5\.5"),
    ],
)
def test_sessions_that_would_leak_are_refused(session, time, message):
    with pytest.raises(GroupError, match=message):
        split_target(rows_of(["p"] * 4, session, time, 1.0), "p", budget=None, n_val=0, test_fraction=0.3)


def test_a_session_of_target_and_base_is_refused():
    rows = rows_of(["p01", "p01", "p02", "p02", "p03"], ["s1", "s2", "s3", "s2", "s5"], np.arange(5.0))
    refuse_shared_sessions(rows, ["p01"], ["p03"])
    with pytest.raises(GroupError, match=r"1 sessions hold rows of a target and of a base group \(s2\).*group/session"):
        refuse_shared_sessions(rows, ["p01", "p03"], ["p02"])


def test_rows_without_a_time_are_refused():
    with pytest.raises(GroupError, match="2 rows have no time"):
        rows_of(["p"] * 3, [1, 1, 1], [0.0, np.nan, np.inf])


@FEW
@given(
    st.lists(st.integers(0, 6), min_size=2, max_size=40).filter(lambda values: len(set(values)) > 1),
    st.floats(0.01, 0.99),
    st.integers(0, 3),
)
def test_a_base_keeps_sessions_whole(values, fraction, seed):
    values, rows = np.array(values), np.arange(len(values)) * 3
    parts = split_base(values, rows, SplitSpec(fraction, seed, "session"))
    assert np.array_equal(np.sort(np.concatenate([parts.train, parts.val])), rows)
    assert not set(values[parts.train // 3]) & set(values[parts.val // 3])
    assert len(parts.train) > 0
    assert len(parts.val) > 0
    assert len(parts.val) >= fraction * len(rows) - 1e-6 or len(set(values[parts.train // 3])) == 1
    again = split_base(values[::-1], rows[::-1], SplitSpec(fraction, seed, "session"))
    assert set(again.val.tolist()) == set(parts.val.tolist())


def test_a_base_without_validation_and_one_that_cannot_have_it():
    rows = np.arange(4)
    parts = split_base(["a"] * 4, rows, SplitSpec(0, 1, "region_id"))
    assert (parts.train.tolist(), parts.val.tolist()) == ([0, 1, 2, 3], [])
    with pytest.raises(GroupError, match=r"one region_id only \(a\), which cannot be divided"):
        split_base(["a"] * 4, rows, SplitSpec(0.2, 1, "region_id"))
    seeds = {tuple(split_base([1, 2, 3, 4], rows, SplitSpec(0.25, seed, "session")).val) for seed in range(20)}
    assert len(seeds) == 4
