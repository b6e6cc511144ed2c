from contextlib import suppress

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dark_halo_scope.stamps.codec import StampError
from dark_halo_scope.stamps.fits_cutout import read_cutout
from tests.stamps.cutouts import celestial, write_cube
from tests.stamps.datasets import stamp_image

STAMP = stamp_image(3, is_lens=True)


def read(*paths, **by_band):
    out = np.full((3, 64, 64), np.nan, np.float32)
    read_cutout(by_band or {"": paths[0]}, out)
    return out


def reason(*paths, **by_band):
    with pytest.raises(StampError) as refused:
        read(*paths, **by_band)
    return refused.value.reason


def test_a_cube_of_the_legacy_survey_layout(tmp_path):
    np.testing.assert_array_equal(read(write_cube(tmp_path / "a.fits", STAMP)), STAMP)


def test_bands_go_by_the_header_and_not_by_their_order(tmp_path):
    four = np.stack([STAMP[2], STAMP[1], np.zeros((64, 64), np.float32), STAMP[0]])
    np.testing.assert_array_equal(read(write_cube(tmp_path / "a.fits", four, bands="zrig")), STAMP)
    numbered = write_cube(tmp_path / "b.fits", STAMP[::-1], bands=None, BAND0="z", BAND1="r", BAND2="g")
    np.testing.assert_array_equal(read(numbered), STAMP)


def test_three_planes_without_names_are_g_r_z_and_four_are_nothing(tmp_path):
    np.testing.assert_array_equal(read(write_cube(tmp_path / "a.fits", STAMP, bands=None)), STAMP)
    four = np.concatenate([STAMP, STAMP[:1]])
    assert reason(write_cube(tmp_path / "b.fits", four, bands=None)) == "missing_band"


def test_a_larger_cutout_is_cut_to_its_centre_and_a_smaller_one_refused(tmp_path):
    wide = np.pad(STAMP, ((0, 0), (18, 19), (96, 96)), constant_values=9)
    np.testing.assert_array_equal(read(write_cube(tmp_path / "a.fits", wide)), STAMP)
    assert reason(write_cube(tmp_path / "b.fits", STAMP[:, :63])) == "too_small"


def image_hdu(band_keyword, name, image):
    hdu = fits.ImageHDU(image)
    celestial(hdu.header, 64)
    hdu.header[band_keyword] = name
    return hdu


@pytest.mark.parametrize(
    ("keyword", "names"),
    [
        ("EXTNAME", ["image_g", "image_r", "image_z"]),
        ("FILTER", ["g DECam SDSS c0001", "r DECam SDSS c0002", "z DECam c0004"]),
        ("BAND", ["g", "r", "z"]),
    ],
)
def test_one_hdu_a_band_beside_a_weight_map(tmp_path, keyword, names):
    hdus = [image_hdu(keyword, name, plane) for name, plane in zip(names, STAMP, strict=True)]
    weight = fits.ImageHDU(np.ones((64, 64), np.float32), name="INVVAR")
    fits.HDUList([fits.PrimaryHDU(), *reversed(hdus), weight]).writeto(tmp_path / "a.fits")
    np.testing.assert_array_equal(read(tmp_path / "a.fits"), STAMP)


def test_one_compressed_file_a_band(tmp_path):
    paths = {}
    for band, plane in zip("grz", STAMP, strict=True):
        paths[band] = tmp_path / f"a-{band}.fits.fz"
        fits.CompImageHDU(plane, compression_type="GZIP_2", quantize_level=0).writeto(paths[band])
    np.testing.assert_array_equal(read(**paths), STAMP)
    del paths["r"]
    assert reason(**paths) == "missing_band"


def test_integers_and_scaled_pixels_become_nanomaggies(tmp_path):
    path = write_cube(tmp_path / "a.fits", np.round(STAMP * 1000).astype(np.int16), BSCALE=1e-3)
    np.testing.assert_allclose(read(path), STAMP, atol=6e-4)


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"CD1_1": -0.4 / 3600, "CD2_2": 0.4 / 3600}, "pixel_scale"),
        ({"BUNIT": "counts"}, "units"),
        ({"BUNIT": "nanomaggy"}, None),
    ],
)
def test_a_header_that_contradicts_the_contract(tmp_path, cards, expected):
    path = write_cube(tmp_path / "a.fits", STAMP, **cards)
    if expected is None:
        np.testing.assert_array_equal(read(path), STAMP)
    else:
        assert reason(path) == expected


def test_no_wcs_is_taken_as_it_is(tmp_path):
    fits.PrimaryHDU(STAMP).writeto(tmp_path / "a.fits")
    np.testing.assert_array_equal(read(tmp_path / "a.fits"), STAMP)


def test_the_same_band_twice_is_ambiguous(tmp_path):
    hdus = [image_hdu("BAND", band, STAMP[0]) for band in "grzg"]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "a.fits")
    assert reason(tmp_path / "a.fits") == "ambiguous_bands"


def test_a_missing_file_is_named(tmp_path):
    assert reason(tmp_path / "nowhere.fits") == "missing_file"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.filterwarnings("ignore")
def test_whatever_the_bytes_are_only_a_stamp_error_comes_out(tmp_path, data):
    whole = bytearray(_whole(tmp_path).read_bytes())
    position = data.draw(st.integers(0, 5760))
    length = data.draw(st.integers(0, len(whole)))
    whole[position : position + 8] = data.draw(st.binary(min_size=8, max_size=8))
    spoilt = tmp_path / "spoilt.fits"
    spoilt.write_bytes(whole[:length])
    with suppress(StampError):
        read(spoilt)


def _whole(folder):
    path = folder / "whole.fits"
    return path if path.exists() else write_cube(path, STAMP)
