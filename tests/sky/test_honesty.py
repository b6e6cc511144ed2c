"""No single number of a stamp gives the class away: a lens is told by its shape or not at all."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

MOST = 0.75  # on ~1280 stamps one AUROC is known to +-0.014
AXIS = np.arange(64) - 31.5
RADIUS_PX = np.hypot(AXIS[:, None], AXIS[None, :])
BANDS = "grz"


def pixel_scalars(images):
    """Name -> (N,) of everything simple that can be measured on stamps (N, 3, 64, 64)."""
    sky = images[..., RADIUS_PX > 20]
    level = np.median(sky, axis=2)
    scalars = {}
    for b, band in enumerate(BANDS):
        image = images[:, b] - level[:, b, None, None]
        scalars |= {f"core flux r < {limit} px, {band}": image[:, limit > RADIUS_PX].sum(1) for limit in (5, 10)}
        scalars[f"flux 3 to 11 px, {band}"] = image[:, (RADIUS_PX >= 3) & (RADIUS_PX < 11)].sum(1)
        scalars[f"total flux, {band}"] = images[:, b].sum((1, 2))
        scalars[f"brightest pixel, {band}"] = images[:, b].max((1, 2))
        scalars[f"sky level, {band}"] = level[:, b]
        scalars[f"sky scatter, {band}"] = sky[:, b].std(1)
        median = np.median(images[:, b], axis=(1, 2), keepdims=True)
        scalars[f"median, {band}"] = median[:, 0, 0]
        scalars[f"MAD, {band}"] = np.median(np.abs(images[:, b] - median), axis=(1, 2))
    for region in ("core flux r < 5 px", "core flux r < 10 px", "flux 3 to 11 px", "total flux"):
        for one, other in ("gz", "gr", "rz"):
            scalars[f"{region}, {one}/{other}"] = scalars[f"{region}, {one}"] / scalars[f"{region}, {other}"]
    return scalars


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
    scalars = pixel_scalars(images) | columns
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
    colour = pixel_scalars(images)["core flux r < 10 px, g/z"]
    assert roc_auc_score(lens, colour) > 0.85
