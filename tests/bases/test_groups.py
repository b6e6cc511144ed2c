from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dark_halo_scope.bases.groups import GroupError, base_groups, leave_groups_out, refuse_leaks

GROUPS = st.lists(st.text("abc\u00eb", min_size=1, max_size=4), min_size=2, max_size=12, unique=True)
SEEDS = st.integers(0, 5)
FEW = settings(max_examples=100, deadline=None, derandomize=True)
P = [f"p{number:02d}" for number in range(10)]


@FEW
@given(GROUPS, SEEDS, st.data())
def test_each_group_is_left_out_in_one_fold(groups, seed, data):
    n_folds = data.draw(st.none() | st.integers(2, len(groups)))
    folds = leave_groups_out(groups, n_folds, seed)
    assert len(folds) == (n_folds or len(groups))
    assert sorted(name for fold in folds for name in fold.targets) == sorted(groups)
    sizes = {len(fold.targets) for fold in folds}
    assert max(sizes) - min(sizes) <= 1
    for number, fold in enumerate(folds):
        assert fold.number == number
        assert sorted((*fold.targets, *fold.others)) == sorted(groups)
    assert leave_groups_out(groups[::-1], n_folds, seed) == folds


@FEW
@given(GROUPS, SEEDS, st.integers(0, 3), st.data())
def test_fewer_base_groups_are_among_more_and_never_the_target(groups, seed, replicate, data):
    targets = data.draw(st.lists(st.sampled_from(groups), min_size=1, max_size=len(groups) - 1, unique=True))
    left = len(groups) - len(targets)
    sets = [set(base_groups(groups, targets, n, replicate, seed)) for n in range(1, left + 1)]
    assert [len(bases) for bases in sets] == list(range(1, left + 1))
    assert all(fewer < more for fewer, more in pairwise(sets))
    assert sets[-1] == set(groups) - set(targets) == set(base_groups(groups, targets, None, replicate, seed))
    assert set(base_groups(groups[::-1], targets, 1, replicate, seed)) == sets[0]


@FEW
@given(GROUPS, SEEDS, st.data())
def test_a_group_that_joins_leaves_the_order_of_the_others(groups, seed, data):
    *old, new = groups
    targets = [old[0]]
    for n_base in range(1, len(old)):
        before, after = base_groups(old, targets, n_base, 0, seed), base_groups(groups, targets, n_base, 0, seed)
        assert new in after or before == after


def test_targets_share_the_base_models_that_they_are_not_in():
    """Leaving out one of 10 at a time, 3 base groups take 4 trainings, not 10; and 9 take 10."""
    for n_base, n_trainings in ((1, 2), (3, 4), (9, 10)):
        assert len({base_groups(P, [target], n_base, 0, seed=1) for target in P}) == n_trainings


def test_replicates_and_seeds_draw_other_groups_and_all_equally_often():
    first = [base_groups(P, ["p00"], 1, replicate, seed) for replicate in range(30) for seed in range(30)]
    counts = [first.count((name,)) for name in P[1:]]
    assert sum(counts) == 900
    assert min(counts) > 65
    assert max(counts) < 135


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["p01"], None, 0), r"one group only \(p01\): with it left out nothing is left"),
        ((P, 1, 0), "n_folds=1 must be at least 2 and at most the number of groups, 10"),
        ((P, 11, 0), "n_folds=11 must be"),
    ],
)
def test_folds_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(GroupError, match=message):
        leave_groups_out(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((P, ["p00"], 0, 0, 0), "n_base=0 leaves no base group: ask for at least 1, or use the mode target_only"),
        ((P, ["p00"], 10, 0, 0), "n_base=10, but 9 groups are left with p00 left out: ask for at most that many"),
        ((P, ["q00"], 1, 0, 0), "no group q00 in the data; did you mean p00"),
        ((["p00"], ["p00"], 1, 0, 0), "one group only .p00.: with it left out nothing is left"),
        ((P, P, 1, 0, 0), "all 10 groups are targets, so that none is left"),
    ],
)
def test_bases_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(GroupError, match=message):
        base_groups(*arguments)


@pytest.mark.parametrize(
    ("bases", "targets", "message"),
    [
        ([], ["p00"], "the set of base groups is empty: name some, or use the mode target_only"),
        (["p01", "p02", "p03"], ["p03", "p02"], "p02, p03 would be target and base group at once"),
        (["p1"], ["p03"], "no group p1 in the data; did you mean p01"),
        (["p01"], ["x"], r"no group x in the data; they have p00, p01"),
    ],
)
def test_bases_named_by_hand_are_checked(bases, targets, message):
    with pytest.raises(GroupError, match=message):
        refuse_leaks(bases, targets, P)
    refuse_leaks(["p01"], ["p02"], P)
