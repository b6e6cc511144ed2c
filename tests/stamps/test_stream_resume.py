"""An epoch goes on where it stopped, if no row is lost or comes twice."""

from itertools import chain

import pytest

from dark_halo_scope.stamps import plan
from dark_halo_scope.stamps.plan import PlanError
from tests.stamps.streams import make_loader, rows_of

pytestmark = pytest.mark.usefixtures("by_lanes")


@pytest.mark.parametrize("stop", [0, 1, 3, 6])
def test_iteration_goes_on_where_the_state_says(survey, stop):
    whole = make_loader(survey, seed=2)
    whole.set_epoch(3)
    expected = rows_of(whole)
    interrupted = make_loader(survey, seed=2)
    interrupted.set_epoch(3)
    iterator = iter(interrupted)
    for _ in range(stop):
        next(iterator)
    state = interrupted.state_dict()
    order = {"batch_size": 16, "n_rows": 96, "seed": 2, "reshuffle": True, "lanes": 8}
    assert state == {"epoch": 3, "next_batch": stop} | order

    resumed = make_loader(survey, seed=2, num_threads=3)
    resumed.load_state_dict(state)
    resumed.set_epoch(3)
    assert rows_of(resumed) == expected[stop:]
    assert rows_of(resumed) == expected  # only once
    resumed.load_state_dict(state)
    resumed.set_epoch(4)
    assert resumed.state_dict() == {"epoch": 4, "next_batch": 0} | order
    assert len(rows_of(resumed)) == len(resumed)


def position(folder, n_batches: int, **options):
    """The state of a loader that has given the first batches of epoch 1."""
    loader = make_loader(folder, **options)
    loader.set_epoch(1)
    batches = iter(loader)
    for _ in range(n_batches):
        next(batches)
    return loader.state_dict()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"batch_size": 8}, r"\(data\.batch_size / trainer\.accumulate_grad_batches\) was 16 and is 8"),
        ({"batch_size": 32}, "was 16 and is 32"),
        ({"seed": 7}, r"the seed of the shuffle \(seed or data\.seed\) was 0 and is 7"),
        ({"lanes": 4}, r"data\.lanes; .* was 8 and is 4"),
        ({"lanes": 32}, r"data\.lanes; .* was 8 and is 0"),  # more than row groups: a full shuffle
        ({"seed": 7, "lanes": 4}, r"was 0 and is 7; .* was 8 and is 4\. Set it back"),
    ],
)
def test_an_epoch_does_not_go_on_in_other_batches_or_another_order(survey, changed, told):
    resumed = make_loader(survey, **changed)
    resumed.load_state_dict(position(survey, 2))
    with pytest.raises(PlanError, match=f"inside epoch 1, after 2 batches, .*{told}"):
        resumed.set_epoch(1)  # before Lightning counts what is left
    with pytest.raises(PlanError, match=told):
        next(iter(resumed))
    resumed.set_epoch(2)
    expected = make_loader(survey, **changed)
    expected.set_epoch(2)
    assert rows_of(resumed) == rows_of(expected)
    resumed.load_state_dict(position(survey, 0))  # nothing of the epoch is done
    resumed.set_epoch(1)
    assert len(rows_of(resumed)) == len(resumed)


def test_an_epoch_goes_on_with_any_ranks_and_threads_and_from_a_state_without_conditions(survey):
    state = position(survey, 2)
    alone = make_loader(survey)
    alone.load_state_dict(state)
    expected = rows_of(alone)
    assert len(expected) == 4
    ranks = [make_loader(survey, rank=rank, world=4, num_threads=1, prefetch_batches=1) for rank in range(4)]
    for rank in ranks:
        rank.load_state_dict(state)
    assert [list(chain(*parts)) for parts in zip(*map(rows_of, ranks), strict=True)] == expected
    older = make_loader(survey)
    older.load_state_dict({"epoch": 1, "next_batch": 2})
    assert rows_of(older) == expected


def test_lanes_may_change_where_there_are_none(survey):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "FULL_SHUFFLE_ROWS", 1_000)
        resumed, whole = make_loader(survey, lanes=4), make_loader(survey)
        whole.set_epoch(1)
        resumed.load_state_dict(position(survey, 2))
        assert rows_of(resumed) == rows_of(whole)[2:]
