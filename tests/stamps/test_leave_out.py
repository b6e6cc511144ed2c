"""``data.leave_out``: stamps that a run asks not to be shown."""

import numpy as np
import pytest

from dark_halo_scope.stamps.condition import ConditionError
from dark_halo_scope.stamps.contract import ContractError
from dark_halo_scope.stamps.index import LeakChecks, StampIndex
from dark_halo_scope.stamps.index_cache import cached_index
from tests.stamps.datasets import spoil, write_dataset


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return str(write_dataset(tmp_path_factory.mktemp("survey") / "data"))


def test_rows_of_train_and_val_that_meet_the_condition_are_left_out_and_counted(survey):
    whole, index = StampIndex.build(survey), StampIndex.build(survey, leave_out="lens_model == 'SIS'")
    for split in ("train", "val"):
        models = whole.metadata(whole.rows(split), ["lens_model"])["lens_model"].to_numpy(zero_copy_only=False)
        np.testing.assert_array_equal(index.rows(split), whole.rows(split)[models != "SIS"])
        n_left_out = {"control": 0, "lens": int((models == "SIS").sum())}
        assert index.excluded()["left_out_on_request"][split] == n_left_out
    np.testing.assert_array_equal(index.rows("test"), whole.rows("test"))
    assert index.excluded()["left_out_on_request"]["test"] == {"control": 0, "lens": 0}


def test_what_is_unusable_for_another_reason_keeps_that_reason(tmp_path):
    survey = str(write_dataset(tmp_path / "data", change=spoil(3, cutout_ok=0, lens_model="SIS")))
    excluded = StampIndex.build(survey, leave_out="lens_model == 'SIS'").excluded()
    assert excluded["cutout_not_ok"]["train"]["lens"] == 1
    assert excluded["left_out_on_request"]["train"]["lens"] == 11  # of 12


def test_the_fingerprint_and_the_kept_index_tell_what_is_left_out(survey, tmp_path):
    conditions = (None, "lens_model == 'SIS'", "lens_model == 'SIE'")
    built = [StampIndex.build(survey, leave_out=condition) for condition in conditions]
    assert len({index.fingerprint for index in built}) == 3
    for _ in range(2):  # made, then found
        kept = [cached_index(survey, str(tmp_path), LeakChecks(leave_out=condition)) for condition in conditions]
        assert [index.fingerprint for index in kept] == [index.fingerprint for index in built]


def test_the_log_says_what_is_left_out(survey, caplog):
    StampIndex.build(survey, leave_out="lens_model == 'SIS'")
    assert "left out 18 rows of train and val for which lens_model == 'SIS'" in caplog.text


@pytest.mark.parametrize(
    ("condition", "error", "told"),
    [
        ("theta_e_arcsec > 0", ContractError, "leaves no lens in split train"),
        ("theta_e_arcsec == 0", ContractError, "leaves no control in split train"),
        ("lens_model == 'SIX'", ContractError, "holds for no usable row"),
        ("redshift > 1", ContractError, "names column redshift, which the file does not have; it has stamp_id"),
        ("stamp_npz == 'x'", ContractError, "names column stamp_npz"),
        ("theta_e_arcsec > 'one'", ConditionError, "another kind"),
        ("theta_e_arcsec >", ConditionError, "cannot be read"),
    ],
)
def test_what_cannot_be_left_out_is_refused(survey, condition, error, told):
    with pytest.raises(error, match=told):
        StampIndex.build(survey, leave_out=condition)


def test_a_val_split_without_a_class_is_refused_by_name(tmp_path):
    survey = str(write_dataset(tmp_path / "data", n_val=4, rows_per_region=4, change=spoil(49, 51, src_dmag=9.0)))
    with pytest.raises(ContractError, match="leaves no lens in split val, which needs both classes; leave out less"):
        StampIndex.build(survey, leave_out="src_dmag > 8")
