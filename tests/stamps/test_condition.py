import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dark_halo_scope.stamps.condition import Condition, ConditionError

TABLE = pa.table(
    {
        "theta_e_arcsec": pa.array([0.0, 0.6, 1.0, 2.0], pa.float32()),
        "lens_model": ["CONTROL", "SIE", "SIS", "SIE"],
        "src_dmag": pa.array([None, 3.0, 4.0, 5.0]),
        "region_id": pa.array([1, 2, 3, 4], pa.int32()),
    }
)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("theta_e_arcsec > 0.8", [2, 3]),
        ("theta_e_arcsec == 0.6", [1]),  # float32
        ("theta_e_arcsec in (0.6, 2)", [1, 3]),
        ("lens_model == 'SIE'", [1, 3]),
        ("lens_model == 'SIE' and theta_e_arcsec < 1", [1]),
        ("lens_model == 'SIS' or region_id in (1, 4)", [0, 2, 3]),
        ("not (theta_e_arcsec > 0.8)", [0, 1]),
        ("src_dmag > -5", [1, 2, 3]),  # a null holds for nothing
        ("src_dmag != 4", [1, 3]),
        ("src_dmag not in [3.0]", [2, 3]),
        ("region_id not in (1, 2)", [2, 3]),
        ("src_dmag >= -1.5 and src_dmag <= 3", [1]),
    ],
)
def test_rows_for_which_a_condition_holds(text, rows):
    assert np.flatnonzero(Condition.parse(text).holds(TABLE)).tolist() == rows


@given(st.floats(-1, 3, width=32))
def test_a_condition_and_its_negation_share_out_the_rows(bound):
    below = Condition.parse(f"theta_e_arcsec < {bound!r}").holds(TABLE)
    assert (below ^ Condition.parse(f"not theta_e_arcsec < {bound!r}").holds(TABLE)).all()


def test_columns_are_named_once():
    condition = Condition.parse("region_id > 1 and region_id < 4 or lens_model == 'SIE'")
    assert condition.columns == ("region_id", "lens_model")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("theta_e_arcsec <", "cannot be read"),
        ("theta_e_arcsec", "not a comparison"),
        ("__import__('os').system('true') == 0", "not a comparison"),
        ("theta_e_arcsec + 1 > 2", "not a comparison"),
        ("0.5 < theta_e_arcsec < 1", "not a comparison"),
        ("theta_e_arcsec > region_id", "neither a number nor"),
        ("theta_e_arcsec is 3", "no comparison that is known"),
        ("region_id in 3", "no comparison that is known"),
        ("region_id == (1, 2)", "no comparison that is known"),
    ],
)
def test_what_is_no_condition_is_refused(text, what):
    with pytest.raises(ConditionError, match=what):
        Condition.parse(text)


def test_a_column_that_is_not_there_is_named():
    with pytest.raises(ConditionError, match=r"names column thetaE.*they have theta_e_arcsec"):
        Condition.parse("thetaE > 1").holds(TABLE)


@pytest.mark.parametrize("text", ["lens_model > 3", "theta_e_arcsec == 'SIE'", "region_id in ('a',)"])
def test_a_value_of_another_kind_is_refused(text):
    with pytest.raises(ConditionError, match="another kind"):
        Condition.parse(text).holds(TABLE)
