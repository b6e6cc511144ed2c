"""No single number of a stamp gives the class away: a lens is told by its shape or not at all."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from dark_halo_scope.audit.scalars import pixel_scalars
from dark_halo_scope.stamps.store.statistics import stamp_statistics

MOST = 0.75  # on ~1280 stamps one AUROC is known to +-0.014
BANDS = "grz"

METADATA = [
    *("psf_fwhm_used_r", "bad_pixel_frac", "wise_brightmask_frac", "cutout_ok", "ra", "dec", "region_id"),
    *("host_reff_arcsec", "host_mag_g", "host_mag_r", "host_mag_z"),
    *(f"{name}_{band}" for name in ("psfsize", "psfdepth") for band in BANDS),
]


def usable_stamps(survey):
    """Whether each is a lens (N,), the catalogue's columns by name, and the stamps of the usable rows."""
    table, images = survey
    ok = np.array(table["cutout_ok"].to_pylist()) == 1
    columns = {name: np.array(table[name].to_pylist())[ok] for name in METADATA}
    return np.array(table["lens_model"].to_pylist())[ok] != "CONTROL", columns, images[ok]


@pytest.fixture(scope="module")
def scalar_aurocs(small_survey):
    lens, columns, images = usable_stamps(small_survey)
    scalars = pixel_scalars(images, stamp_statistics(images)) | columns
    aurocs = {name: roc_auc_score(lens, values) for name, values in scalars.items()}
    return {name: max(auroc, 1 - auroc) for name, auroc in aurocs.items()}


def test_no_scalar_separates_the_classes(scalar_aurocs):
    name = max(scalar_aurocs, key=scalar_aurocs.__getitem__)
    assert scalar_aurocs[name] < MOST, f"{name}: AUROC {scalar_aurocs[name]:.3f}"


def test_metadata_say_nothing(scalar_aurocs):
    assert {name: auroc for name, auroc in scalar_aurocs.items() if name in METADATA and auroc > 0.56} == {}


def test_the_bright_upstream_grid_is_given_away_by_its_colour(grid_survey):
    """The audit has something to find where sources are as bright as their hosts."""
    lens, _, images = usable_stamps(grid_survey)
    colour = pixel_scalars(images, stamp_statistics(images))["core flux r < 10 px, g/z"]
    assert roc_auc_score(lens, colour) > 0.85
