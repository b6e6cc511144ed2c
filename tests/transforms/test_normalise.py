import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dark_halo_scope.transforms.normalise import AnnulusAsinh, MadClip, median

RADIUS_PX = np.hypot(*(np.mgrid[:64, :64] - 31.5))
SKY = RADIUS_PX > 20


@pytest.fixture
def stamps() -> torch.Tensor:
    """Noisy stamps with sky, a bright red core and a different noise in each band: (4, 3, 64, 64)."""
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(4, 3, 64, 64)) * np.array([0.003, 0.005, 0.012])[:, None, None]
    core = np.exp(-RADIUS_PX / 3) * np.array([0.1, 0.35, 0.8])[:, None, None]
    return torch.from_numpy((noise + core + 0.002).astype(np.float32))


@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 40)),
        elements=st.floats(-1e3, 1e3, width=32),
    )
)
def test_median_is_numpys_for_odd_and_even_numbers_and_ties(values):
    np.testing.assert_allclose(median(torch.from_numpy(values)), np.median(values, axis=-1), rtol=1e-6)


def test_mad_clip_is_the_reference_formula(stamps):
    pixels = stamps.numpy().reshape(4, 3, -1)
    centre = np.median(pixels, axis=-1, keepdims=True)
    mad = np.median(np.abs(pixels - centre), axis=-1, keepdims=True)
    reference = np.clip((pixels - centre) / (1.4826 * mad), -10, 10).reshape(stamps.shape)
    np.testing.assert_allclose(MadClip()(stamps), reference, rtol=1e-5, atol=1e-6)
    assert reference.max() == 10  # the cores are clipped


def test_annulus_asinh_is_its_formula(stamps):
    sky = stamps.numpy()[..., SKY]  # (4, 3, pixels)
    centre = np.median(sky, axis=-1, keepdims=True)
    sigma = 1.4826 * np.median(np.abs(sky - centre), axis=-1, keepdims=True)
    scale = sigma.mean(axis=1, keepdims=True)
    reference = np.arcsinh((stamps.numpy() - centre[..., None]) / scale[..., None])
    np.testing.assert_allclose(AnnulusAsinh()(stamps), reference, rtol=1e-5, atol=1e-5)


def test_an_arc_does_not_move_the_annulus_normalisation_but_moves_the_reference(stamps):
    ring = torch.from_numpy((0.05 * np.exp(-(((RADIUS_PX - 4) / 1.5) ** 2))).astype(np.float32))
    ring[torch.from_numpy(RADIUS_PX > 12)] = 0
    beyond = torch.from_numpy(RADIUS_PX > 12)
    for scheme, moves in ((AnnulusAsinh(), False), (MadClip(), True)):
        without, with_arc = scheme(stamps)[..., beyond], scheme(stamps + ring)[..., beyond]
        assert torch.equal(without, with_arc) is not moves


def test_colours_survive_the_annulus_scheme_and_not_the_clip(stamps):
    """The ratio of two bands in the core, after undoing the stretch, is that of the fluxes."""
    core = (0, slice(None), 31, 31)
    sky = torch.from_numpy(np.median(stamps.numpy()[..., SKY], axis=-1))
    flux = stamps[core] - sky[0]
    unstretched = AnnulusAsinh()(stamps)[core].sinh()
    torch.testing.assert_close(unstretched[2] / unstretched[0], flux[2] / flux[0], rtol=1e-4, atol=0)
    assert MadClip()(stamps)[core].tolist() == [10, 10, 10]


def test_a_fixed_scale_keeps_the_flux_scale_of_the_survey(stamps):
    fixed = AnnulusAsinh(scale_nmgy=0.01)
    sky = torch.from_numpy(np.median(stamps.numpy()[..., SKY], axis=-1))[..., None, None]
    torch.testing.assert_close(fixed(stamps), torch.asinh((stamps - sky) / 0.01))


@pytest.mark.parametrize("scheme", [MadClip(), AnnulusAsinh()])
def test_all_orientations_are_normalised_alike(scheme, stamps):
    turned = stamps.transpose(2, 3).flip(3)
    assert torch.equal(scheme(turned), scheme(stamps).transpose(2, 3).flip(3))


@pytest.mark.parametrize("scheme", [MadClip(), AnnulusAsinh()])
def test_a_constant_band_stays_finite(scheme, stamps):
    stamps[0] = 0.25
    stamps[1, 2] = 0
    assert torch.isfinite(scheme(stamps)).all()
    assert (scheme(stamps)[0] == 0).all()


@pytest.mark.parametrize("scheme", [MadClip(), AnnulusAsinh()])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_leaves_the_normalisation_in_float32(scheme, dtype, stamps):
    with torch.autocast("cpu", dtype=dtype):
        mixed = scheme(stamps)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, scheme(stamps))


def test_a_scheme_without_sky_or_scale_is_refused():
    with pytest.raises(ValueError, match="leaves no sky"):
        AnnulusAsinh(radius_px=46)
    with pytest.raises(ValueError, match="must be positive"):
        AnnulusAsinh(scale_nmgy=0)
