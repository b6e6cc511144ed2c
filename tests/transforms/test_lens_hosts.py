"""Which controls of a real dataset can get an arc, and how many do."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from dark_halo_scope.sky.priors import SurveyConfigError
from dark_halo_scope.stamps.condition import ConditionError
from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.index import StampIndex
from dark_halo_scope.stamps.reader import read_stamps
from dark_halo_scope.transforms.draws import draw_keys
from tests.stamps.datasets import spoil, write_dataset
from tests.transforms.injected import injection


@pytest.fixture(scope="module")
def index(tmp_path_factory) -> StampIndex:
    """48 training stamps, every other one a control; of rows 0 and 6 no seeing is known, row 2 is no cutout."""

    def change(number, row):
        spoil(0, psf_fwhm_used_r=None)(number, row)
        spoil(6, psf_fwhm_used_r=0.0)(number, row)
        spoil(2, cutout_ok=0)(number, row)

    return StampIndex.build(str(write_dataset(tmp_path_factory.mktemp("hosts") / "raw", change=change)))


def chosen_rows(index, **overrides) -> list[int]:
    """All rows that get an arc in one of many epochs."""
    inject, rows = injection(**({"fraction": 0.5} | overrides)), torch.arange(index.n_rows)
    inject.find_hosts(index)
    batch = {"image": torch.zeros(1), "row": rows}
    return sorted(
        {row for epoch in range(40) for row in inject.choose(batch, draw_keys(1, epoch, rows))["chosen"].tolist()}
    )


def test_hosts_are_the_training_controls_whose_seeing_is_known(index, caplog):
    assert chosen_rows(index) == [4, *range(8, 48, 2)]
    assert "2 controls have no psf_fwhm_used_r" in caplog.text


def test_a_condition_leaves_controls_out(index, caplog):
    spirals = [row for row in range(48) if row % 2 == 0 and row % 3 == 1]
    assert chosen_rows(index, hosts="control_kind == 'spiral'") == spirals
    assert not caplog.text


def test_each_stamp_comes_with_its_own_seeing(index):
    inject, rows = injection(fraction=0.9), torch.arange(index.n_rows).flip(0)
    inject.find_hosts(index)
    batch = inject.choose({"image": torch.zeros(1), "row": rows}, draw_keys(1, 0, rows))
    expected = index.metadata(rows[batch["chosen"]].numpy(), ["psf_fwhm_used_r"])["psf_fwhm_used_r"].to_numpy()
    np.testing.assert_array_equal(batch["fwhm_r"].numpy(), expected)
    assert 15 < len(expected) <= 21


def test_the_fraction_is_that_of_the_hosts(index):
    inject, rows = injection(fraction=0.25), torch.arange(index.n_rows)
    inject.find_hosts(index)
    batch = {"image": torch.zeros(1), "row": rows}
    epochs = [set(inject.choose(batch, draw_keys(1, epoch, rows))["chosen"].tolist()) for epoch in range(200)]
    assert np.mean([len(rows) for rows in epochs]) / 21 == pytest.approx(0.25, abs=0.02)
    again = [len(one & other) for one, other in pairwise(epochs)]
    assert np.mean(again) / 21 == pytest.approx(0.25**2, abs=0.02)


@pytest.mark.parametrize("hosts", [None, "control_kind == 'spiral'"])
def test_lenses_hosts_and_other_controls_weigh_as_in_the_dataset(index, hosts):
    """Over many epochs; and a host without an arc more than another control, so that its looks tell nothing."""
    inject, rows = injection(fraction=0.25, hosts=hosts), index.rows("train")
    inject.find_hosts(index)
    images = torch.from_numpy(read_stamps(index, rows, max_nonfinite_fraction=0.01))
    batch = {"image": images, "label": torch.from_numpy(index.label[rows]).long(), "row": torch.from_numpy(rows)}
    is_host = np.isin(rows, chosen_rows(index, hosts=hosts))
    is_lens = index.label[rows] == 1
    sums = np.zeros(3)
    for epoch in range(40):
        keys = draw_keys(1, epoch, batch["row"])
        after = inject(inject.choose(batch, keys), keys)
        weight, label = after["weight"].numpy(), after["label"].numpy()
        parts = label == 1, is_host & (label == 0), ~is_host & (label == 0)
        sums += [weight[part].sum() / 40 for part in parts]
    assert sums == pytest.approx([is_lens.sum(), is_host.sum(), (~is_host & ~is_lens).sum()], rel=0.06)


def test_a_condition_that_does_not_fit_is_refused(index):
    with pytest.raises(ConditionError, match=r"column host_kind, which the data do not have; they have .*control_"):
        chosen_rows(index, hosts="host_kind == 'early_type'")
    with pytest.raises(ConditionError, match="cannot be read"):
        injection(hosts="control_kind =")
    with pytest.raises(ContractError, match=r"no control of split train for which transforms.inject.hosts=.* no host"):
        chosen_rows(index, hosts="control_kind == 'star'")
    only_controls = index.with_parts({"train": index.rows("train")[index.label[index.rows("train")] == 0]})
    with pytest.raises(SurveyConfigError, match="split train has no lenses"):
        chosen_rows(only_controls)
