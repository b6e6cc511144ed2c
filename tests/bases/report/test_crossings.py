"""Where arms cross, on lines whose crossing is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dark_halo_scope.bases.report.arms import ALONE, BASE, FULL
from dark_halo_scope.bases.report.cells import Cell, Cells
from dark_halo_scope.bases.report.crossings import BELOW, BEYOND, crossings, overtaking
from dark_halo_scope.bases.report.sweep import Asked, Reached, Tuning
from tests.bases.report.sweeps import Design, cell_of, crossing_of_labels, draw, key

BUDGETS = (8, 32, 128, 512)


def cells_of(design: Design, values: dict[tuple, float], times: int = 1) -> Cells:
    """As if each value were a stored fine-tuning, asked for a number of times."""
    tunings = []
    for (mode, n_base, budget, group, seed), value in values.items():
        labels = {"mode": mode, "target": group, "n_base": n_base, "budget": budget, "seed": seed}
        base = None if mode == ALONE else key(n_base)
        before = {} if mode == ALONE else {"macro_f1": values[cell_of(BASE, n_base, budget, group, seed)]}
        asked = Asked(key(mode, n_base, budget, group, seed), base, "done", labels, ())
        tunings.append(Tuning(asked, Reached(budget, {"macro_f1": value}, before, "", "")))
    return Cells(tunings * times, "macro_f1")


def found(records: list[dict], arm: str, other: str, **where) -> dict:
    (record,) = [
        record
        for record in records
        if (record["arm"], record["other"]) == (arm, other) and all(record[name] == at for name, at in where.items())
    ]
    return record


def test_a_line_over_the_logarithm_is_crossed_exactly_where_it_is_zero():
    positions = [8, 32, 128, 512]
    differences = np.log2(positions) - np.log2(100)
    assert overtaking(differences, positions) == pytest.approx(100)
    assert overtaking(differences - 10, positions) == np.inf
    assert overtaking(differences + 10, positions) == -np.inf


def test_an_arm_that_falls_back_has_not_overtaken_before_it_stays_ahead():
    assert overtaking([1.0, -1.0, 1.0], [1, 2, 4]) == pytest.approx(np.sqrt(8))
    assert overtaking([1.0, 1.0, 0.0], [1, 2, 4]) == np.inf


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6))
def test_a_crossing_follows_the_last_position_that_is_not_ahead(differences):
    positions = 2.0 ** np.arange(len(differences))
    at = float(overtaking(differences, positions))
    ahead = np.array(differences) > 0
    if ahead.all() or not ahead[-1]:
        assert at == (-np.inf if ahead.all() else np.inf)
    else:
        last = np.flatnonzero(~ahead)[-1]
        assert positions[last] * (1 - 1e-12) <= at <= positions[last + 1] * (1 + 1e-12)


def test_the_planted_crossings_are_found_along_both_axes():
    design = Design(12, (2, 4, 8, 16), BUDGETS)
    records = crossings(cells_of(design, draw(design, scatter=0, noise=0)))
    for mode in (FULL, BASE):
        for n_base in design.n_base:
            record = found(records, ALONE, mode, axis="budget", n_base=n_base)
            assert record["at"] == pytest.approx(crossing_of_labels(mode, n_base))
            assert record["interval"] == pytest.approx([record["at"]] * 2)
            assert record["share_in_range"] == 1
    # a base alone is as good as 32 labels where 0.45 + 0.06 log2(n) = 0.54
    assert found(records, BASE, ALONE, axis="n_base", budget=32)["at"] == pytest.approx(2**1.5)
    assert found(records, BASE, ALONE, axis="n_base", budget=8)["at"] == BELOW
    assert found(records, BASE, ALONE, axis="n_base", budget=512)["at"] == BEYOND
    assert found(records, BASE, ALONE, axis="n_base", budget=512)["interval"] == [BEYOND, BEYOND]


def test_a_group_that_lacks_a_point_is_left_out_of_the_line_and_named():
    design = Design(8, (2,), BUDGETS)
    values = draw(design, scatter=0.05)
    record = found(crossings(cells_of(design, values)), ALONE, FULL, axis="budget")
    for seed in design.seeds:
        del values[FULL, 2, 128, "P03", seed]
    cells = cells_of(design, values)
    without = found(crossings(cells), ALONE, FULL, axis="budget")
    assert (record["n_groups"], record["left_out"]) == (8, [])
    assert (without["n_groups"], without["left_out"]) == (7, ["P03"])
    others = [group for group in design.groups if group != "P03"]
    means = [[np.mean([cells.at(mode, 2, b)[g] for g in others]) for b in BUDGETS] for mode in (ALONE, FULL)]
    assert without["at"] == pytest.approx(float(overtaking(np.subtract(*means), BUDGETS)))


def test_an_interval_may_end_outside_the_range():
    design = Design(8, (16,), BUDGETS)
    record = found(crossings(cells_of(design, draw(design, scatter=0.12, rng_seed=3))), ALONE, FULL, axis="budget")
    assert 0 < record["share_in_range"] < 1
    low, high = record["interval"]
    assert high == BEYOND
    assert 8 < low < record["at"] < 512


def test_few_groups_have_a_crossing_but_no_interval_and_one_budget_has_none():
    few = Design(5, (2,), BUDGETS)
    assert found(crossings(cells_of(few, draw(few))), ALONE, FULL, axis="budget")["interval"] is None
    one = Design(8, (2,), (32,))
    assert crossings(cells_of(one, draw(one))) == []


def test_the_interval_covers_the_planted_crossing():
    design, n_drawn = Design(12, (8,), BUDGETS, (ALONE, FULL), (1,)), 150
    truth, covered = crossing_of_labels(FULL, 8), 0
    for seed in range(n_drawn):
        records = crossings(cells_of(design, draw(design, scatter=0.08, rng_seed=seed)))
        record = found(records, ALONE, FULL, axis="budget")
        low, high = ({BELOW: 0.0, BEYOND: np.inf}[end] if isinstance(end, str) else end for end in record["interval"])
        covered += low <= truth <= high
    assert 0.90 <= covered / n_drawn <= 0.99


def test_an_arm_is_the_same_at_every_point_that_does_not_concern_it():
    design = Design()
    cells = cells_of(design, draw(design), times=2)
    assert set(cells.n_repeats[Cell(FULL, 2, 32)].values()) == {len(design.seeds)}
    assert set(cells.n_repeats[Cell(BASE, 2, None)].values()) == {1}  # one base model
    assert cells.at(ALONE, 2, 32) == cells.at(ALONE, 8, 32) == cells.values[Cell(ALONE, None, 32)]
    assert cells.at(BASE, 2, 8) == cells.at(BASE, 2, 128) == cells.values[Cell(BASE, 2, None)]
    assert cells.budgets == [8, 32, 128]
